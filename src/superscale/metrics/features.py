"""Features of a frozen VGG19, for losses and for a distance; the network of Simonyan and Zisserman 2015 and smaller ones of its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.errors import UnknownNameError
from superscale.metrics.lpips import rgb_pair

# What `feature_distance` compares: the last convolution before each pooling, and the first behind the last.
COMPARED = frozenset(("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_1"))
EPSILON = 1e-10

# Mean and deviation of ImageNet's RGB in [0, 1], which the published VGG19 was trained on.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """The shape of a VGG19-like encoder: widths and convolutions of its five blocks, padding, and treatment of RGB.

    ``first``: "normalize" subtracts ImageNet's mean and divides by its deviation; "conv" applies a learnt 1x1 convolution ``conv0``.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    convolutions: tuple[int, ...] = (2, 2, 4, 4, 4)
    padding: Literal["zeros", "reflect"] = "zeros"
    first: Literal["normalize", "conv"] = "normalize"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' names in order: conv1_1, conv1_2, conv2_1, ..."""
        return tuple(f"conv{block}_{n + 1}" for block, count in enumerate(self.convolutions, 1) for n in range(count))


FEATURE_NETWORKS: dict[str, FeatureSpec] = {
    # Simonyan and Zisserman 2015, configuration E.
    "vgg19": FeatureSpec(),
    # Collaborative Distillation (Wang et al. 2020): VGG19 up to conv5_1 at a quarter of the width.
    "vgg19-distilled": FeatureSpec(
        widths=(16, 32, 64, 128, 128), convolutions=(2, 2, 4, 4, 1), padding="reflect", first="conv"
    ),
    # The same shape, our own weights: taught by the one above on photographs (docs/how-the-models-were-trained.md).
    "vgg19-student": FeatureSpec(widths=(16, 32, 64, 128, 128), convolutions=(2, 2, 4, 4, 1), padding="reflect", first="conv"),
    # Untrained, with VGG19's shape and speed: for dry runs and benchmarks.
    "vgg19-random": FeatureSpec(),
}


class FeatureNetwork(nn.Module):
    """The convolutions of a `FeatureSpec` up to ``deepest``, frozen; parameters are named conv1_1, conv1_2, ..."""

    def __init__(self, spec: FeatureSpec, deepest: str) -> None:
        super().__init__()
        if deepest not in spec.layers:
            raise UnknownNameError("feature layer", deepest, spec.layers)
        self.spec = spec
        self.names = spec.layers[: spec.layers.index(deepest) + 1]
        if spec.first == "conv":
            self.conv0 = nn.Conv2d(3, 3, 1)
        inputs = 3
        for name in self.names:
            width = spec.widths[int(name[4]) - 1]
            self.add_module(name, nn.Conv2d(inputs, width, 3, padding=1, padding_mode=spec.padding))
            inputs = width
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, image: Tensor, layers: frozenset[str], after_activation: bool) -> dict[str, Tensor]:
        """RGB (B, 3, H, W) in [0, 1] -> the named layers' features (B, F, H/2^(block-1), W/2^(block-1))."""
        if self.spec.first == "conv":
            features = self.conv0(image)
        else:
            features = (image - self.get_buffer("mean")) / self.get_buffer("deviation")
        seen: dict[str, Tensor] = {}
        for name in self.names:
            if name.endswith("_1") and name != "conv1_1":
                features = F.max_pool2d(features, 2)
            before = self.get_submodule(name)(features)
            features = F.relu(before)
            if name in layers:
                seen[name] = features if after_activation else before
        return seen


def deepest_layer(spec: FeatureSpec, layers: Mapping[str, float]) -> str:
    """Return the last of the named layers. Raises UnknownNameError for a layer that the network does not have."""
    for name in layers:
        if name not in spec.layers:
            raise UnknownNameError("feature layer", name, spec.layers)
    return max(layers, key=spec.layers.index)


def feature_distance(super_res: Tensor, high_res: Tensor, network: nn.Module, *, data_range: float, border: int) -> Tensor:
    """The distance of features of each picture, (B,) float64, 0 for equal ones, lower is better; always RGB.

    As LPIPS without weights learnt from people (Zhang et al. 2018, eq. 1): features after activation, each position's vector
    scaled to length one, squared differences summed over channels, averaged over positions and over five layers. ``network``: a
    `FeatureNetwork` as far as conv5_1. Arguments and errors otherwise as in `lpips`.
    """
    first, second = rgb_pair("the distance of features", super_res, high_res, data_range=data_range, border=border)
    one, other = (network(planes.float(), COMPARED, True) for planes in (first, second))
    terms = [(_unit(one[name]) - _unit(other[name])).square().sum(dim=1).mean(dim=(-2, -1)) for name in sorted(COMPARED)]
    return torch.stack(terms).mean(dim=0).double()


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)
