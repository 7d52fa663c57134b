"""LR-PSNR: does the output, reduced again, give back the input it was made of?"""

from __future__ import annotations

from torch import Tensor

from superscale.errors import UsageError
from superscale.image.resize import imresize
from superscale.metrics.planes import Color
from superscale.metrics.psnr import psnr


def lr_psnr(super_res: Tensor, low_res: Tensor, *, scale: int, data_range: float, border: int, color: Color) -> Tensor:
    """PSNR in dB between ``super_res`` reduced by MATLAB's bicubic and ``low_res``, (B,) float64, higher is better.

    The reduction stays unrounded, so the truth itself reaches about 59 dB (``low_res`` is 8-bit); 45 dB and more looks
    consistent. ``super_res``: (B, C, h*scale, w*scale), ``low_res``: (B, C, h, w). ``border``: low-res pixels cut off each side.
    """
    expected = tuple(side * scale for side in low_res.shape[-2:])
    if tuple(super_res.shape[-2:]) != expected:
        raise UsageError(f"expected an output of {expected} for an input of {tuple(low_res.shape[-2:])} at ×{scale}")
    reduced = imresize(super_res.double(), 1 / scale)
    return psnr(reduced, low_res.double(), data_range=data_range, border=border, color=color)
