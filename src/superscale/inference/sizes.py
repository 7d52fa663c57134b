"""Sizes: of an enlarged picture, and of a tile that fits into the memory that is left."""

from __future__ import annotations

from superscale.errors import ImageError
from superscale.options import LARGEST_SCALE, Scale, TargetSize

# Few sizes, so that a little more or less memory changes neither the tiles nor, by a level, the picture.
SIDES_PX = (512, 384, 256, 192, 128, 96, 64, 48, 32)
# Beyond these the cost of the overlap is small, and only memory grows.
LARGEST_PX = {"cpu": 256}
# With a wide overlap, larger tiles: at 6 times the overlap, (6 + 2)²/6² = 1.8 pixels are computed for each that is kept.
LEAST_OVERLAPS = 6
# The rest is for the pictures themselves and for what other programs take meanwhile.
SHARE = 0.5
# What is assumed where a system does not tell.
UNKNOWN_BYTES = 2 * 1024**3


def enlarged(height: int, width: int, scale: Scale) -> tuple[int, int]:
    """The height and width of an output, in pixels. Raises ImageError where a target size is out of reach."""
    factor = scale.factor(height, width) if isinstance(scale, TargetSize) else scale
    if factor > LARGEST_SCALE:
        raise ImageError(
            f"{width}x{height} would have to grow {factor:.0f} times, more than {LARGEST_SCALE}; choose a smaller size"
        )
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def label(scale: Scale) -> str:
    """A scale as names of files have it: x4, x2.5, 4k, w1920."""
    return scale.label if isinstance(scale, TargetSize) else f"x{scale:g}"


def tile_that_fits(pixel_bytes: int, overlap_px: int, device_type: str, free: int) -> int:
    """The largest of a few tile sides, in input pixels, that takes no more than half of ``free`` bytes; the smallest if none does."""
    for side in SIDES_PX:
        if (
            side <= max(LARGEST_PX.get(device_type, side), LEAST_OVERLAPS * overlap_px)
            and (side + 2 * overlap_px) ** 2 * pixel_bytes <= SHARE * free
        ):
            return side
    return SIDES_PX[-1]
