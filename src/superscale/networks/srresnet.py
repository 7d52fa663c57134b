"""SRResNet, the generator of SRGAN (Ledig et al. 2017, Fig. 4, top)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.networks.blocks import PReLU, conv_after_shuffle, initialize_residual
from superscale.networks.configs import SRResNetConfig
from superscale.networks.generator import Generator


class ResidualBlock(nn.Module):
    """Fig. 4, "residual block": conv, BN, PReLU, conv, BN, sum."""

    def __init__(self, features: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=not batch_norm)
        self.norm1 = nn.BatchNorm2d(features) if batch_norm else nn.Identity()
        self.activation = PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=not batch_norm)
        self.norm2 = nn.BatchNorm2d(features) if batch_norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, h, w) -> the same shape."""
        residual = self.activation(self.norm1(self.conv1(features)))
        summed: Tensor = features + self.norm2(self.conv2(residual))
        return summed


class UpsampleBlock(nn.Module):
    """Fig. 4, conv, PixelShuffle, PReLU; the caller does the shuffle, which commutes with a PReLU of one slope."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features * 4, 3, padding=1)
        self.activation = PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, h, w) -> (B, 4F, h, w)."""
        unshuffled: Tensor = self.activation(self.conv(features))
        return unshuffled

    def copy_bilinearly(self, channel: int) -> None:
        """Set the kernels so that ``channel`` of the output is the bilinear upscaling of ``channel`` of the input."""
        phases = torch.tensor(
            ((0.25, 0.75, 0.0), (0.0, 0.75, 0.25)), device="cpu"
        )  # even when the weights are on torch's meta device
        for row in range(2):
            for column in range(2):
                kernel = self.conv.weight[4 * channel + 2 * row + column]
                kernel.zero_()
                kernel[channel] = torch.outer(phases[row], phases[column])


class SRResNet(Generator):
    """(B, C, h, w) -> (B, C, h*scale, w*scale), values nominally in [0, 1]. It trains better and costs less without batch norm."""

    def __init__(self, config: SRResNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SRResNetConfig()
        features = config.features
        self.head = nn.Conv2d(config.channels, features, 9, padding=4)
        self.activation = PReLU()
        self.body = nn.Sequential(*(ResidualBlock(features, config.batch_norm) for _ in range(config.blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1, bias=not config.batch_norm)
        self.norm_body = nn.BatchNorm2d(features) if config.batch_norm else nn.Identity()
        blocks = [UpsampleBlock(features) for _ in range(config.scale.bit_length() - 1)]
        self.upsample = nn.ModuleList(blocks)
        self.tail = nn.Conv2d(features, config.channels, 9, padding=4)
        if not config.batch_norm:
            self._start_as_interpolation(blocks)
        self.contract = config.contract

    @torch.no_grad()
    def _start_as_interpolation(self, upsample: list[UpsampleBlock]) -> None:
        """Initialise so that the first channels upscale the image bilinearly and the rest starts small.

        The figure has no skip connection from input to output, so training would spend thousands of steps on learning to copy.
        """
        initialize_residual(self.body)
        initialize_residual(self.conv_body)
        initialize_residual(self.tail)
        nn.init.kaiming_normal_(self.head.weight)
        for channel in range(min(self.config.channels, self.config.features)):
            self.head.weight[channel] = 0
            self.head.weight[channel, channel, 4, 4] = 1
            self.tail.weight[channel, channel, 4, 4] = 1
            for block in upsample:
                block.copy_bilinearly(channel)
        for layer in (self.head, *(block.conv for block in upsample)):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, low_res: Tensor) -> Tensor:
        """Upscale a batch."""
        shallow = self.activation(self.head(low_res))  # (B, F, h, w)
        features = shallow + self.norm_body(self.conv_body(self.body(shallow)))
        unshuffled = self.upsample[0](features)  # (B, 4F, h, w)
        for block in list(self.upsample)[1:]:
            unshuffled = block(F.pixel_shuffle(unshuffled, 2))  # (B, 4F, 2h, 2w)
        bias = self.tail.bias
        assert bias is not None
        return conv_after_shuffle(unshuffled, self.tail.weight, bias, 2)
