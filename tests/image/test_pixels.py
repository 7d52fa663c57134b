"""Samples of a file and planes of a network, in both libraries."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from superscale.errors import UsageError
from superscale.image.pixels import peak, round_half_up, to_float, to_pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_sample_value_survives_the_round_trip(dtype: type) -> None:
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 16, 1)
    np.testing.assert_array_equal(to_pixels(to_float(values), dtype), values)


def test_white_is_one_and_black_is_zero() -> None:
    assert np.unique(to_float(np.full((1, 1, 3), 65535, np.uint16))).tolist() == [1.0]
    assert to_float(torch.tensor([[0, 255]], dtype=torch.uint8)).tolist() == [[0.0, 1.0]]


def test_values_outside_are_clipped_and_halves_round_up() -> None:
    planes = torch.tensor([-0.2, 1.7, 0.5 / 255, 1.4999 / 255]).reshape(1, 1, 4)
    assert to_pixels(planes).ravel().tolist() == [0, 255, 1, 1]


def test_float_pictures_pass_unchanged() -> None:
    pixels = np.array([[[-0.5], [1.25]]], np.float32)
    np.testing.assert_array_equal(to_pixels(to_float(pixels), np.float32), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_is_the_same_float_and_comes_back_the_same_as_array_and_as_tensor(dtype: type) -> None:
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(1, -1, 16)
    of_array = to_float(values[0])
    of_tensor = to_float(torch.from_numpy(values))
    assert of_array.tobytes() == of_tensor.numpy().tobytes()
    between = (of_array + np.float32(0.5) / np.iinfo(dtype).max) * np.float32(1.02) - np.float32(0.01)
    np.testing.assert_array_equal(to_pixels(between, dtype), to_pixels(torch.from_numpy(between), dtype))
    shifted = between * np.float32(np.iinfo(dtype).max)
    np.testing.assert_array_equal(round_half_up(dtype)(shifted), round_half_up(dtype)(torch.from_numpy(shifted)).numpy())


def test_white_is_known_by_the_types_of_both_libraries() -> None:
    assert [peak(kind) for kind in (np.uint8, np.dtype(np.uint8), "uint8", torch.uint8)] == [255] * 4
    assert [peak(kind) for kind in (np.uint16, np.dtype("<u2"), torch.uint16)] == [65535] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.dtype(">u2"), torch.float32, torch.int8])
def test_no_other_type_has_a_white(dtype: object) -> None:
    with pytest.raises(UsageError, match="uint8 or uint16"):
        peak(dtype)


def test_pictures_are_read_without_importing_torch() -> None:
    program = (
        "import sys, superscale.image.io, superscale.image.resize, superscale.image.color; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_other_integer_types_are_refused() -> None:
    with pytest.raises(UsageError, match="uint8 or uint16"):
        to_float(np.zeros((2, 2), np.int32))
