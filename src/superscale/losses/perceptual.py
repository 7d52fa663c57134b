"""Perceptual loss: the distance between the VGG19 features of two images (Ledig et al. 2017, eq. 5; Wang et al. 2018, §3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.errors import UnknownNameError, UsageError

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


class PerceptualLoss(nn.Module):
    """The weighted sum over layers of the mean distance between features; gradients reach ``super_res`` only.

    ``layers``: name -> weight. ``after_activation``: SRGAN's choice; ESRGAN compares before the activation, where features are denser
    (§3.3). ``distance``: "mse" (SRGAN, eq. 5) or "l1" (ESRGAN's published code).
    """

    def __init__(
        self,
        network: FeatureNetwork,
        layers: Mapping[str, float],
        *,
        after_activation: bool,
        distance: Literal["mse", "l1"] = "l1",
    ) -> None:
        super().__init__()
        if not layers:
            raise UsageError("a perceptual loss needs at least one layer, e.g. conv5_4")
        for name in layers:
            if name not in network.names:
                raise UnknownNameError("feature layer", name, network.names)
        self.network, self.layers, self.after_activation = network, dict(layers), after_activation
        self.distance = {"mse": F.mse_loss, "l1": F.l1_loss}[distance]

    def forward(self, super_res: Tensor, high_res: Tensor) -> Tensor:
        """Two batches in [0, 1], RGB (B, 3, H, W) or grey (B, 1, H, W), which is repeated as RGB -> a scalar."""
        super_res, high_res = as_rgb(super_res), as_rgb(high_res)
        wanted = frozenset(self.layers)
        with torch.no_grad():
            truth = self.network(high_res, wanted, self.after_activation)
        seen = self.network(super_res, wanted, self.after_activation)
        terms = [weight * self.distance(seen[name].float(), truth[name].float()) for name, weight in self.layers.items()]
        return torch.stack(terms).sum()


def as_rgb(planes: Tensor) -> Tensor:
    """Grey (B, 1, H, W) repeated as RGB (B, 3, H, W), which is taken as it is. Raises UsageError for other channels."""
    if planes.shape[1] not in (1, 3):
        raise UsageError(f"the features of RGB networks know pictures of 1 or 3 channels, got {planes.shape[1]}")
    return planes.expand(-1, 3, -1, -1)


def deepest_layer(spec: FeatureSpec, layers: Mapping[str, float]) -> str:
    """Return the last of the named layers. Raises UnknownNameError for a layer that the network does not have."""
    for name in layers:
        if name not in spec.layers:
            raise UnknownNameError("feature layer", name, spec.layers)
    return max(layers, key=spec.layers.index)
