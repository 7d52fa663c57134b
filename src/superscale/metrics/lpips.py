"""LPIPS v0.1 (Zhang et al. 2018): distance of features of AlexNet, VGG16 or SqueezeNet 1.1, weighed by people's judgements."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from superscale.errors import UnknownNameError, UsageError
from superscale.metrics.planes import measured_planes

# The published scaling layer: ImageNet's mean and deviation in the range -1 to 1.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10
SMALLEST_PX = 32


class Fire(nn.Module):
    """SqueezeNet's block (Iandola et al. 2016, fig. 1): squeeze 1x1, then 1x1 and 3x3 beside each other."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, planes: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2 * expanded, H, W)."""
        squeezed = self.squeeze(planes).relu()
        return torch.cat((self.expand1x1(squeezed).relu(), self.expand3x3(squeezed).relu()), dim=1)


def _alex() -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for before, after in pairwise((192, 384, 256, 256)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return layers


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return layers


def _squeeze() -> list[nn.Module]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()]
    layers += [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool()]
    return [*layers, Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]


# name -> (torchvision's `features` as far as it is used, the layers compared, their channels)
BACKBONES: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...], tuple[int, ...]]] = {
    "alex": (_alex, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)),
    "vgg": (_vgg, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512)),
    "squeeze": (_squeeze, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512)),
}


class Lpips(nn.Module):
    """A backbone under torchvision's keys (``features.0.weight``) and the weights of its channels under the published ones.

    ``lin0.model.1.weight`` (1, C, 1, 1) ... Weights are loaded by the caller; the module never fetches anything.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise UnknownNameError("LPIPS network", name, BACKBONES)
        build, self.compared, channels = BACKBONES[name]
        self.features = nn.Sequential(*build())
        for number, width in enumerate(channels):
            lin = nn.Module()
            # Index 1: in the published training code a dropout stands before it.
            lin.model = nn.Sequential(nn.Identity(), nn.Conv2d(width, 1, 1, bias=False))
            self.add_module(f"lin{number}", lin)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [-1, 1] twice -> the distance (B,), 0 for equal pictures (Zhang et al. 2018, eq. 1)."""
        terms = []
        seen = [seen_by(self.features, self.compared, self._scaled(planes)) for planes in (first, second)]
        for number, (one, other) in enumerate(zip(*seen, strict=True)):
            weights = self.get_parameter(f"lin{number}.model.1.weight")
            terms.append(((_unit(one) - _unit(other)).square() * weights).sum(dim=1).mean(dim=(-2, -1)))
        return torch.stack(terms).sum(dim=0)

    def _scaled(self, planes: Tensor) -> Tensor:
        return (planes - self.get_buffer("shift")) / self.get_buffer("scale")


def seen_by(features: nn.Sequential, compared: tuple[int, ...], planes: Tensor) -> list[Tensor]:
    """What comes out of the numbered layers of a backbone."""
    seen = []
    for number, layer in enumerate(features):
        planes = layer(planes)
        if number in compared:
            seen.append(planes)
    return seen


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)


def lpips(super_res: Tensor, high_res: Tensor, network: nn.Module, *, data_range: float, border: int) -> Tensor:
    """LPIPS of each picture, (B,) float64, 0 for equal ones, lower is better; always RGB, as published.

    ``super_res``, ``high_res``: (B, 3 or 1, H, W), values 0 to ``data_range``. ``network``: an `Lpips` with its weights loaded.
    Raises UsageError for other channels or less than 32x32 pixels inside the border.
    """
    pair = rgb_pair("LPIPS", super_res, high_res, data_range=data_range, border=border)
    first, second = ((planes * 2 - 1).float() for planes in pair)
    distance: Tensor = network(first, second)
    return distance.double()


def rgb_pair(metric: str, super_res: Tensor, high_res: Tensor, *, data_range: float, border: int) -> tuple[Tensor, Tensor]:
    """Both batches (B, 3, H, W) in [0, 1], float64, borders cut, grey (B, 1, H, W) repeated.

    Raises UsageError when a backbone cannot look at them.
    """
    if super_res.shape[1] == high_res.shape[1] == 1:
        super_res, high_res = (planes.expand(-1, 3, -1, -1) for planes in (super_res, high_res))
    if super_res.shape[1] != 3:
        raise UsageError(f"{metric} compares RGB planes (B, 3, H, W), got shape {tuple(super_res.shape)}")
    first, second = measured_planes(super_res, high_res, data_range=data_range, border=border, color="rgb")
    if min(first.shape[-2:]) < SMALLEST_PX:
        raise UsageError(f"{metric} needs {SMALLEST_PX}x{SMALLEST_PX} pixels inside the border, got {tuple(first.shape[-2:])}")
    return first / data_range, second / data_range
