from __future__ import annotations

import numpy as np
import pytest
import torch

from superscale.errors import UsageError
from superscale.image.color import luma


@pytest.mark.parametrize(
    ("rgb", "expected"),
    # MATLAB's rgb2ycbcr of doubles, times 255.
    [((0, 0, 0), 16.0), ((1, 1, 1), 235.0), ((1, 0, 0), 81.481), ((0, 1, 0), 144.553), ((0, 0, 1), 40.966)],
)
def test_luma_is_matlabs_studio_swing(rgb: tuple[float, ...], expected: float) -> None:
    planes = torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)
    assert luma(planes).item() == pytest.approx(expected, abs=1e-9)


def test_grey_planes_are_refused() -> None:
    with pytest.raises(UsageError, match="RGB"):
        luma(torch.zeros(1, 1, 4, 4))


def test_luma_of_an_array_is_that_of_a_tensor_to_the_bit(noise: np.random.Generator) -> None:
    planes = noise.random((2, 3, 33, 35), dtype=np.float32)
    assert luma(planes).tobytes() == luma(torch.from_numpy(planes)).numpy().tobytes()
