"""Distances between a super-resolved picture and the truth, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]

# Charbonnier's epsilon as in LapSRN (Lai et al. 2017, §3.3).
CHARBONNIER_EPSILON = 1e-3


def l1(super_res: Tensor, high_res: Tensor) -> Tensor:
    """Mean absolute error, used by ESRGAN's PSNR stage and as the last term of its eq. 3."""
    return F.l1_loss(super_res, high_res)


def mse(super_res: Tensor, high_res: Tensor) -> Tensor:
    """Mean squared error (SRGAN, eq. 4)."""
    return F.mse_loss(super_res, high_res)


def charbonnier(super_res: Tensor, high_res: Tensor) -> Tensor:
    """Mean of sqrt(difference² + epsilon²), a smooth L1 (Lai et al. 2017, eq. 3)."""
    return torch.sqrt((super_res - high_res).square() + CHARBONNIER_EPSILON**2).mean()


PIXEL_LOSSES: dict[str, Distance] = {"l1": l1, "mse": mse, "charbonnier": charbonnier}
