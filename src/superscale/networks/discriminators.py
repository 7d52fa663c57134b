"""SRGAN's VGG-style discriminator (Ledig 2017, Fig. 4, bottom) and Real-ESRGAN's U-Net discriminator (Wang 2021, Fig. 6).

Real and upscaled images differ only in fine detail, a small part of what distinguishes patches: after 180 steps of batch 16 a
discriminator with spectral norm was right on half of them. With a high-pass filter in front (Fritsche et al. 2019), on 99 % after 120.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from superscale.bounds import Bounds, Channels, Features, Side, check_bounds
from superscale.errors import UsageError

HighPassPx = Annotated[float, Bounds(0, 1000)]


@dataclass(frozen=True, kw_only=True)
class VGGStyleConfig:
    """``batch_norm=True, spectral_norm=False`` is SRGAN's; the opposite stabilises ESRGAN. ``patch_px``: side of the high-res patch.

    ``high_pass_px``: standard deviation of the Gaussian blur that is subtracted from the image first; 0, as in the papers: none.
    ``sees_low_res``: whether the low-res image, enlarged bilinearly, is laid beside the channels of the image, so that the question is not
    whether this is a photograph but whether it is one of this (Isola et al. 2017, eq. 1); the papers' discriminators see the image alone.
    """

    patch_px: Side = 128
    channels: Channels = 3
    features: Features = 64
    hidden: Annotated[int, Bounds(1, 65536)] = 1024
    batch_norm: bool = False
    spectral_norm: bool = True
    high_pass_px: HighPassPx = 0.0
    sees_low_res: bool = False

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.batch_norm and self.spectral_norm:
            raise UsageError("batch_norm and spectral_norm exclude each other: BN would undo the Lipschitz bound; choose one")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The published network by default. ``high_pass_px`` and ``sees_low_res`` are those of `VGGStyleConfig`; the first fixes the input's
    side to ``patch_px``.
    """

    channels: Channels = 3
    features: Features = 64
    patch_px: Side = 128
    high_pass_px: HighPassPx = 0.0
    sees_low_res: bool = False

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.patch_px % 8:
            raise UsageError(f"the U-Net halves three times: patch_px must be a multiple of 8, got {self.patch_px}")


