"""The grid meter: does a network leave a pattern of 4 or 2 pixels in its pictures, as strided upsampling and GANs do?"""

from __future__ import annotations

import torch
from torch import Tensor

from superscale.errors import UsageError
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.planes import Color, measured_planes
from superscale.metrics.spectrum import PERIODS, SEGMENT_PX, neighbours, spectrum


def grid(super_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """The strongest of `grid_lines`, (B,) float64, lower is better: about 1 in photographs, far above 1.5 with a visible grid."""
    return grid_lines(super_res, data_range=data_range, border=border, color=color).flatten(1).amax(dim=1)


def grid_lines(super_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """Power at periods 4 and 2 pixels over the median of its neighbours in the spectrum, (B, 2, 2): (along x, y), (4, 2).

    By `metrics.spectrum`. ``super_res``: (B, 3 or 1, H, W). RGB: the mean of the channels' spectra. Raises UsageError when less
    than 65x65 pixels are left inside the border.
    """
    planes, _ = measured_planes(super_res, super_res, data_range=data_range, border=border, color=color)
    if min(planes.shape[-2:]) <= SEGMENT_PX:
        side = SEGMENT_PX + 1
        raise UsageError(f"the grid meter needs {side}x{side} pixels inside the border, got {tuple(planes.shape[-2:])}")
    scaled = planes / data_range * PEAK_8BIT
    return torch.stack([_lines(scaled), _lines(scaled.transpose(-1, -2))], dim=1)


def _lines(planes: Tensor) -> Tensor:
    """Planes (B, C, H, W) -> (B, 2): the ratio at each period, along the last axis."""
    power = spectrum(planes)
    ratios = [power[:, SEGMENT_PX // period] / neighbours(power, period).quantile(0.5, dim=1) for period in PERIODS]
    return torch.stack(ratios, dim=1)
