"""Enlarge a picture tile by tile: pure, over any callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import UsageError
from superscale.image.region import Part, Region, covering
from superscale.image.resize import margin_px

Array = NDArray[Any]
Upscale = Callable[[Array], Array]
Progress = Callable[[int, int], None]


def parts(
    height: int,
    width: int,
    new_size: tuple[int, int],
    network_size: tuple[int, int],
    tile_px: int,
    overlap_px: int,
    multiple_of: int = 1,
) -> list[Part]:
    """The tiles of a picture, and what each makes of the larger one: the pixels whose places lie in it.

    A network makes ``network_size`` of the picture; where this is not ``new_size``, tiles see what resizing needs besides. At hand is also
    what is needed to enlarge alpha.
    """
    size = (height, width)
    resized = 0
    if new_size != network_size:
        resized = -(-margin_px(new_size[0] / network_size[0]) * height // network_size[0]) + 1
    seen_px = -(-(overlap_px + resized) // multiple_of) * multiple_of
    at_hand_px = max(seen_px, margin_px(min(new_size[side] / size[side] for side in (0, 1))) + 1)
    result: list[Part] = []
    for region in covering(height, width, tile_px, multiple_of):
        top, bottom = (edge * new_size[0] // height for edge in (region.top, region.bottom))
        left, right = (edge * new_size[1] // width for edge in (region.left, region.right))
        seen, at_hand = region.grown(seen_px, height, width), region.grown(at_hand_px, height, width)
        if bottom > top and right > left:
            result.append(Part(Region(top, left, bottom - top, right - left), seen, at_hand, size, new_size))
    return result


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
