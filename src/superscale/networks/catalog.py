"""Every network by name: literal tables, and one function that builds from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

from torch import nn

from superscale.errors import UnknownNameError, UsageError
from superscale.networks.compact import CompactConfig, SRVGGNetCompact
from superscale.networks.contract import Generator
from superscale.networks.discriminators import UNetConfig, UNetDiscriminator, VGGStyleConfig, VGGStyleDiscriminator
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


def build_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """A generator with fresh weights. Raises UnknownNameError for a name or an option that is not in its table."""
    return cast(Generator, _build("network", GENERATORS, name, options))


def build_discriminator(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A discriminator with fresh weights; errors as in `build_generator`."""
    return _build("discriminator", DISCRIMINATORS, name, options)


def describe(generator: Generator) -> dict[str, Any]:
    """What `build_generator` needs to build this network again: ``{"name": ..., **options}``."""
    for name, (_, network) in GENERATORS.items():
        if type(generator) is network:
            return {"name": name, **asdict(cast(Any, generator).config)}
    raise UsageError(f"{type(generator).__name__} is not in the catalog")


def _build(kind: str, table: Mapping[str, tuple[Any, Any]], name: str, options: Mapping[str, Any]) -> nn.Module:
    if name not in table:
        raise UnknownNameError(kind, name, table)
    config, network = table[name]
    types = {field.name: type(field.default) for field in fields(config)}
    for key, value in options.items():
        if key not in types:
            raise UnknownNameError(f"{name} option", key, types)
        if not isinstance(value, types[key]) and not (types[key] is float and isinstance(value, int)):
            raise UsageError(f"{name} option {key!r} must be {types[key].__name__}, got {value!r}")
    module: nn.Module = network(config(**options))
    return module
