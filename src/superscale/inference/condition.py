"""What compression and a sensor did to a picture, seen in its samples: which of the default models it gets."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superscale.image.picture import GREY, RGB, Image

Array = NDArray[Any]
Seen = Literal["", "JPEG blocks", "noise"]

# As much of the middle of a picture is looked at, and no fewer pixels a side tell anything.
MOST_PX, LEAST_PX = 1024, 40
BLOCK_PX = 8
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Waves of a block that photographs have most of, and whose steps are alike in usual tables.
WAVES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
STEPS = range(3, 64)
# Least mean of cos(2 pi value / step): 1 where all values are multiples of the step, near 0 where they are anything.
AGREEMENT, LEAST_VALUES = 0.5, 20
# From this step on, quality 80 and worse, the result of the model for clean pictures has visible blocks.
COARSE_STEP = 5
# Standard deviation in levels, of one colour against another, where the picture is smoothest: structure is in all colours, noise in each.
# Clean pictures had up to 0.6, with noise of 3 levels at least 1.9.
NOISE = 1.9
# A grey picture has no other colour to compare with, and fine texture is like noise there: 9 of 10 clean ones had 1.7 and less.
GREY_NOISE = 3.0
SMOOTHEST = 10
# The norm of the mask that Immerkær (1996) estimates noise with.
MASK_NORM = 6


def damage_seen(image: Image) -> Seen:
    """What can be seen of coarse JPEG compression, or of noise; "" for clean pictures, measurements, bands, and less than 40 pixels a side."""
    pixels = image.pixels
    if not _may_be_photograph(image) or min(image.height, image.width) < LEAST_PX:
        return ""
    top, left = (max(0, (side - MOST_PX) // 2) // BLOCK_PX * BLOCK_PX for side in pixels.shape[:2])
    middle = pixels[top : top + MOST_PX, left : left + MOST_PX].astype(np.float32)
    if quantisation_step(middle[..., 0] if image.channels == GREY else middle @ LUMA) >= COARSE_STEP:
        return "JPEG blocks"
    return "noise" if has_noise(middle) else ""


def _may_be_photograph(image: Image) -> bool:
    """Whether nothing says that the samples are measurements, whose noise is not ours to remove."""
    said = image.metadata
    measured = (
        said.geo,
        said.dicom,
        said.ome,
        said.stated_range,
        said.calibrated or None,
        said.grey_bands or None,
    )
    return image.pixels.dtype == np.uint8 and image.channels in (GREY, RGB) and all(one is None for one in measured)


def quantisation_step(luma: Array) -> int:
    """The step to which JPEG rounded the slowest waves of the blocks of (H, W) in levels of 255; 0 where none, or less than 3, shows.

    Blocks begin at the corner, or, in a piece of a picture, where third differences are largest.
    """
    corner = _step(luma)
    top, left = (_first_block(plane) for plane in (luma.T, luma))
    return corner or (_step(luma[top:, left:]) if top or left else 0)


def _step(luma: Array) -> int:
    rows, columns = (side // BLOCK_PX for side in luma.shape)
    blocks = luma[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX)
    cosines = _cosines()
    values = np.einsum("ip,rpcq,jq->ijrc", cosines, blocks, cosines, optimize=True)
    return int(np.median([_common_step(np.abs(values[wave].ravel())) for wave in WAVES]))


def _cosines() -> Array:
    """The three slowest of JPEG's eight waves (ITU-T T.81, A.3.3), a row each."""
    waves = np.cos((2 * np.arange(BLOCK_PX) + 1) * np.arange(3)[:, None] * np.pi / (2 * BLOCK_PX)) / 2
    waves[0] /= math.sqrt(2)
    return waves.astype(np.float32)


def _common_step(values: Array) -> int:
    """The largest step of which all values are multiples, as nearly as rounding to 8 bits lets them; 0 for none."""
    found = 0
    for step in STEPS:
        # What was rounded to zero is a multiple of everything.
        told = values[values > step / 2]
        if told.size < LEAST_VALUES:
            break
        if np.cos(2 * np.pi / step * told).mean() > AGREEMENT:
            found = step
    return found


def _first_block(plane: Array) -> int:
    """The column at which blocks begin, if there are any."""
    thirds = np.abs(plane[:, :-3] - plane[:, 3:] + 3 * (plane[:, 2:-1] - plane[:, 1:-2])).mean(axis=0)
    whole = thirds.size // BLOCK_PX * BLOCK_PX
    return int(np.median(thirds[:whole].reshape(-1, BLOCK_PX), axis=0).argmax() + 2) % BLOCK_PX


def has_noise(pixels: Array) -> bool:
    """Whether (H, W, C) in levels of 255 has noise in its smoothest places."""
    if pixels.shape[2] == GREY:
        return _noise(pixels[..., 0]) > GREY_NOISE
    red, green, blue = (pixels[..., band] for band in range(RGB))
    return min(_noise(red - green), _noise(blue - green)) > NOISE * math.sqrt(2)


def _noise(plane: Array) -> float:
    """The standard deviation of what is no straight structure, in the blocks that have least of it."""
    seconds = plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]
    response = np.abs(seconds[:-2] - 2 * seconds[1:-1] + seconds[2:])
    height, width = (side // BLOCK_PX for side in response.shape)
    whole = response[: height * BLOCK_PX, : width * BLOCK_PX]
    blocks = whole.reshape(height, BLOCK_PX, width, BLOCK_PX).mean(axis=(1, 3))
    return float(np.percentile(blocks, SMOOTHEST) * math.sqrt(math.pi / 2) / MASK_NORM)
