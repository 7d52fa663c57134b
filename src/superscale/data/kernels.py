"""The blur kernels of Real-ESRGAN (Wang et al. 2021, §3.1 and §3.3): float64 (side, side), ``side`` odd, the sum one.

All families but the sinc are functions of one quadratic form, x' Σ⁻¹ x, where Σ has the standard deviations ``sigma`` (pixels,
along x and y) turned by ``angle`` (radians, from x towards y).
"""

from __future__ import annotations

from math import cos, pi, sin

import torch
from torch import Tensor
from torch.nn import functional as F

Sigma = tuple[float, float]


def gaussian(side: int, sigma: Sigma, angle: float = 0.0) -> Tensor:
    """exp(-q/2): isotropic when both deviations are equal."""
    return _normalized(torch.exp(-0.5 * _quadratic_form(side, sigma, angle)))


def generalized_gaussian(side: int, sigma: Sigma, angle: float, shape: float) -> Tensor:
    """exp(-q^shape/2): pointed below shape 1, the Gaussian at 1, flat with steep flanks above."""
    return _normalized(torch.exp(-0.5 * _quadratic_form(side, sigma, angle) ** shape))


def plateau(side: int, sigma: Sigma, angle: float, shape: float) -> Tensor:
    """1/(1 + q^shape): wider tails than the Gaussian's."""
    return _normalized(1 / (1 + _quadratic_form(side, sigma, angle) ** shape))


def sinc(side: int, cutoff: float) -> Tensor:
    """The circular low-pass, cut off to a square: keeps frequencies below ``cutoff`` (of Nyquist's, in (0, 1]) and rings (§3.3).

    J1(w r) w / (2 pi r) with w = pi * cutoff; at the centre its limit w² / (4 pi).
    """
    y, x = _grid(side)
    radius = torch.hypot(x, y)
    frequency = pi * cutoff
    nonzero = radius.clamp(min=1e-9)
    ring = frequency * torch.special.bessel_j1(frequency * nonzero) / (2 * pi * nonzero)
    return _normalized(torch.where(radius > 0, ring, frequency**2 / (4 * pi)))


def pulse(side: int) -> Tensor:
    """The kernel that leaves a picture as it is."""
    return padded(torch.ones(1, 1, dtype=torch.float64), side)


def padded(kernel: Tensor, side: int) -> Tensor:
    """The same kernel in the middle of a larger square of zeros."""
    border = (side - kernel.shape[-1]) // 2
    return F.pad(kernel, (border, border, border, border))


def _grid(side: int) -> tuple[Tensor, Tensor]:
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    return offsets[:, None].expand(side, side), offsets[None, :].expand(side, side)


def _quadratic_form(side: int, sigma: Sigma, angle: float) -> Tensor:
    y, x = _grid(side)
    along = (x * cos(angle) + y * sin(angle)) / sigma[0]
    across = (y * cos(angle) - x * sin(angle)) / sigma[1]
    return along**2 + across**2


def _normalized(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()
