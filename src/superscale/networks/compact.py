"""SRVGGNetCompact, the small network of Real-ESRGAN's "general" and "anime video" models, with the published parameter names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.bounds import Channels, Depth, Features, Scale, check_bounds
from superscale.contract import Contract
from superscale.errors import UsageError
from superscale.networks.generator import Generator

# Against the whole picture, the published realesr-general-x4v3 keeps 60 dB at half its receptive field and 71 at two thirds, the bundled
# compact-x4 90 and 108.
OVERLAP_SHARE = 2 / 3
# As the published ``act_type`` calls them; of a number of features.
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": nn.PReLU,
    "relu": lambda _: nn.ReLU(),
    "leakyrelu": lambda _: nn.LeakyReLU(0.1),
}


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """``convolutions`` counts the feature convolutions between the first and the last, as the published ``num_conv`` does.

    ``activation``: "prelu", "relu" or "leakyrelu" (slope 0.1).
    """

    scale: Scale = 4
    channels: Channels = 3
    features: Features = 64
    convolutions: Depth = 16
    activation: str = "prelu"

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.activation not in ACTIVATIONS:
            raise UsageError(f"SRVGGNetCompact has the activation {', '.join(ACTIVATIONS)}, got {self.activation!r}")


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
        receptive_field_px = config.convolutions + 2
        self.contract = Contract(
            scale=config.scale,
            channels=config.channels,
            multiple_of=1,
            receptive_field_px=receptive_field_px,
            overlap_px=round(OVERLAP_SHARE * receptive_field_px),
            features=config.features,
        )

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
