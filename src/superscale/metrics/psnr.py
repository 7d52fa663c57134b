"""Peak signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from superscale.metrics.planes import Color, measured_planes


def psnr(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """10 log10(range² / MSE) in dB of each picture, (B,) float64, higher is better; infinite for equal pictures.

    ``super_res``, ``high_res``: (B, 3 or 1, H, W), values 0 to ``data_range``. ``color="y"``: BT.601 studio-swing luma, the
    papers' convention; grey pictures are measured as they are. ``border``: pixels cut off each side, the papers' being the scale.
    """
    first, second = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    error = (first - second).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(data_range**2 / error)
