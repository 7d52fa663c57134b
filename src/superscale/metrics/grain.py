"""The grain meter: does a network roughen what is flat in the original, as adversarial training does to skin, sky and walls?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.errors import UsageError
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.planes import Color, measured_planes

WINDOW_PX, STEP_PX = 8, 4
# Of the original's windows, by how little they vary; an average over so many does not hang on one.
FLATTEST = 0.1
# Variance in 8-bit units below which rounding to 8 bits decides (1/12 of it is rounding alone).
FLOOR = 0.25


def grain(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """Variance of the flattest tenth of the original's 8x8 windows, in the output over in the original, (B,) float64.

    About 1 for a faithful output, less for a smoother one; above 1.5 a grain that the original does not have. Slopes are taken
    off first: only what varies about a plane counts. RGB: the mean over channels. Arguments as in `psnr`. Raises UsageError when
    less than 16x16 pixels are left inside the border.
    """
    pair = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    if min(pair[0].shape[-2:]) < 2 * WINDOW_PX:
        side = 2 * WINDOW_PX
        raise UsageError(f"the grain meter needs {side}x{side} pixels inside the border, got {tuple(pair[0].shape[-2:])}")
    ours, truth = (_roughness(planes * (PEAK_8BIT / data_range)) for planes in pair)
    flat = truth.topk(max(1, round(FLATTEST * truth.shape[1])), dim=1, largest=False).indices
    return (ours.gather(1, flat).mean(dim=1) + FLOOR) / (truth.gather(1, flat).mean(dim=1) + FLOOR)


def _roughness(planes: Tensor) -> Tensor:
    """Planes (B, C, H, W) -> (B, windows): mean square of what a least-squares plane leaves of each window, mean over channels."""
    batch, channels = planes.shape[:2]
    windows = F.unfold(planes, WINDOW_PX, stride=STEP_PX).view(batch, channels, WINDOW_PX**2, -1)
    places = torch.arange(WINDOW_PX, dtype=planes.dtype, device=planes.device) - (WINDOW_PX - 1) / 2
    slope = places / (places.square().sum() * WINDOW_PX).sqrt()
    basis = torch.stack((slope[:, None].expand(-1, WINDOW_PX).flatten(), slope.repeat(WINDOW_PX)))  # (2, 64), orthonormal
    rest = windows - windows.mean(dim=2, keepdim=True)
    rest = rest - torch.einsum("kp,kq,bcqn->bcpn", basis, basis, rest)
    return rest.square().mean(dim=(1, 2))
