"""Structural similarity (Wang et al. 2004) as the super-resolution papers measure it, and over five scales (Wang et al. 2003)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.errors import UsageError
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.planes import Color, measured_planes

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
C1, C2 = (K1 * PEAK_8BIT) ** 2, (K2 * PEAK_8BIT) ** 2
# Strips this high stay in the processor's cache while the eleven shifted sums pass over them.
STRIP_ROWS = 48
# Wang, Simoncelli, Bovik 2003, eq. 7: the exponents of the five scales, finest first.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """Mean SSIM of each picture, (B,) float64, 1 for equal ones, higher is better.

    Gaussian window 11x11 with sigma 1.5, population covariance, only windows that lie inside the picture (MATLAB's
    reference code; scikit-image with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``). RGB: the mean over
    channels. Arguments as in `psnr`. Raises UsageError when less than 11x11 pixels are left inside the border.
    """
    first, second = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    _require(first, WINDOW, "SSIM")
    return _means(first * (PEAK_8BIT / data_range), second * (PEAK_8BIT / data_range))[0].mean(dim=1)


def ms_ssim(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """SSIM over five scales, (B,) float64, 1 for equal pictures, higher is better (Wang, Simoncelli, Bovik 2003, eq. 7).

    Contrast and structure at every scale, luminance at the coarsest only; each scale is the mean of 2x2 pixels of the one
    before, an odd last row or column repeated. A negative mean counts as 0. RGB: the mean over channels. Arguments as in
    `psnr`. Raises UsageError when less than 161x161 pixels are left inside the border.
    """
    first, second = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    last = len(SCALE_WEIGHTS) - 1
    _require(first, (WINDOW - 1) * 2**last + 1, "MS-SSIM")
    first, second = first * (PEAK_8BIT / data_range), second * (PEAK_8BIT / data_range)
    product = torch.ones(first.shape[:2], dtype=torch.float64, device=first.device)
    for number, weight in enumerate(SCALE_WEIGHTS):
        whole, structure = _means(first, second)
        product *= (whole if number == last else structure).clamp(min=0) ** weight
        first, second = _halved(first), _halved(second)
    return product.mean(dim=1)


def _require(planes: Tensor, side: int, name: str) -> None:
    if min(planes.shape[-2:]) < side:
        raise UsageError(f"{name} needs at least {side}x{side} pixels inside the border, got {tuple(planes.shape[-2:])}")


def _halved(planes: Tensor) -> Tensor:
    odd = (0, planes.shape[-1] % 2, 0, planes.shape[-2] % 2)
    return F.avg_pool2d(F.pad(planes, odd, mode="replicate"), 2)


def _means(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Planes (B, C, H, W) in 8-bit units -> the means over all windows of SSIM and of its structure part alone, (B, C) float64."""
    whole = torch.zeros(first.shape[:2], dtype=torch.float64, device=first.device)
    structure = torch.zeros_like(whole)
    windows = 0
    for one, other in _strips(first, second):
        luminance, contrast_structure = _terms(one, other)
        whole += (luminance * contrast_structure).sum(dim=(-2, -1), dtype=torch.float64)
        structure += contrast_structure.sum(dim=(-2, -1), dtype=torch.float64)
        windows += contrast_structure.shape[-2] * contrast_structure.shape[-1]
    return whole / windows, structure / windows


def _strips(first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Strips of rows that overlap by what the window needs, so that each window is seen once."""
    for top in range(0, first.shape[-2] - WINDOW + 1, STRIP_ROWS):
        rows = min(STRIP_ROWS + WINDOW - 1, first.shape[-2] - top)
        yield first.narrow(-2, top, rows), second.narrow(-2, top, rows)


def _terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, of every window (Wang et al. 2004, eq. 6 and 13 with C3 = C2/2)."""
    # fp32 is twice as fast and exact to 1e-7 only where values lie about zero: variances are differences of squares.
    centre = first.mean(dim=(-2, -1), keepdim=True)
    one, other = (first - centre).float(), (second - centre).float()
    moments = torch.stack((one, other, torch.addcmul(one * one, other, other), one * other))
    mean1, mean2, squares, product = _windowed(moments)
    means, mean_squares = mean1 * mean2, torch.addcmul(mean1 * mean1, mean2, mean2)
    structure = product.sub_(means).mul_(2).add_(C2) / squares.sub_(mean_squares).add_(C2)
    level = centre.float()
    mean1, mean2 = mean1 + level, mean2 + level
    luminance = (mean1 * mean2).mul_(2).add_(C1) / torch.addcmul(mean1 * mean1, mean2, mean2).add_(C1)
    return luminance, structure


def _windowed(planes: Tensor) -> Tensor:
    """The Gaussian mean of every window inside the picture, one axis after the other; the window is symmetric."""
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    gaussian = torch.exp(-0.5 * (distance / SIGMA) ** 2)
    weights = (gaussian / gaussian.sum()).tolist()
    for axis in (-2, -1):
        length = planes.shape[axis] - WINDOW + 1
        total = planes.narrow(axis, 0, length) + planes.narrow(axis, WINDOW - 1, length)
        total *= weights[0]
        for offset in range(1, WINDOW - 1):
            total.add_(planes.narrow(axis, offset, length), alpha=weights[offset])
        planes = total
    return planes
