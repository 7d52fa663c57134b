"""What describes each generator: its options, and the contract that follows from them. No torch: a model file can be run without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from superscale.bounds import Bounds, Channels, Depth, Features, Scale, check_bounds
from superscale.contract import Contract
from superscale.errors import UnknownNameError, UsageError

# Measured on the bundled srresnet-x4: 88 dB against the whole image (65 dB at 4 pixels, 76 dB at 8).
SRRESNET_OVERLAP_PX = 12
# With 4 trained blocks, an overlap of 4 pixels keeps 67 dB against the whole image, 8 pixels 85 dB, 16 pixels 98 dB. With 23, the
# published realesrgan-x4plus needs 64 for 60 dB: 56 keep 61.5 and 57.0, 64 keep 70.5 and 62.9, the 40 that were guessed 49.0 and 49.7
# (the middle 64 pixels of 288 of Set14's baboon and coastguard, 2026-11-28). Between 4 and 23 blocks nothing was measured.
OVERLAP_PX_PER_BLOCK, MOST_OVERLAP_PX = 4, 64
MOST_UPSAMPLINGS = 4
# Against the whole picture, the published realesr-general-x4v3 keeps 60 dB at half its receptive field and 71 at two thirds, the bundled
# compact-x4 90 and 108.
COMPACT_OVERLAP_SHARE = 2 / 3
PRELU = "prelu"
# Below zero, of the activations whose slope is not learned.
SLOPES = {"relu": 0.0, "leakyrelu": 0.1}


@dataclass(frozen=True, kw_only=True)
class SRResNetConfig:
    """The paper's ×4 network by default. ``batch_norm=False`` drops the normalisation, as EDSR and ESRGAN do."""

    scale: Scale = 4
    channels: Channels = 3
    features: Features = 64
    blocks: Depth = 16
    batch_norm: bool = True

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.scale not in (2, 4, 8):
            raise UsageError(f"SRResNet enlarges by 2, 4 or 8, got scale {self.scale}")

    @property
    def doublings(self) -> int:
        """How many times the features are doubled."""
        return self.scale.bit_length() - 1

    @property
    def contract(self) -> Contract:
        """What the network promises."""
        # The tail's 4 at full size; each coarser grid halves it, rounded up, and adds one for the block's convolution.
        reach = 4
        for _ in range(self.doublings):
            reach = -(-reach // 2) + 1
        radius = 4 + 2 * self.blocks + 1 + reach  # head, two 3x3 a block, one after the blocks
        return Contract(
            scale=self.scale,
            channels=self.channels,
            multiple_of=1,
            receptive_field_px=radius,
            overlap_px=min(radius, SRRESNET_OVERLAP_PX),
            features=self.features,
        )


@dataclass(frozen=True, kw_only=True)
class RRDBNetConfig:
    """The paper's ×4 network by default. ×2 and ×1 pixel-unshuffle the input by 2 and 4 first, as Real-ESRGAN's do.

    ``upsamplings`` counts the doublings after the body: 1 or 0 make ×2 or ×1, and 3 make ×8, without unshuffling (the first ESRGAN).
    ``plus``: the dense block of ESRGAN+ (Rakotonirina, Rasoanaivo 2020), whose noise is for training alone and left out here.
    """

    scale: Scale = 4
    channels: Channels = 3
    features: Features = 64
    blocks: Depth = 23
    growth_channels: Features = 32
    residual_scale: Annotated[float, Bounds(-10, 10)] = 0.2
    upsamplings: Annotated[int, Bounds(0, MOST_UPSAMPLINGS)] = 2
    plus: bool = False

    def __post_init__(self) -> None:
        check_bounds(self)
        scales = [2**doublings for doublings in range(self.upsamplings + 1)]
        if self.scale not in scales:
            known = " or ".join(", ".join(map(str, scales)).rsplit(", ", 1))
            raise UsageError(f"RRDBNet enlarges by {known}, got scale {self.scale}")

    @property
    def unshuffle(self) -> int:
        """The factor by which pixels become channels first."""
        return int(2**self.upsamplings) // self.scale

    @property
    def contract(self) -> Contract:
        """What the network promises."""
        # On the grid of conv_first: 15 a block, 2 for the convolutions around the blocks, and 2 for all layers after them, however
        # many upsamplings there are.
        return Contract(
            scale=self.scale,
            channels=self.channels,
            multiple_of=self.unshuffle,
            receptive_field_px=(15 * self.blocks + 2 + 2) * self.unshuffle,
            overlap_px=min(OVERLAP_PX_PER_BLOCK * self.blocks, MOST_OVERLAP_PX) * self.unshuffle,
            features=self.features,
        )


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """``convolutions`` counts the feature convolutions between the first and the last, as the published ``num_conv`` does.

    ``activation``: "prelu", "relu" or "leakyrelu" (slope 0.1), the published ``act_type``.
    """

    scale: Scale = 4
    channels: Channels = 3
    features: Features = 64
    convolutions: Depth = 16
    activation: str = "prelu"

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.activation not in (PRELU, *SLOPES):
            raise UsageError(f"SRVGGNetCompact has the activation {', '.join((PRELU, *SLOPES))}, got {self.activation!r}")

    @property
    def contract(self) -> Contract:
        """What the network promises."""
        receptive_field_px = self.convolutions + 2
        return Contract(
            scale=self.scale,
            channels=self.channels,
            multiple_of=1,
            receptive_field_px=receptive_field_px,
            overlap_px=round(COMPACT_OVERLAP_SHARE * receptive_field_px),
            features=self.features,
        )


GeneratorConfig = SRResNetConfig | RRDBNetConfig | CompactConfig
GENERATOR_CONFIGS: dict[str, type[Any]] = {"srresnet": SRResNetConfig, "rrdbnet": RRDBNetConfig, "compact": CompactConfig}


def generator_config(name: str, options: Mapping[str, Any]) -> GeneratorConfig:
    """The config of a network by name. Raises UnknownNameError for an unknown name or option, UsageError for a wrong value."""
    if name not in GENERATOR_CONFIGS:
        raise UnknownNameError("network", name, GENERATOR_CONFIGS)
    config: GeneratorConfig = checked_config(GENERATOR_CONFIGS[name], name, options)
    return config


def checked_config(config: type[Any], name: str, options: Mapping[str, Any]) -> Any:
    """``config`` of these options. Raises UnknownNameError for one that it does not have, UsageError for a wrong type."""
    types = {field.name: type(field.default) for field in fields(config)}
    for key, value in options.items():
        if key not in types:
            raise UnknownNameError(f"{name} option", key, types)
        if not isinstance(value, types[key]) and not (types[key] is float and isinstance(value, int)):
            raise UsageError(f"{name} option {key!r} must be {types[key].__name__}, got {value!r}")
    return config(**options)
