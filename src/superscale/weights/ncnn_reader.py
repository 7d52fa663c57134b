"""Networks that others keep as ncnn's two files (.param and .bin), such as the models of Upscayl: ESRGAN, Compact and SRResNet.

The format is that of github.com/Tencent/ncnn ("param and model file structure"). The kernels are taken in their order; then the
operations of the file are compared with those of the network that they make, one by one, so that nothing else passes for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import ModelError, SuperscaleError
from superscale.networks.configs import PRELU, SLOPES
from superscale.reading import read_file
from superscale.weights.graph import INPUT, OUTPUT, Node, built_in_order
from superscale.weights.ncnn import ADD, FP16_TAG, FP32_TAG, MAGIC, MULTIPLY, NEAREST
from superscale.weights.stored import MOST_BYTES, StoredModel, finite, one_line

Array = NDArray[Any]

MOST_PARAM_BYTES = 10_000_000
# Parameters that are lists are numbered from here downwards.
LISTS = -23300
RELU, LEAKY_RELU = 1, 2
DECIMALS = 6


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: dict[int, tuple[float, ...]]

    def number(self, key: int, default: float = 0) -> float:
        """A parameter by its number."""
        return self.values.get(key, (default,))[0]


@dataclass
class _Network:
    """What the layers say: operations, and the arrays of convolutions and slopes in their order."""

    nodes: list[Node] = field(default_factory=list)
    arrays: list[Array] = field(default_factory=list)
    # blob -> the blob that it is a copy of; blob -> (blob, factor) of one that is only multiplied
    same: dict[str, str] = field(default_factory=dict)
    scaled: dict[str, tuple[str, float]] = field(default_factory=dict)

    def inputs(self, layer: _Layer) -> tuple[str, ...]:
        """What a layer reads, copies resolved."""
        return tuple(self.same.get(name, name) for name in layer.inputs)


def read_ncnn(path: Path) -> StoredModel:
    """The model of a ``.param`` file and the ``.bin`` beside it, as fp32. Raises ModelError when it is not one of ours, or damaged."""
    try:
        text = read_file(path, MOST_PARAM_BYTES).decode("ascii")
        data = read_file(path.with_suffix(".bin"), MOST_BYTES)
        network = _network(list(_layers(text)), memoryview(data))
        options = _options(network)
        card = {"source": path.name, "layout": "ncnn"}
        model, graph = built_in_order(StoredModel(path.stem, options, {}, card), network.arrays)
        is_same = _meaning(network.nodes) == _meaning(graph.nodes)
    except OSError as error:
        raise ModelError(f"{error.filename or path}: {error.strerror}") from error
    except (ValueError, IndexError, KeyError, ArithmeticError, StopIteration) as error:
        raise ModelError(f"{path}: not a network of ncnn that is known here ({one_line(error) or 'damaged'})") from error
    except SuperscaleError as error:
        raise ModelError(f"{path}: {one_line(error)}") from error
    if not is_same:
        raise ModelError(f"{path}: its operations are not those of {options['name']}, although its kernels fit; not supported")
    return model


def _layers(text: str) -> Iterator[_Layer]:
    magic, _, *lines = text.split("\n")
    if magic.strip() != str(MAGIC):
        raise ValueError(f"begins with {ascii(magic)[:20]}, expected {MAGIC}")
    for line in filter(str.strip, lines):
        kind, name, inputs, outputs, *rest = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        values = dict(_value(word) for word in rest[last:])
        yield _Layer(kind, name, tuple(rest[:first]), tuple(rest[first:last]), values)


def _value(word: str) -> tuple[int, tuple[float, ...]]:
    key, _, text = word.partition("=")
    numbers = tuple(float(part) for part in text.split(","))
    return (LISTS - int(key), numbers[1:]) if int(key) <= LISTS else (int(key), numbers)


def _network(layers: Sequence[_Layer], data: memoryview) -> _Network:
    network = _Network()
    at = 0
    for number, layer in enumerate(layers):
        if layer.kind == "Input":
            network.same[layer.outputs[0]] = INPUT
            continue
        if layer.kind == "Split":
            network.same |= dict.fromkeys(layer.outputs, network.inputs(layer)[0])
            continue
        at = _add(network, layer, data, at)
        if number == len(layers) - 1:
            last = network.nodes[-1]
            network.nodes[-1] = Node(last.kind, last.inputs, OUTPUT, last.number, last.constants)
    if at != len(data):
        raise ModelError(f"the .bin has {len(data):,} bytes, and the layers need {at:,}")
    return network


def _add(network: _Network, layer: _Layer, data: memoryview, at: int) -> int:
    """Add the operations of a layer; the place in the numbers behind its own."""
    inputs, output = network.inputs(layer), layer.outputs[0]
    simple: dict[str, tuple[Any, float]] = {
        "Concat": ("concat", 1),
        "PixelShuffle": ("shuffle", layer.number(0)),
        "Reorg": ("unshuffle", layer.number(0)),
        "Interp": ("nearest", layer.number(1)),
        "ReLU": ("leaky", layer.number(0)),
    }
    if layer.kind == "Convolution":
        return _convolution(network, layer, data, at)
    if layer.kind == "PReLU":
        slopes, at = _floats(data, at, int(layer.number(0)))
        network.arrays.append(slopes)
        network.nodes.append(Node("prelu", inputs, output, 1, ((layer.name, slopes),)))
    elif layer.kind == "Interp" and (layer.number(0) != NEAREST or layer.number(1) != layer.number(2)):
        raise ModelError(f"{layer.name} resizes in another way than networks do here; take the file of the network's own scale")
    elif layer.kind in simple:
        network.nodes.append(Node(simple[layer.kind][0], inputs, output, simple[layer.kind][1]))
    elif layer.kind == "BinaryOp" and layer.number(0) == MULTIPLY and layer.number(1) == 1:
        network.scaled[output] = inputs[0], layer.number(2)
    elif layer.kind in ("BinaryOp", "Eltwise"):
        network.nodes.append(_sum(network, layer))
    else:
        raise ModelError(f"the layer {layer.kind} ({layer.name}) is not supported")
    return at


def _sum(network: _Network, layer: _Layer) -> Node:
    """An addition, its second part being the one that is multiplied."""
    if layer.number(0) != (1 if layer.kind == "Eltwise" else ADD) or len(layer.inputs) != 2:
        raise ModelError(f"the layer {layer.kind} ({layer.name}) is no sum of two")
    factors = layer.values.get(1, ()) if layer.kind == "Eltwise" else ()
    parts = []
    for name, factor in zip(network.inputs(layer), factors or (1.0, 1.0), strict=True):
        unscaled, by = network.scaled.get(name, (name, 1.0))
        parts.append((unscaled, factor * by))
    first, second = sorted(parts, key=lambda part: part[1] != 1)
    if first[1] != 1:
        raise ModelError(f"the layer {layer.kind} ({layer.name}) multiplies both parts")
    return Node("add", (first[0], second[0]), layer.outputs[0], second[1])


def _convolution(network: _Network, layer: _Layer, data: memoryview, at: int) -> int:
    outputs, side, size = (int(layer.number(key)) for key in (0, 1, 6))
    same = side // 2
    plain = layer.number(2, 1) == layer.number(3, 1) == 1 and layer.number(4) == same and layer.number(5) == 1
    if not plain or layer.number(11, side) != side or size % (outputs * side**2):
        raise ModelError(f"{layer.name} is no plain convolution with a bias, padded to the same size")
    tag = int.from_bytes(data[at : at + 4], "little")
    if tag not in (FP32_TAG, FP16_TAG):
        raise ModelError(f"{layer.name} holds quantised numbers, which are not supported")
    if tag == FP16_TAG:
        weight = np.frombuffer(data, "<f2", size, at + 4)
        at += 4 + (2 * size + 3) // 4 * 4
    else:
        weight, at = _floats(data, at + 4, size)
    kernel = finite(weight.reshape(outputs, -1, side, side), layer.name)
    bias, at = _floats(data, at, outputs)
    network.arrays += [kernel, bias]
    activation = int(layer.number(9))
    name = f"{layer.outputs[0]}.before" if activation else layer.outputs[0]
    network.nodes.append(
        Node("conv", network.inputs(layer), name, 1, ((f"{layer.name}.weight", kernel), (f"{layer.name}.bias", bias)))
    )
    if activation not in (0, RELU, LEAKY_RELU):
        raise ModelError(f"{layer.name} has an activation that is not supported")
    if activation:
        slope = layer.number(10) if activation == LEAKY_RELU else 0
        network.nodes.append(Node("leaky", (name,), layer.outputs[0], slope))
    return at


def _floats(data: memoryview, at: int, count: int) -> tuple[Array, int]:
    if not 0 < count <= (len(data) - at) // 4:
        raise ModelError("the .bin is too short for its layers")
    return finite(np.frombuffer(data, "<f4", count, at), "the .bin"), at + 4 * count


def _options(network: _Network) -> dict[str, Any]:
    """The network that so many kernels of these shapes may be; its operations are compared afterwards."""
    kernels = [array for array in network.arrays if array.ndim == 4]
    kinds = [node.kind for node in network.nodes]
    first, last = kernels[0].shape, kernels[-1].shape
    factor = next((int(node.number) for node in network.nodes if node.kind == "unshuffle"), 1)
    if "concat" in kinds:
        doublings = kinds.count("nearest")
        plus = any(kernel.shape[-1] == 1 for kernel in kernels)
        return {
            "name": "rrdbnet",
            "scale": 2**doublings // factor,
            "channels": last[0],
            "features": first[0],
            "blocks": (len(kernels) - 4 - doublings) // (18 if plus else 15),
            "growth_channels": kernels[1].shape[0],
            "residual_scale": round(
                next(node.number for node in network.nodes if node.kind == "add" and node.number != 1), DECIMALS
            ),
            "upsamplings": doublings,
            "plus": plus,
        }
    shuffles = [int(node.number) for node in network.nodes if node.kind == "shuffle"]
    if first[-1] > 3:
        blocks = (len(kernels) - 3 - len(shuffles)) // 2
        options = {
            "scale": 2 ** len(shuffles),
            "channels": first[1],
            "features": first[0],
            "blocks": blocks,
            "batch_norm": False,
        }
        return {"name": "srresnet", **options}
    slope = next((node.number for node in network.nodes if node.kind == "leaky"), None)
    activation = PRELU if slope is None else next(name for name, known in SLOPES.items() if round(slope, DECIMALS) == known)
    sizes = {"scale": shuffles[0], "channels": last[0] // shuffles[0] ** 2, "features": first[0]}
    return {"name": "compact", **sizes, "convolutions": len(kernels) - 2, "activation": activation}


def _meaning(nodes: Sequence[Node]) -> bytes:
    """A hash of what a network computes: equal for equal operations on equal numbers, whatever they are called. Raises KeyError."""
    known: dict[str, bytes] = {INPUT: b"input"}
    for node in nodes:
        inputs = [known[name] for name in node.inputs]
        if node.kind == "add" and node.number == 1:
            inputs.sort()
        said = hashlib.sha256(f"{node.kind} {round(node.number, DECIMALS):g} ".encode())
        constants = [] if node.kind == "unshuffle" else [np.ascontiguousarray(array).tobytes() for _, array in node.constants]
        for part in (*inputs, *constants):
            said.update(part)
        known[node.output] = said.digest()
    return known[OUTPUT]
