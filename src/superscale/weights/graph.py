"""Each network as a list of operations, written from its options and arrays: what is exported, and what other libraries run.

A model's keys and shapes are checked on the way, strictly: nothing missing, nothing left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.errors import ModelError
from superscale.networks.configs import SLOPES, CompactConfig, RRDBNetConfig, SRResNetConfig
from superscale.weights.stored import Arrays, StoredModel, check_keys

Array = NDArray[Any]
Kind = Literal["conv", "prelu", "leaky", "add", "concat", "shuffle", "unshuffle", "nearest"]

INPUT, OUTPUT = "low_res", "super_res"
BATCH_NORM_EPSILON = 1e-5
SLOPE = 0.2
PHASES = ".phases"
# What batch norm keeps beside its parameters.
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True)
class Node:
    """One operation. ``number``: the slope of "leaky", what "add" multiplies its second input by, the factor of shuffles and "nearest".

    ``constants``: name -> array: weight (O, I, k, k) and bias of "conv", which pads with k // 2 zeros; slopes of "prelu".
    """

    kind: Kind
    inputs: tuple[str, ...]
    output: str
    number: float = 1
    constants: tuple[tuple[str, Array], ...] = ()


@dataclass(frozen=True)
class Graph:
    """(B, C, h, w) called `INPUT` -> (B, C, h*scale, w*scale) called `OUTPUT`."""

    nodes: tuple[Node, ...]
    contract: Contract


def graph_of(model: StoredModel) -> Graph:
    """The operations of a model, batch norms folded into the convolutions before them. Raises ModelError for arrays that do not fit."""
    model = folded(model)
    builder = _Builder(model.arrays, model.name)
    BUILDERS[model.network["name"]](builder, model.config)
    check_keys(builder.used, model.arrays.keys(), f"{model.name}: ")
    last = replace(builder.nodes[-1], output=OUTPUT)
    return Graph((*builder.nodes[:-1], last), model.contract)


def built_in_order(model: StoredModel, arrays: Iterable[Array]) -> tuple[StoredModel, Graph]:
    """A model without arrays, given those that its graph takes, in their order; and that graph.

    Raises ModelError and StopIteration for arrays that do not fit.
    """
    builder = _InOrder(arrays, model.name)
    BUILDERS[model.network["name"]](builder, model.config)
    if (left := sum(1 for _ in builder.left)) > 0:
        raise ModelError(f"{left} arrays more than {model.network['name']} has")
    last = replace(builder.nodes[-1], output=OUTPUT)
    return replace(model, arrays=builder.taken), Graph((*builder.nodes[:-1], last), model.contract)


def parameters(model: StoredModel) -> int:
    """How many of a model's numbers were learned. Raises ModelError for arrays that do not fit."""
    graph_of(model)
    return sum(array.size for key, array in model.arrays.items() if not key.endswith(STATISTICS))


