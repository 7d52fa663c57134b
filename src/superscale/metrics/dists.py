"""DISTS (Ding et al. 2020): likeness of VGG16's features, their means for texture, their correlation for structure."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from superscale.metrics.lpips import BACKBONES, rgb_pair, seen_by

# ImageNet's mean and deviation in the range 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Hann's window of five samples without its zeros, along each axis.
WINDOW = (0.25, 0.5, 0.25)
EPSILON = 1e-12
STABILITY = 1e-6


class L2Pool(nn.Module):
    """The root of windowed squares at every second sample, in place of VGG's maximum: no aliasing."""

    def forward(self, planes: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2))."""
        window = torch.tensor(WINDOW, dtype=planes.dtype, device=planes.device)
        weights = torch.outer(window, window).expand(planes.shape[1], 1, -1, -1)
        return (F.conv2d(planes.square(), weights, stride=2, padding=1, groups=planes.shape[1]) + EPSILON).sqrt()


class Dists(nn.Module):
    """VGG16 under torchvision's keys and the published ``alpha`` (texture) and ``beta`` (structure), (1, 1475, 1, 1).

    The picture itself counts as the first three features. Weights are loaded by the caller; nothing is fetched.
    """

    def __init__(self) -> None:
        super().__init__()
        build, self.compared, channels = BACKBONES["vgg"]
        self.features = nn.Sequential(*(L2Pool() if isinstance(layer, nn.MaxPool2d) else layer for layer in build()))
        self.alpha = nn.Parameter(torch.ones(1, 3 + sum(channels), 1, 1))
        self.beta = nn.Parameter(torch.ones(1, 3 + sum(channels), 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [0, 1] twice -> the distance (B,), 0 for equal pictures."""
        mean, deviation = (torch.tensor(values, device=first.device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
        one, other = (
            [planes, *seen_by(self.features, self.compared, (planes - mean) / deviation)] for planes in (first, second)
        )
        alike = [_alike(*features) for features in zip(one, other, strict=True)]
        texture, structure = (torch.cat(parts, dim=1) for parts in zip(*alike, strict=True))
        alpha, beta = self.alpha.flatten(), self.beta.flatten()
        return 1 - (texture @ alpha + structure @ beta) / (alpha.sum() + beta.sum())


def _alike(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, C, h, w) twice -> likeness of texture (B, C) and of structure (B, C)."""
    first, second = one.flatten(2), other.flatten(2)
    mean1, mean2 = first.mean(dim=2), second.mean(dim=2)
    texture = (2 * mean1 * mean2 + STABILITY) / (mean1.square() + mean2.square() + STABILITY)
    covariance = (first * second).mean(dim=2) - mean1 * mean2
    variances = first.var(dim=2, correction=0) + second.var(dim=2, correction=0)
    return texture, (2 * covariance + STABILITY) / (variances + STABILITY)


def dists(super_res: Tensor, high_res: Tensor, network: nn.Module, *, data_range: float, border: int) -> Tensor:
    """DISTS of each picture, (B,) float64, 0 for equal ones, lower is better; always RGB, at the pictures' own size.

    ``super_res``, ``high_res``: (B, 3 or 1, H, W), values 0 to ``data_range``. ``network``: a `Dists` with its weights loaded.
    Raises UsageError for other channels or less than 32x32 pixels inside the border.
    """
    first, second = rgb_pair("DISTS", super_res, high_res, data_range=data_range, border=border)
    distance: Tensor = network(first.float(), second.float())
    return distance.double()
