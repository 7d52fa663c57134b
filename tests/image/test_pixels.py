from __future__ import annotations

import numpy as np
import pytest
import torch

from superscale.errors import UsageError
from superscale.image.pixels import to_float, to_pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_sample_value_survives_the_round_trip(dtype: type) -> None:
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 16, 1)
    np.testing.assert_array_equal(to_pixels(to_float(values), dtype), values)


def test_white_is_one_and_black_is_zero() -> None:
    assert to_float(np.full((1, 1, 3), 65535, np.uint16)).unique().tolist() == [1.0]
    assert to_float(torch.tensor([[0, 255]], dtype=torch.uint8)).tolist() == [[0.0, 1.0]]


def test_values_outside_are_clipped_and_halves_round_up() -> None:
    planes = torch.tensor([-0.2, 1.7, 0.5 / 255, 1.4999 / 255]).reshape(1, 1, 4)
    assert to_pixels(planes).ravel().tolist() == [0, 255, 1, 1]


def test_float_pictures_pass_unchanged() -> None:
    pixels = np.array([[[-0.5], [1.25]]], np.float32)
    np.testing.assert_array_equal(to_pixels(to_float(pixels), np.float32), pixels)


def test_other_integer_types_are_refused() -> None:
    with pytest.raises(UsageError, match="uint8 or uint16"):
        to_float(np.zeros((2, 2), np.int32))
