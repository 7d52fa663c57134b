"""Published key layouts -> ours. The key names are facts of the files of ESRGAN, BSRGAN, Real-ESRGAN and BasicSR.

A layout says which keys a file of as many blocks must have; the rest (features, growth, scale) is read off the shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from superscale.errors import ModelError

DENSE_BLOCKS = 3
DENSE_CONVS = 5
TENSORS_PER_BLOCK = DENSE_BLOCKS * DENSE_CONVS * 2


@dataclass(frozen=True)
class RRDBNetNames:
    """The convolutions of one RRDBNet layout, as templates. ``step`` is how far the numbers of the upsampling ones lie apart."""

    first: str
    dense: str
    body: str
    up: str
    hr: str
    last: str
    step: int = 1

    def __call__(self, keys: Collection[str]) -> dict[str, str]:
        """Published key -> ours, in the network's order, for as many blocks and upsamplings as ``keys`` count."""
        found = _numbers(self.dense, r"\.RDB", keys)
        # Not more than there are tensors for: a file must not make this table longer than itself.
        blocks = max(1, min(len(found), len(keys) // TENSORS_PER_BLOCK + 1))
        ups = len([number for number in _numbers(self.up, r"\.weight$", keys) if number and number % self.step == 0])
        convs, weights = {self.first: "conv_first"}, {}
        plus = any(key.endswith(".conv1x1.weight") for key in keys)
        for block in range(blocks):
            for rdb in range(1, DENSE_BLOCKS + 1):
                if plus:
                    pointwise = self.dense.partition(".conv")[0].format(block, rdb=rdb)
                    weights[f"{pointwise}.conv1x1.weight"] = f"body.{block}.rdb{rdb}.conv1x1.weight"
                for conv in range(1, DENSE_CONVS + 1):
                    convs[self.dense.format(block, rdb=rdb, conv=conv)] = f"body.{block}.rdb{rdb}.conv{conv}"
        convs[self.body.format(blocks)] = "conv_body"
        for up in range(1, ups + 1):
            convs[self.up.format(up * self.step)] = f"conv_up{up}"
        convs[self.hr.format(3 * ups + 2)] = "conv_hr"
        convs[self.last.format(3 * ups + 4)] = "conv_last"
        return weights | {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in convs.items() for part in ("weight", "bias")}


def compact_names(keys: Collection[str]) -> dict[str, str]:
    """SRVGGNetCompact's keys, which are ours: convolutions at even numbers, at odd ones the slopes of PReLU, if it has any."""
    found = _numbers("body.{}", r"\.weight$", keys)
    slopes = any(number % 2 for number in found)
    last = max(2, (min(len(keys), len(found)) - 1) * (1 if slopes else 2))
    last += last % 2
    convolutions = [(number, part) for number in range(0, last + 1, 2) for part in ("weight", "bias")]
    parts = convolutions + [(number, "weight") for number in range(1, last, 2) if slopes]
    return {f"body.{number}.{part}": f"body.{number}.{part}" for number, part in parts}


def _numbers(template: str, after: str, keys: Collection[str]) -> set[int]:
    """The numbers that stand where ``template`` has its first field."""
    pattern = re.compile(re.escape(template.partition("{")[0]) + r"(\d{1,6})" + after, re.IGNORECASE)
    return {int(match[1]) for key in keys if (match := pattern.match(key))}


def rrdbnet_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """RRDBNetConfig's fields, from the shapes. Raises ModelError when they fit no network."""
    features, inputs = _conv_shape(tensors, "conv_first.weight")
    growth, _ = _conv_shape(tensors, "body.0.rdb1.conv1.weight")
    upsamplings = sum(bool(re.fullmatch(r"conv_up\d+\.weight", key)) for key in tensors)
    channels, _ = _conv_shape(tensors, "conv_last.weight")
    unshuffle = _whole_root(inputs, channels)
    if 2**upsamplings % unshuffle:
        raise ModelError(
            f"{inputs} input channels are pixels unshuffled by {unshuffle}, which ×{2**upsamplings} does not divide by"
        )
    return {
        "scale": 2**upsamplings // unshuffle,
        "channels": channels,
        "features": features,
        "blocks": len({key.split(".")[1] for key in tensors if key.startswith("body.")}),
        "growth_channels": growth,
        "upsamplings": upsamplings,
        "plus": "body.0.rdb1.conv1x1.weight" in tensors,
    }


def compact_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """CompactConfig's fields, from the shapes, without slopes also without the activation. Raises ModelError when they fit no network."""
    features, channels = _conv_shape(tensors, "body.0.weight")
    last = max(int(key.split(".")[1]) for key in tensors)
    outputs, _ = _conv_shape(tensors, f"body.{last}.weight")
    return {
        "scale": _whole_root(outputs, channels),
        "channels": channels,
        "features": features,
        "convolutions": last // 2 - 1,
    } | ({"activation": "prelu"} if "body.1.weight" in tensors else {})


def _conv_shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    shape = tuple(tensors[key].shape)
    if len(shape) != 4 or 0 in shape:
        raise ModelError(f"{key} has shape {shape}, expected a convolution's (outputs, inputs, height, width)")
    return shape[0], shape[1]


def _whole_root(shuffled: int, channels: int) -> int:
    root = math.isqrt(shuffled // channels)
    if root == 0 or root**2 * channels != shuffled:
        raise ModelError(f"{shuffled} channels are not {channels} times a square, as pixel (un)shuffling has it")
    return root


@dataclass(frozen=True)
class Layout:
    """A published layout: how it is called, the catalog's name of the network, its keys, the options in its shapes."""

    name: str
    network: str
    names: Callable[[Collection[str]], dict[str, str]]
    options: Callable[[Mapping[str, Tensor]], dict[str, Any]]


# The numbers of its upsampling convolutions lie three apart: upsampling, convolution, activation.
ORIGINAL = RRDBNetNames(
    "model.0", "model.1.sub.{}.RDB{rdb}.conv{conv}.0", "model.1.sub.{}", up="model.{}", hr="model.{}", last="model.{}", step=3
)
NEW = RRDBNetNames(
    "conv_first", "RRDB_trunk.{}.RDB{rdb}.conv{conv}", "trunk_conv", up="upconv{}", hr="HRconv", last="conv_last"
)
BASICSR = RRDBNetNames("conv_first", "body.{}.rdb{rdb}.conv{conv}", "conv_body", up="conv_up{}", hr="conv_hr", last="conv_last")
LAYOUTS = (
    Layout("RRDBNet (original ESRGAN layout)", "rrdbnet", ORIGINAL, rrdbnet_options),
    Layout("RRDBNet (new ESRGAN layout)", "rrdbnet", NEW, rrdbnet_options),
    Layout("RRDBNet (BasicSR layout)", "rrdbnet", BASICSR, rrdbnet_options),
    Layout("SRVGGNetCompact", "compact", compact_names, compact_options),
)


def recognise(keys: Collection[str]) -> tuple[Layout, dict[str, str]]:
    """The layout that has exactly these keys, and published key -> ours. Raises ModelError with the nearest layout otherwise."""
    present = set(keys)
    near = [(layout, layout.names(present)) for layout in LAYOUTS]
    layout, names = max(near, key=lambda pair: len(pair[1].keys() & present) / len(pair[1].keys() | present))
    if names.keys() == present:
        return layout, names
    known = "; expected " + ", ".join(layout.name for layout in LAYOUTS)
    if not names.keys() & present:
        raise ModelError(f"a network of unknown layout (first key: {_short(min(present))}){known}")
    missing = [key for key in names if key not in present]
    if missing:
        fault = f"{missing[0]} is missing{_more(missing)}"
    else:
        extra = sorted(present - names.keys())
        fault = f"has {_short(extra[0])} besides{_more(extra)}, which is not supported"
    raise ModelError(f"a network of unknown layout: looks most like {layout.name}, but {fault}{known}")


def _short(key: str) -> str:
    return ascii(key[:80])


def _more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
