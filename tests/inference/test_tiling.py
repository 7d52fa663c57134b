from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from superscale.errors import UsageError
from superscale.image.region import covering
from superscale.inference.tiling import upscale_tiled


def nearest(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(3, axis=0).repeat(3, axis=1)


def box_blurred(pixels: np.ndarray) -> np.ndarray:
    """Enlarges by 2 and averages 5x5: looks at most 2 input pixels away, and sees the border of what it is given."""
    padded = np.pad(pixels.astype(int), ((2, 2), (2, 2), (0, 0)))
    total = sum(padded[y : y + pixels.shape[0], x : x + pixels.shape[1]] for y in range(5) for x in range(5))
    return (total // 25).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)


SIZES = [(1, 1), (1, 257), (37, 1), (33, 71), (64, 64), (65, 129)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("tile_px", [0, 1, 7, 32, 1000])
def test_nearest_neighbour_tiles_are_bit_equal_to_the_whole(
    height: int, width: int, tile_px: int, noise: np.random.Generator
) -> None:
    pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
    for overlap in (0, 3):
        np.testing.assert_array_equal(upscale_tiled(pixels, nearest, 3, tile_px, overlap), nearest(pixels))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("tile_px", [5, 16])
def test_an_overlap_as_wide_as_the_receptive_field_leaves_no_seam(
    height: int, width: int, tile_px: int, noise: np.random.Generator
) -> None:
    pixels = noise.integers(0, 256, (height, width, 1), dtype=np.uint8)
    whole = box_blurred(pixels)
    np.testing.assert_array_equal(upscale_tiled(pixels, box_blurred, 2, tile_px, 2), whole)
    if min(height, width) > tile_px:
        assert (upscale_tiled(pixels, box_blurred, 2, tile_px, 1) != whole).any(), "this test could not fail"


@pytest.mark.parametrize(("height", "width", "tile_px"), [(100, 37, 16), (16, 16, 16), (17, 500, 16)])
def test_tiles_cover_every_pixel_once_and_are_nearly_equal(height: int, width: int, tile_px: int) -> None:
    covered = np.zeros((height, width), int)
    plan = covering(height, width, tile_px)
    for region in plan:
        region.of(covered)[...] += 1
    assert (covered == 1).all()
    assert max(region.height for region in plan) <= tile_px
    assert max(region.width for region in plan) - min(region.width for region in plan) <= 1


def test_progress_counts_the_tiles(noise: np.random.Generator) -> None:
    seen: list[tuple[int, int]] = []
    upscale_tiled(np.zeros((20, 30, 1), np.uint8), nearest, 3, 10, 0, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 6) for number in range(1, 7)]


@pytest.mark.parametrize(("tile_px", "overlap"), [(-1, 0), (8, -1)])
def test_negative_sizes_are_refused(tile_px: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="negative"):
        upscale_tiled(np.zeros((4, 4, 1), np.uint8), nearest, 3, tile_px, overlap)


def test_a_callable_of_another_scale_is_refused() -> None:
    def wrong(pixels: Any) -> Any:
        return pixels

    with pytest.raises(UsageError, match="expected \\(12, 12, 1\\)"):
        upscale_tiled(np.zeros((4, 4, 1), np.uint8), wrong, 3, 0, 0)


@pytest.mark.parametrize("multiple_of", [2, 4])
def test_what_the_callable_sees_begins_on_a_multiple(multiple_of: int) -> None:
    columns = np.arange(61, dtype=np.uint8)[None, :, None].repeat(23, axis=0)

    def seen(pixels: np.ndarray) -> np.ndarray:
        assert pixels[0, 0, 0] % multiple_of == 0
        return pixels

    np.testing.assert_array_equal(upscale_tiled(columns, seen, 1, 10, 3, multiple_of=multiple_of), columns)
