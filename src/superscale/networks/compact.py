"""SRVGGNetCompact, the small network of Real-ESRGAN's "general" and "anime video" models, with the published parameter names."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.networks.configs import SLOPES, CompactConfig
from superscale.networks.generator import Generator

# As the published ``act_type`` calls them; of a number of features.
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": nn.PReLU,
    "relu": lambda _: nn.ReLU(),
    "leakyrelu": lambda _: nn.LeakyReLU(SLOPES["leakyrelu"]),
}


class SRVGGNetCompact(Generator):
    """(B, C, h, w) -> (B, C, h*scale, w*scale): plain convolutions at low resolution and a pixel shuffle, added to nearest-neighbour."""

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CompactConfig()
        activation = ACTIVATIONS[config.activation]
        layers: list[nn.Module] = [nn.Conv2d(config.channels, config.features, 3, padding=1), activation(config.features)]
        for _ in range(config.convolutions):
            layers += [nn.Conv2d(config.features, config.features, 3, padding=1), activation(config.features)]
        layers.append(nn.Conv2d(config.features, config.channels * config.scale**2, 3, padding=1))
        self.body = nn.ModuleList(layers)
        self._initialize()
        self.contract = config.contract

    def _initialize(self) -> None:
        """Start near the identity. With torch's or He's initialisation, plain layers without skip connections scramble their input:
        after 2000 steps such a network still returned the nearest pixel, while this one passes bicubic within 300.
        """
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight, a=0.25)  # PReLU's initial slope
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            for convolution in convolutions[1:]:
                convolution.weight.mul_(0.1)
            for convolution in convolutions[1:-1]:
                convolution.weight[:, :, 1, 1].diagonal().add_(1)

    def forward(self, low_res: Tensor) -> Tensor:
        """Upscale a batch."""
        features = low_res
        for layer in self.body:
            features = layer(features)  # (B, F, h, w), after the last layer (B, C*scale², h, w)
        nearest = F.interpolate(low_res, scale_factor=self.config.scale, mode="nearest")
        return F.pixel_shuffle(features, self.config.scale) + nearest
