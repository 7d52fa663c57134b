"""Enlarge a picture tile by tile: pure, over any callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import UsageError
from superscale.image.region import covering

Array = NDArray[Any]
Upscale = Callable[[Array], Array]
Progress = Callable[[int, int], None]


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
    plan = covering(height, width, tile_px, multiple_of)
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
