"""Back-projection (Irani and Peleg 1991): an enlarged picture that gives back the original when it is reduced again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.image.pixels import peak, round_half_up
from superscale.image.resize import resize_to

Array = NDArray[Any]
ROUNDS = 8


def back_projected(super_res: Array, low_res: Array, rounds: int = ROUNDS) -> tuple[Array, float, float]:
    """(H, W, C) and (h, w, C) of one type -> the corrected picture, and the LR-PSNR in dB before and after.

    Each round reduces the picture by MATLAB's bicubic, enlarges what is missing, and adds it. LR-PSNR compares the reduction
    of the picture, rounded to its type, with the original; a picture that gives it back exactly has infinite dB.
    """
    height, width = low_res.shape[:2]
    target = low_res.astype(np.float64)
    picture = super_res.astype(np.float64)
    for _ in range(rounds):
        missing = target - resize_to(picture, height, width)
        picture += resize_to(missing, super_res.shape[0], super_res.shape[1])
    whole = super_res.dtype.kind == "u"
    corrected = (round_half_up(super_res.dtype)(picture) if whole else picture).astype(super_res.dtype)
    return corrected, low_res_psnr(super_res, low_res), low_res_psnr(corrected, low_res)


def low_res_psnr(super_res: Array, low_res: Array) -> float:
    """PSNR in dB between the reduction of ``super_res`` and ``low_res``; the range is that of the type, 1 for floats."""
    reduced = resize_to(super_res.astype(np.float64), low_res.shape[0], low_res.shape[1])
    error = float(np.mean((reduced - low_res) ** 2))
    largest = float(peak(low_res.dtype)) if low_res.dtype.kind == "u" else 1.0
    return float("inf") if error == 0 else 10 * float(np.log10(largest**2 / error))
