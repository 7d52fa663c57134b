"""Luma as the super-resolution papers measure it: ITU-R BT.601 in studio swing (16 to 235), MATLAB's ``rgb2ycbcr``."""

from __future__ import annotations

from superscale.errors import UsageError
from superscale.image.pixels import Pixels

# Luma of full-swing RGB in [0, 1], in 8-bit units (ITU-R BT.601).
RED, GREEN, BLUE = 65.481, 128.553, 24.966
OFFSET = 16.0


def luma(planes: Pixels) -> Pixels:
    """RGB (B, 3, H, W) in [0, 1] -> Y (B, 1, H, W) in 8-bit units, 16 (black) to 235 (white), unrounded.

    Raises UsageError for planes of another shape.
    """
    if planes.ndim != 4 or planes.shape[1] != 3:
        raise UsageError(f"expected RGB planes (B, 3, H, W), got shape {tuple(planes.shape)}")
    red, green, blue = planes.swapaxes(0, 1)
    weighted: Pixels = (OFFSET + RED * red + GREEN * green + BLUE * blue)[:, None]
    return weighted
