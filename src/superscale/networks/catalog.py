"""Tables of the networks by name, and functions that build, describe and check them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from torch import nn

from superscale.errors import UnknownNameError, UsageError
from superscale.networks.compact import CompactConfig, SRVGGNetCompact
from superscale.networks.discriminators import UNetConfig, UNetDiscriminator, VGGStyleConfig, VGGStyleDiscriminator
from superscale.networks.generator import Generator
from superscale.networks.rrdbnet import RRDBNet, RRDBNetConfig
from superscale.networks.srresnet import SRResNet, SRResNetConfig

GENERATORS: dict[str, tuple[type[Any], type[Generator]]] = {
    "srresnet": (SRResNetConfig, SRResNet),
    "rrdbnet": (RRDBNetConfig, RRDBNet),
    "compact": (CompactConfig, SRVGGNetCompact),
}
DISCRIMINATORS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "vgg": (VGGStyleConfig, VGGStyleDiscriminator),
    "unet": (UNetConfig, UNetDiscriminator),
}
GeneratorConfig = SRResNetConfig | RRDBNetConfig | CompactConfig
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
    types = {field.name: type(field.default) for field in fields(config)}
    for key, value in options.items():
        if key not in types:
            raise UnknownNameError(f"{name} option", key, types)
        if not isinstance(value, types[key]) and not (types[key] is float and isinstance(value, int)):
            raise UsageError(f"{name} option {key!r} must be {types[key].__name__}, got {value!r}")
    return cast(nn.Module, network(config(**options)))
