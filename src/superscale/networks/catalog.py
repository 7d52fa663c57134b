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


def build_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """Build a generator with fresh weights. Raises UnknownNameError for an unknown name or option, UsageError for a wrong value."""
    return cast(Generator, _build(GENERATORS, name, options))


def build_discriminator(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a discriminator with fresh weights. Raises as `build_generator` does."""
    return _build(DISCRIMINATORS, name, options)


def describe(generator: Generator) -> dict[str, Any]:
    """Return ``{"name": ..., **options}``, with which `build_generator` builds this network again."""
    for name, (_, network) in GENERATORS.items():
        if type(generator) is network:
            return {"name": name, **asdict(cast(Any, generator).config)}
    raise UsageError(f"{type(generator).__name__} is not in the catalog")


def faults(table: Mapping[str, tuple[Any, Any]], name: str, options: Mapping[str, Any]) -> list[UsageError]:
    """List every reason why ``table``, `GENERATORS` or `DISCRIMINATORS`, cannot build the network with these options."""
    if name not in table:
        return [UnknownNameError("discriminator" if table is DISCRIMINATORS else "network", name, table)]
    types = {field.name: type(field.default) for field in fields(table[name][0])}
    found: list[UsageError] = [UnknownNameError(f"{name} option", key, types) for key in options if key not in types]
    for key, value in options.items():
        fits = key not in types or isinstance(value, types[key]) or (types[key] is float and isinstance(value, int))
        if not fits:
            found.append(UsageError(f"{name} option {key!r} must be {types[key].__name__}, got {value!r}"))
    return found


def _build(table: Mapping[str, tuple[Any, Any]], name: str, options: Mapping[str, Any]) -> nn.Module:
    if found := faults(table, name, options):
        raise found[0]
    config, network = table[name]
    return cast(nn.Module, network(config(**options)))