class HighPass(nn.Module):
    """(B, C, side, side) -> the same shape: the image minus its Gaussian blur, times 8, so that detail has the range of an image."""

    GAIN = 8.0

    def __init__(self, side_px: int, deviation_px: float) -> None:
        super().__init__()
        places = torch.arange(side_px, dtype=torch.float32)
        blur = torch.exp(-((places[:, None] - places) ** 2) / (2 * deviation_px**2))
        # The Gaussian is renormalised over the part inside the patch, so that rows sum to one at the border too.
        self.register_buffer("blur", blur / blur.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Filter a batch in fp32."""
        blur = self.get_buffer("blur")
        # bf16 would round the detail away; torch's device without memory knows no autocast.
        with nullcontext() if image.is_meta else torch.autocast(image.device.type, enabled=False):
            image = image.float()
            return (image - blur @ image @ blur.T) * self.GAIN


class VGGStyleDiscriminator(nn.Module):
    """(B, C, patch_px, patch_px) -> logits (B, 1): eight convolutions, every second of stride 2, then two dense layers."""

    def __init__(self, config: VGGStyleConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VGGStyleConfig()
        self.detail = HighPass(config.patch_px, config.high_pass_px) if config.high_pass_px else nn.Identity()
        widths = [config.features * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        layers: list[nn.Module] = []
        inputs = config.channels * (1 + config.sees_low_res)
        side = config.patch_px
        for number, width in enumerate(widths):
            stride = 1 + number % 2
            normalized = config.batch_norm and number > 0  # the first layer has none (Fig. 4)
            layers.append(nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=not normalized))
            if normalized:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(0.2))
            inputs = width
            side = -(-side // stride)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs * side**2, config.hidden), nn.LeakyReLU(0.2), nn.Linear(config.hidden, 1)
        )
        _initialize(self, config.spectral_norm)

    def forward(self, image: Tensor, low_res: Tensor | None = None) -> Tensor:
        """Return one logit an image. Raises UsageError for another size than ``patch_px``.

        ``low_res``: (B, C, h, w), what ``image`` was made from; needed with ``sees_low_res``, else ignored.
        """
        _check_side(image, self.config.patch_px)
        seen = self.detail(image)
        logits: Tensor = self.classifier(self.features(_beside(seen, low_res) if self.config.sees_low_res else seen))
        return logits


class UNetDiscriminator(nn.Module):
    """(B, C, H, W) -> logits (B, 1, H, W), H and W multiples of 8; spectral norm on all but the first and the last convolution."""

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UNetConfig()
        self.detail = HighPass(config.patch_px, config.high_pass_px) if config.high_pass_px else nn.Identity()
        width = config.features
        self.conv0 = nn.Conv2d(config.channels * (1 + config.sees_low_res), width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, width * 2, 4, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width * 2, width * 4, 4, stride=2, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width * 4, width * 8, 4, stride=2, padding=1, bias=False)
        self.conv4 = nn.Conv2d(width * 8, width * 4, 3, padding=1, bias=False)
        self.conv5 = nn.Conv2d(width * 4, width * 2, 3, padding=1, bias=False)
        self.conv6 = nn.Conv2d(width * 2, width, 3, padding=1, bias=False)
        self.conv7 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv8 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)
        for number in range(1, 9):
            _initialize(self.get_submodule(f"conv{number}"), normalized=True)

    def forward(self, image: Tensor, low_res: Tensor | None = None) -> Tensor:
        """Return one logit a pixel. With ``high_pass_px``, raises UsageError for another size than ``patch_px``.

        ``low_res``: (B, C, h, w), what ``image`` was made from; needed with ``sees_low_res``, else ignored.
        """
        if self.config.high_pass_px:
            _check_side(image, self.config.patch_px)
        seen = self.detail(image)
        full = F.leaky_relu(self.conv0(_beside(seen, low_res) if self.config.sees_low_res else seen), 0.2)  # (B, F, H, W)
        half = F.leaky_relu(self.conv1(full), 0.2)  # (B, 2F, H/2, W/2)
        quarter = F.leaky_relu(self.conv2(half), 0.2)  # (B, 4F, H/4, W/4)
        eighth = F.leaky_relu(self.conv3(quarter), 0.2)  # (B, 8F, H/8, W/8)
        up = F.leaky_relu(self.conv4(_double(eighth)), 0.2) + quarter
        up = F.leaky_relu(self.conv5(_double(up)), 0.2) + half
        up = F.leaky_relu(self.conv6(_double(up)), 0.2) + full
        logits: Tensor = self.conv9(F.leaky_relu(self.conv8(F.leaky_relu(self.conv7(up), 0.2)), 0.2))
        return logits


def _check_side(image: Tensor, side: int) -> None:
    if image.shape[-2:] != (side, side):
        raise UsageError(f"this discriminator was built for {side}x{side} patches, got {tuple(image.shape)}")


def _beside(image: Tensor, low_res: Tensor | None) -> Tensor:
    """(B, C, H, W) and (B, C, h, w) -> (B, 2C, H, W)."""
    if low_res is None:
        raise UsageError("this discriminator sees the low-res image too (sees_low_res): expected it beside the image, got none")
    enlarged = F.interpolate(low_res, size=image.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat((image, enlarged.to(image.dtype)), dim=1)


def _double(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _initialize(module: nn.Module, normalized: bool) -> None:
    """He initialisation for LeakyReLU(0.2), then, if ``normalized``, spectral normalisation (Miyato et al. 2018)."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            if normalized:
                spectral_norm(layer)