def folded(model: StoredModel) -> StoredModel:
    """The same model without batch norms: each is part of the convolution before it."""
    if not model.network.get("batch_norm"):
        return model
    blocks = [(f"body.{block}.conv{n}", f"body.{block}.norm{n}") for block in range(model.network["blocks"]) for n in (1, 2)]
    arrays = dict(model.arrays)
    for conv, norm in (*blocks, ("conv_body", "norm_body")):
        arrays.pop(f"{norm}.num_batches_tracked", None)
        try:
            weight = arrays[f"{conv}.weight"]
            parts = [arrays.pop(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
            scale, shift, mean, variance = (part.astype(np.float64) for part in parts)
            factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
            arrays[f"{conv}.weight"] = (weight * factor[:, None, None, None]).astype(np.float32)
            arrays[f"{conv}.bias"] = (shift - mean * factor).astype(np.float32)
        except (KeyError, ValueError) as error:
            raise ModelError(f"{model.name}: {norm} is missing, or does not fit {conv}") from error
    return replace(model, network={**model.network, "batch_norm": False}, arrays=arrays)


class _Builder:
    """Adds operations, and takes their arrays by key."""

    def __init__(self, arrays: Arrays, where: str) -> None:
        self.arrays = arrays
        self.where = where
        self.used: set[str] = set()
        self.nodes: list[Node] = []

    def node(self, kind: Kind, *inputs: str, number: float = 1, constants: tuple[tuple[str, Array], ...] = ()) -> str:
        """Add an operation; return what its output is called."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(Node(kind, inputs, name, number, constants))
        return name

    def array(self, key: str, *shapes: tuple[int, ...]) -> tuple[str, Array]:
        """A key and its array. Raises ModelError unless it is there, in one of these shapes."""
        self.used.add(key)
        if key not in self.arrays:
            check_keys([key], self.arrays.keys() & {key}, f"{self.where}: ")
        if (array := self.arrays[key]).shape not in shapes:
            raise ModelError(f"{self.where}: {key} has shape {array.shape}, expected {' or '.join(map(str, shapes))}")
        return key, array

    def conv(self, given: str, key: str, inputs: int, outputs: int, kernel: int = 3) -> str:
        """A convolution by its key."""
        weight = self.array(f"{key}.weight", (outputs, inputs, kernel, kernel))
        return self.node("conv", given, constants=(weight, self.array(f"{key}.bias", (outputs,))))

    def mixed(self, given: str, key: str, inputs: int, outputs: int) -> str:
        """A 1x1 convolution without bias."""
        weight = self.array(f"{key}.weight", (outputs, inputs, 1, 1))
        return self.node("conv", given, constants=(weight, (f"{key}.zeros", np.zeros(outputs, weight[1].dtype))))

    def activation(self, given: str, key: str, features: int, kind: str) -> str:
        """PReLU, or one whose slope below zero is not learned."""
        return self.node("leaky", given, number=SLOPES[kind]) if kind in SLOPES else self.prelu(given, key, features)

    def conv_after_shuffle(self, given: str, key: str, inputs: int, outputs: int, kernel: int) -> str:
        """A convolution of what is shuffled by 2, done before: it reads no large tensor, and writes more channels at once."""
        _, weight = self.array(f"{key}.weight", (outputs, inputs, kernel, kernel))
        _, bias = self.array(f"{key}.bias", (outputs,))
        phases = (f"{key}{PHASES}.weight", to_phases(weight)), (f"{key}{PHASES}.bias", bias.repeat(4))
        return self.node("shuffle", self.node("conv", given, constants=phases), number=2)

    def prelu(self, given: str, key: str, features: int) -> str:
        """PReLU, with one slope for all channels or one each."""
        return self.node("prelu", given, constants=(self.array(f"{key}.weight", (1,), (features,)),))

    def unshuffle(self, given: str, channels: int, factor: int) -> str:
        """Pixel unshuffle; its constant is the same as a convolution."""
        kernel = np.eye(channels * factor**2, dtype=np.float32).reshape(channels * factor**2, channels, factor, factor)
        return self.node("unshuffle", given, number=factor, constants=(("unshuffle", kernel),))


class _InOrder(_Builder):
    """Takes its arrays in the order in which it asks for them."""

    def __init__(self, arrays: Iterable[Array], where: str) -> None:
        self.taken: dict[str, Array] = {}
        super().__init__(self.taken, where)
        self.left = iter(arrays)

    def array(self, key: str, *shapes: tuple[int, ...]) -> tuple[str, Array]:
        """The next array, under this key."""
        self.taken[key] = next(self.left)
        return super().array(key, *shapes)

    def mixed(self, given: str, key: str, inputs: int, outputs: int) -> str:
        """As others have it: with a bias, of zeros."""
        node = super().mixed(given, key, inputs, outputs)
        if next(self.left).any():
            raise ModelError(f"{key} has a bias")
        return node

    def conv_after_shuffle(self, given: str, key: str, inputs: int, outputs: int, kernel: int) -> str:
        """As others have it: before the shuffle."""
        weight, bias = next(self.left), next(self.left)
        self.left = chain((from_phases(weight), bias[::4]), self.left)
        return super().conv_after_shuffle(given, key, inputs, outputs, kernel)


def to_phases(weight: Array) -> Array:
    """Kernel (O, C, k, k), k = 4 n + 1, on pixels -> the equal one (4 O, 4 C, 2 n + 1, 2 n + 1) on pixels unshuffled by 2."""
    outputs, inputs, kernel, _ = weight.shape
    radius = kernel // 4
    spread = np.zeros((outputs, 2, 2, inputs, 2, 2, 2 * radius + 1, 2 * radius + 1), weight.dtype)
    offsets = np.arange(kernel) - kernel // 2
    for row in (0, 1):
        for column in (0, 1):
            rows, columns = (row + offsets)[:, None], column + offsets
            spread[:, row, column][:, :, rows % 2, columns % 2, rows // 2 + radius, columns // 2 + radius] = weight
    return spread.reshape(outputs * 4, inputs * 4, 2 * radius + 1, 2 * radius + 1)


def from_phases(phases: Array) -> Array:
    """What `to_phases` made ``phases`` of."""
    outputs, inputs, side, _ = phases.shape
    spread = phases.reshape(outputs // 4, 4, inputs // 4, 2, 2, side, side)[:, 0]
    offsets = np.arange(2 * side - 1) - (side - 1)
    rows, columns = offsets[:, None], offsets
    radius = side // 2
    return np.ascontiguousarray(spread[:, :, rows % 2, columns % 2, rows // 2 + radius, columns // 2 + radius])


def _srresnet(build: _Builder, config: SRResNetConfig) -> None:
    """Ledig et al. 2017, Fig. 4. Its shuffles are after the activations, with which they commute."""
    width = config.features
    shallow = build.prelu(build.conv(INPUT, "head", config.channels, width, 9), "activation", 1)
    features = shallow
    for block in range(config.blocks):
        at = f"body.{block}"
        hidden = build.prelu(build.conv(features, f"{at}.conv1", width, width), f"{at}.activation", 1)
        features = build.node("add", features, build.conv(hidden, f"{at}.conv2", width, width))
    features = build.node("add", shallow, build.conv(features, "conv_body", width, width))
    for number in range(config.doublings):
        if number:
            features = build.node("shuffle", features, number=2)
        features = build.conv(features, f"upsample.{number}.conv", width, 4 * width)
        features = build.prelu(features, f"upsample.{number}.activation", 1)
    build.conv_after_shuffle(features, "tail", width, config.channels, 9)


def _rrdbnet(build: _Builder, config: RRDBNetConfig) -> None:
    """Wang et al. 2018, Fig. 3 and 4."""
    width, beta = config.features, config.residual_scale
    given = build.unshuffle(INPUT, config.channels, config.unshuffle) if config.unshuffle > 1 else INPUT
    shallow = build.conv(given, "conv_first", config.channels * config.unshuffle**2, width)
    features = shallow
    for block in range(config.blocks):
        inner = features
        for dense in (1, 2, 3):
            inner = _dense_block(build, inner, f"body.{block}.rdb{dense}", config)
        features = build.node("add", features, inner, number=beta)
    features = build.node("add", shallow, build.conv(features, "conv_body", width, width))
    for number in range(1, config.upsamplings + 1):
        enlarged = build.node("nearest", features, number=2)
        features = build.node("leaky", build.conv(enlarged, f"conv_up{number}", width, width), number=SLOPE)
    features = build.node("leaky", build.conv(features, "conv_hr", width, width), number=SLOPE)
    build.conv(features, "conv_last", width, config.channels)


def _dense_block(build: _Builder, features: str, key: str, config: RRDBNetConfig) -> str:
    width, growth = config.features, config.growth_channels
    seen, joined = [features], features
    for number in range(4):
        grown = build.conv(joined, f"{key}.conv{number + 1}", width + number * growth, growth)
        grown = build.node("leaky", grown, number=SLOPE)
        if config.plus and number == 1:
            grown = build.node("add", grown, build.mixed(features, f"{key}.conv1x1", width, growth))
        elif config.plus and number == 3:
            grown = build.node("add", grown, seen[2])
        seen.append(grown)
        joined = build.node("concat", *seen)
    residual = build.conv(joined, f"{key}.conv5", width + 4 * growth, width)
    return build.node("add", features, residual, number=config.residual_scale)


def _compact(build: _Builder, config: CompactConfig) -> None:
    """SRVGGNetCompact of Real-ESRGAN: plain convolutions, one pixel shuffle, a residual to nearest."""
    width, features, inputs = config.features, INPUT, config.channels
    last = 2 * config.convolutions + 2
    for number in range(0, last, 2):
        features = build.conv(features, f"body.{number}", inputs, width)
        features = build.activation(features, f"body.{number + 1}", width, config.activation)
        inputs = width
    enlarged = build.node(
        "shuffle", build.conv(features, f"body.{last}", width, config.channels * config.scale**2), number=config.scale
    )
    build.node("add", enlarged, build.node("nearest", INPUT, number=config.scale))


# the catalog's name -> what adds the network's operations, the one that makes the output last
BUILDERS: dict[str, Callable[[_Builder, Any], None]] = {"srresnet": _srresnet, "rrdbnet": _rrdbnet, "compact": _compact}
