"""Structural similarity (Wang et al. 2004), as the super-resolution papers measure it."""

from __future__ import annotations

import torch
from torch import Tensor

from superscale.errors import UsageError
from superscale.evaluation.planes import Color, measured_planes

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03


def ssim(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """Mean SSIM of each picture, (B,) float64, 1 for equal ones, higher is better.

    Gaussian window 11x11 with sigma 1.5, population covariance, only windows that lie inside the picture (MATLAB's
    reference code; scikit-image with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``). RGB: the mean over
    channels. Arguments as in `psnr`. Raises UsageError when less than 11x11 pixels are left inside the border.
    """
    first, second = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    if min(first.shape[-2:]) < WINDOW:
        raise UsageError(f"SSIM needs at least {WINDOW}x{WINDOW} pixels inside the border, got {tuple(first.shape[-2:])}")
    weights = _gaussian().tolist()
    mean1, mean2 = _windowed(first, weights), _windowed(second, weights)
    variance1 = _windowed(first * first, weights) - mean1 * mean1
    variance2 = _windowed(second * second, weights) - mean2 * mean2
    covariance = _windowed(first * second, weights) - mean1 * mean2
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean1 * mean2 + c1) / (mean1 * mean1 + mean2 * mean2 + c1)
    structure = (2 * covariance + c2) / (variance1 + variance2 + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _gaussian() -> Tensor:
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-0.5 * (distance / SIGMA) ** 2)
    return weights / weights.sum()


def _windowed(planes: Tensor, weights: list[float]) -> Tensor:
    """The Gaussian mean of every window inside the picture, one axis after the other."""
    for axis in (-2, -1):
        length = planes.shape[axis] - WINDOW + 1
        total = planes.narrow(axis, 0, length) * weights[0]
        for offset, weight in enumerate(weights[1:], start=1):
            total.add_(planes.narrow(axis, offset, length), alpha=weight)
        planes = total
    return planes
