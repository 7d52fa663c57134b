"""Enlarge a picture tile by tile: pure, over any callable."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import UsageError
from superscale.image.region import Region

Array = NDArray[Any]
Upscale = Callable[[Array], Array]
Progress = Callable[[int, int], None]


def tiles(height: int, width: int, tile_px: int, multiple_of: int = 1) -> list[Region]:
    """Cover a picture with nearly equal regions of at most ``tile_px`` a side that begin on a multiple; 0: one region."""
    rows, columns = _cuts(height, tile_px, multiple_of), _cuts(width, tile_px, multiple_of)
    return [
        Region(top, left, bottom - top, right - left) for top, bottom in pairwise(rows) for left, right in pairwise(columns)
    ]


def _cuts(length: int, tile_px: int, multiple_of: int) -> list[int]:
    if not tile_px:
        return [0, length]
    units = -(-length // multiple_of)
    parts = -(-units // max(tile_px // multiple_of, 1))
    return [min(units * part // parts * multiple_of, length) for part in range(parts + 1)]


def upscale_tiled(
    pixels: Array,
    upscale: Upscale,
    scale: int,
    tile_px: int,
    overlap_px: int,
    progress: Progress | None = None,
    multiple_of: int = 1,
) -> Array:
    """(H, W, C) -> (H*scale, W*scale, C), by calling ``upscale`` on tiles that each see ``overlap_px`` of their surroundings.

    Equal to ``upscale(pixels)`` when ``overlap_px`` reaches as far as ``upscale`` looks. ``tile_px`` 0: the whole picture at once.
    What ``upscale`` sees begins on a multiple of ``multiple_of``, for networks that unshuffle pixels. ``progress`` is called
    with (tiles done, all tiles). Raises UsageError for a negative size.
    """
    if tile_px < 0 or overlap_px < 0:
        raise UsageError(f"tile and overlap must not be negative, got {tile_px} and {overlap_px}")
    height, width, channels = pixels.shape
    plan = tiles(height, width, tile_px, multiple_of)
    overlap_px = -(-overlap_px // multiple_of) * multiple_of
    output: Array = np.empty((height * scale, width * scale, channels), dtype=pixels.dtype)
    for number, region in enumerate(plan, start=1):
        seen = region.grown(overlap_px, height, width)
        enlarged = upscale(seen.of_pixels(pixels))
        expected = (seen.height * scale, seen.width * scale, channels)
        if enlarged.shape != expected:
            raise UsageError(f"the upscaler made {enlarged.shape} of a tile, expected {expected}")
        region.scaled(scale).of_pixels(output)[...] = region.within(seen).scaled(scale).of_pixels(enlarged)
        if progress is not None:
            progress(number, len(plan))
    return output
