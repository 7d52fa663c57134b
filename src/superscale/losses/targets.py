"""Sharper targets for the content losses, as Real-ESRGAN trains with (Wang et al. 2021, section 3.1: "sharpened ground-truth images")."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from superscale.image.pixels import PEAK_8BIT

# Of the published unsharp mask: a Gaussian of 51 pixels, as wide as OpenCV makes one of that size; where the difference from it is larger
# than this many 8-bit levels, the picture is sharpened.
KERNEL_PX = 51
SIGMA = 0.3 * ((KERNEL_PX - 1) * 0.5 - 1) + 0.8
THRESHOLD = 10 / PEAK_8BIT
WHITE = 1.0


def sharpened(high_res: Tensor, amount: float) -> Tensor:
    """(B, C, H, W) in [0, 1], sides above 25 pixels -> the same, by an unsharp mask of strength ``amount`` (Real-ESRGAN's is 0.5).

    Only around edges, with soft borders: flat areas keep their noise as it is.
    """
    detail = high_res - _blurred(high_res)
    around_edges = _blurred((detail.abs() > THRESHOLD).to(high_res.dtype))
    sharp = (high_res + amount * detail).clamp(0, WHITE)
    return around_edges * sharp + (1 - around_edges) * high_res


def _blurred(planes: Tensor) -> Tensor:
    """A Gaussian, the picture mirrored outwards without repeating its border."""
    reach = KERNEL_PX // 2
    places = torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.exp(-(places**2) / (2 * SIGMA**2)) / math.sqrt(2 * math.pi)
    kernel = (kernel / kernel.sum()).expand(planes.shape[1], 1, 1, -1)
    around = F.pad(planes, (reach,) * 4, mode="reflect")
    rows = F.conv2d(around, kernel, groups=planes.shape[1])
    return F.conv2d(rows, kernel.mT, groups=planes.shape[1])
