"""Colours under transparent pixels come from what is visible; expected values by arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from superscale.image.fringe import cells_of, spread_colours, surroundings
from superscale.image.region import covering


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_visible_colour_fills_everything_exactly(dtype: type) -> None:
    largest = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    colour = (np.array([1.0, 0.2, 0.7]) * largest).astype(dtype)
    pixels = np.zeros((37, 53, 3), dtype=dtype)
    alpha = np.zeros((37, 53), dtype=dtype)
    pixels[20:23, 31:40], alpha[20:23, 31:40] = colour, (np.array(0.3) * largest).astype(dtype)
    np.testing.assert_allclose(spread_colours(pixels, alpha), np.broadcast_to(colour, pixels.shape), rtol=1e-6)


def test_visible_pixels_are_not_touched_and_hidden_ones_do_not_matter() -> None:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (31, 18, 3)).astype(np.uint8)
    alpha = (chance.integers(0, 3, (31, 18)) * 127).astype(np.uint8)
    filled = spread_colours(pixels, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    other = pixels.copy()
    other[alpha == 0] = chance.integers(0, 256, 3)
    np.testing.assert_array_equal(spread_colours(other, alpha), filled)


def test_neighbours_count_by_their_alpha() -> None:
    pixels = np.array([[[0], [100]], [[7], [200]]], dtype=np.uint8)
    alpha = np.array([[10, 30], [0, 60]], dtype=np.uint8)
    # (0 * 10 + 100 * 30 + 200 * 60) / 100
    assert spread_colours(pixels, alpha)[1, 0, 0] == 150


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_without_an_edge_are_handed_back(value: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    assert spread_colours(pixels, np.full((5, 6), value, np.uint8)) is pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(150, 207), (32, 3), (70, 64)])
def test_part_by_part_hidden_colours_have_the_same_bits_as_at_once(size: tuple[int, int], dtype: Any) -> None:
    noise = np.random.default_rng(1)
    pixels = noise.integers(0, 200, (*size, 3)).astype(dtype)
    alpha = noise.integers(0, 255, (*size, 1)).astype(np.uint8)
    alpha[:, : size[1] // 2] = 0
    alpha[20:, :] = 0
    heaviest = float(alpha.max())
    around = surroundings(*cells_of(pixels, alpha, heaviest), heaviest)
    expected = spread_colours(pixels, alpha)
    for region in covering(*size, 64, 32):
        part = spread_colours(region.of_pixels(pixels), region.of_pixels(alpha), around, region)
        np.testing.assert_array_equal(part, region.of_pixels(expected))
