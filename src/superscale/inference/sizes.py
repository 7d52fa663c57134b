"""Sizes: of an enlarged picture, and of a tile that fits into the memory that is left."""

from __future__ import annotations

# Few sizes, so that a little more or less memory changes neither the tiles nor, by a level, the picture.
SIDES_PX = (512, 384, 256, 192, 128, 96, 64, 48, 32)
# Beyond these the cost of the overlap is small, and a CPU's caches are left.
LARGEST_PX = {"cpu": 192}
# With a wide overlap, larger tiles: at 6 times the overlap, (6 + 2)²/6² = 1.8 pixels are computed for each that is kept.
LEAST_OVERLAPS = 6
# The rest is for the pictures themselves and for what other programs take meanwhile.
SHARE = 0.5
# What is assumed where a system does not tell.
UNKNOWN_BYTES = 2 * 1024**3


def enlarged(side: int, scale: float) -> int:
    """A side of a picture, in pixels, enlarged by any factor."""
    return max(1, int(side * scale + 0.5))


def tile_that_fits(pixel_bytes: int, overlap_px: int, device_type: str, free: int) -> int:
    """The largest of a few tile sides, in input pixels, that takes no more than half of ``free`` bytes; the smallest if none does."""
    for side in SIDES_PX:
        if (
            side <= max(LARGEST_PX.get(device_type, side), LEAST_OVERLAPS * overlap_px)
            and (side + 2 * overlap_px) ** 2 * pixel_bytes <= SHARE * free
        ):
            return side
    return SIDES_PX[-1]
