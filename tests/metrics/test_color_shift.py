"""ΔE2000 against published values and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from superscale.metrics.color_shift import ciede2000, delta_e

# Sharma, Wu, Dalal 2005, table 1: pairs at the formula's corners (hue near 0 and 360, grey, opposite hues), and far ones.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0009), 7.1792),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0011), 7.2195),
    ((50, -0.0010, 2.4900), (50, 0.0011, -2.4900), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_has_sharmas_published_values(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    one, other = (torch.tensor([values], dtype=torch.float64) for values in (first, second))
    assert ciede2000(one, other).item() == pytest.approx(expected, abs=5e-5)
    assert ciede2000(other, one).item() == pytest.approx(expected, abs=5e-5)


def test_color_shift_of_pictures_is_scikit_images(noise: np.random.Generator) -> None:
    first, second = noise.random((2, 20, 24, 3))
    batches = [torch.from_numpy(picture).movedim(-1, 0)[None] for picture in (first, second)]
    expected = deltaE_ciede2000(rgb2lab(first), rgb2lab(second))[4:-4, 4:-4].mean()
    assert delta_e(*batches, data_range=1, border=4).item() == pytest.approx(expected, abs=2e-3)
    assert delta_e(batches[0], batches[0], data_range=1, border=4).item() == pytest.approx(0, abs=1e-6)
