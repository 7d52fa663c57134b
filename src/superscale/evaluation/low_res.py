"""The ways in which people make low-resolution pictures, and by which of them a folder's came about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from superscale.data.pairs import Array, PairFolder, within_peak
from superscale.evaluation.papers import BICUBIC
from superscale.image.pixels import to_float, to_pixels
from superscale.image.resize import imresize

# Reductions in the two roundings differ in a tenth of all samples and more; rounding ties in far fewer than this.
TIES = 0.01


def not_antialiased(high_res: Array, scale: int) -> Array:
    """What OpenCV's INTER_CUBIC and torch's bicubic make by default: four taps (a = -0.75), however much is left out between."""
    planes = torch.from_numpy(to_float(high_res))[None]
    size = (high_res.shape[0] // scale, high_res.shape[1] // scale)
    reduced: Array = to_pixels(F.interpolate(planes, size=size, mode="bicubic", align_corners=False)[0], high_res.dtype)
    return reduced


REDUCTIONS: dict[str, Callable[[Array, int], Array]] = {
    "bicubic, double": lambda high_res, scale: imresize(high_res, 1 / scale, rounding="double"),
    "bicubic, uint8": lambda high_res, scale: imresize(high_res, 1 / scale, rounding="uint8"),
    "bicubic, not antialiased": not_antialiased,
}


def low_res_of(folder: PairFolder) -> str:
    """How a folder's low-res pictures came about; those found in LR_x4/ are compared with both bicubic roundings."""
    if folder.low_res is None:
        return folder.low_res_source
    for name in BICUBIC:
        wrong = [
            float(np.mean(pair.low_res != within_peak(REDUCTIONS[name](pair.high_res, folder.scale), folder.peak)))
            for pair in folder
        ]
        if max(wrong) <= TIES:
            return name
    return folder.low_res_source
