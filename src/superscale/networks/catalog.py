"""Tables of the networks by name, and functions that build, describe and check them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from torch import nn

from superscale.errors import UnknownNameError, UsageError
from superscale.networks.compact import SRVGGNetCompact
from superscale.networks.configs import GENERATOR_CONFIGS, GeneratorConfig, checked_config
from superscale.networks.discriminators import UNetConfig, UNetDiscriminator, VGGStyleConfig, VGGStyleDiscriminator
from superscale.networks.generator import Generator
from superscale.networks.rrdbnet import RRDBNet
from superscale.networks.srresnet import SRResNet

GENERATORS: dict[str, tuple[type[Any], type[Generator]]] = {
    "srresnet": (GENERATOR_CONFIGS["srresnet"], SRResNet),
    "rrdbnet": (GENERATOR_CONFIGS["rrdbnet"], RRDBNet),
    "compact": (GENERATOR_CONFIGS["compact"], SRVGGNetCompact),
}
DISCRIMINATORS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "vgg": (VGGStyleConfig, VGGStyleDiscriminator),
    "unet": (UNetConfig, UNetDiscriminator),
}
DiscriminatorConfig = VGGStyleConfig | UNetConfig
NAMES: dict[type[Any], str] = {config: name for table in (GENERATORS, DISCRIMINATORS) for name, (config, _) in table.items()}


def generator_of(config: GeneratorConfig) -> Generator:
    """The generator of this config, with fresh weights."""
    return GENERATORS[NAMES[type(config)]][1](config)


def discriminator_of(config: DiscriminatorConfig) -> nn.Module:
    """The discriminator of this config, with fresh weights."""
    return DISCRIMINATORS[NAMES[type(config)]][1](config)


def build_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """Build a generator with fresh weights. Raises UnknownNameError for an unknown name or option, UsageError for a wrong value."""
    return cast(Generator, _build(GENERATORS, name, options))


def build_discriminator(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a discriminator with fresh weights. Raises as `build_generator` does."""
    return _build(DISCRIMINATORS, name, options)


def config_of(generator: Generator) -> GeneratorConfig:
    """What `generator_of` needs to build this network again."""
    if type(generator) not in [network for _, network in GENERATORS.values()]:
        raise UsageError(f"{type(generator).__name__} is not in the catalog")
    return cast(GeneratorConfig, cast(Any, generator).config)


def describe(generator: Generator) -> dict[str, Any]:
    """Return ``{"name": ..., **options}``, with which `build_generator` builds this network again."""
    config = config_of(generator)
    return {"name": NAMES[type(config)], **asdict(config)}


def _build(table: Mapping[str, tuple[Any, Any]], name: str, options: Mapping[str, Any]) -> nn.Module:
    if name not in table:
        raise UnknownNameError("discriminator" if table is DISCRIMINATORS else "network", name, table)
    config, network = table[name]
    return cast(nn.Module, network(checked_config(config, name, options)))
