"""Perceptual loss: the distance between the VGG19 features of two images (Ledig et al. 2017, eq. 5; Wang et al. 2018, §3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.errors import UnknownNameError, UsageError
from superscale.metrics.features import FeatureNetwork


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
