"""RRDBNet, the generator of ESRGAN (Wang et al. 2018, Fig. 3 and 4), with the published parameter names (BasicSR's layout)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.networks.blocks import initialize_residual
from superscale.networks.configs import RRDBNetConfig
from superscale.networks.generator import Generator


class ResidualDenseBlock(nn.Module):
    """Fig. 4, "dense block": five convolutions, each on all features before it, and a residual scaled by beta.

    ``plus`` adds the block's input to the second convolution's output, and that to the fourth's (ESRGAN+, Fig. 3).
    """

    def __init__(self, features: int, growth_channels: int, residual_scale: float, plus: bool = False) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.conv1x1 = nn.Conv2d(features, growth_channels, 1, bias=False) if plus else None
        self.conv1 = nn.Conv2d(features, growth_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(features + growth_channels, growth_channels, 3, padding=1)
        self.conv3 = nn.Conv2d(features + 2 * growth_channels, growth_channels, 3, padding=1)
        self.conv4 = nn.Conv2d(features + 3 * growth_channels, growth_channels, 3, padding=1)
        self.conv5 = nn.Conv2d(features + 4 * growth_channels, features, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, h, w) -> the same shape."""
        dense, second = features, None
        for number, conv in enumerate((self.conv1, self.conv2, self.conv3, self.conv4), start=1):
            grown = F.leaky_relu(conv(dense), 0.2)
            if self.conv1x1 is not None and number == 2:
                grown = second = grown + self.conv1x1(features)
            elif second is not None and number == 4:
                grown = grown + second
            dense = torch.cat((dense, grown), dim=1)  # (B, F + i*G, h, w)
        residual: Tensor = self.conv5(dense)
        return features + self.residual_scale * residual


class RRDB(nn.Module):
    """Fig. 4, "residual in residual dense block": three dense blocks and a residual scaled by beta again."""

    def __init__(self, features: int, growth_channels: int, residual_scale: float, plus: bool = False) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.rdb1 = ResidualDenseBlock(features, growth_channels, residual_scale, plus)
        self.rdb2 = ResidualDenseBlock(features, growth_channels, residual_scale, plus)
        self.rdb3 = ResidualDenseBlock(features, growth_channels, residual_scale, plus)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, h, w) -> the same shape."""
        residual: Tensor = self.rdb3(self.rdb2(self.rdb1(features)))
        return features + self.residual_scale * residual


class RRDBNet(Generator):
    """(B, C, h, w) -> (B, C, h*scale, w*scale), values nominally in [0, 1]; h and w are multiples of 2 at ×2, of 4 at ×1."""

    def __init__(self, config: RRDBNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RRDBNetConfig()
        self.unshuffle = config.unshuffle
        features = config.features
        self.conv_first = nn.Conv2d(config.channels * self.unshuffle**2, features, 3, padding=1)
        blocks = [RRDB(features, config.growth_channels, config.residual_scale, config.plus) for _ in range(config.blocks)]
        self.body = nn.Sequential(*blocks)
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = [f"conv_up{number}" for number in range(1, config.upsamplings + 1)]
        for name in self.upsample:
            self.add_module(name, nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, config.channels, 3, padding=1)
        initialize_residual(self.body)
        self.contract = config.contract

    def forward(self, low_res: Tensor) -> Tensor:
        """Upscale a batch."""
        shallow = self.conv_first(F.pixel_unshuffle(low_res, self.unshuffle))  # (B, F, h, w)
        features = shallow + self.conv_body(self.body(shallow))
        for name in self.upsample:
            conv = self.get_submodule(name)
            features = F.leaky_relu(conv(F.interpolate(features, scale_factor=2, mode="nearest")), 0.2)  # (B, F, 2h, 2w), ...
        super_res: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(features), 0.2))
        return super_res
