"""Words above columns of pictures, for sheets that people look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from superscale.image.pixels import white

BAND_PX = 22
TEXT_PX = 14
MARGIN_PX = 4


def captioned(sheet: NDArray[np.uint8], captions: Sequence[str], column_px: int) -> NDArray[np.uint8]:
    """(H, W, C) -> (H + 22, W, C): a white band above with a caption at the left of each column, dark, cut where it is too long."""
    channels = sheet.shape[2]
    band = Image.new("L", (sheet.shape[1], BAND_PX), white(np.uint8))
    draw = ImageDraw.Draw(band)
    font = ImageFont.load_default(TEXT_PX)
    for number, caption in enumerate(captions):
        while caption and draw.textlength(caption, font) > column_px - 2 * MARGIN_PX:
            caption = caption[:-1]
        draw.text((number * column_px + MARGIN_PX, (BAND_PX - TEXT_PX) // 2 - 1), caption, 0, font)
    return np.concatenate([np.repeat(np.asarray(band)[..., None], channels, axis=2), sheet])
