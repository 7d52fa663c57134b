"""ONNX files of our networks, written and read as bytes: dynamic height and width, stable names, the same bytes at every writing.

The format (github.com/onnx/onnx, onnx.proto) is Protocol Buffers: fields of a number, a type and a value. Fifty lines write what is
needed, so that neither torch nor the package onnx is imported where a network only runs.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import ModelError
from superscale.reading import read_file, reason
from superscale.weights.graph import INPUT, OUTPUT, PHASES, Graph, Node, folded, from_phases, graph_of
from superscale.weights.stored import MOST_BYTES, StoredModel, described, finite

Array = NDArray[Any]

# The first opset that has all that is used here in half precision too; every runtime since 2022 knows it.
OPSET, IR_VERSION = 17, 8
CONTRACT, NETWORK, CARD = "superscale.contract", "superscale.network", "superscale.card"
# TensorProto.DataType, AttributeProto.AttributeType
FLOAT, FLOAT16 = 1, 10
ELEMENT_TYPES: dict[Any, int] = {np.dtype(np.float32): FLOAT, np.dtype(np.float16): FLOAT16}
DTYPES = {FLOAT: "<f4", FLOAT16: "<f2"}
TO_FLOAT, TO_INT, TO_STRING, TO_INTS = 1, 2, 3, 7

# What the keys of a network's arrays end with; other constants belong to the graph.
PARTS = (".weight", ".bias")
# Protocol Buffers' wire types
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5


def onnx_bytes(model: StoredModel, half: bool = False) -> bytes:
    """The ONNX file of a model: input ``low_res`` float32 (B, C, h, w), output ``super_res`` float32 (B, C, h*scale, w*scale).

    ``half``: weights and sums in fp16 between them. Raises ModelError for arrays that are not the network's.
    """
    plain = folded(model)
    graph = graph_of(plain)
    facts = {CONTRACT: asdict(graph.contract), NETWORK: plain.network, CARD: model.card}
    metadata = [
        _message(14, [_text(1, key), _text(2, json.dumps(value, sort_keys=True))]) for key, value in sorted(facts.items())
    ]
    writer = _Writer(np.float16 if half else np.float32)
    operations = writer.operations(graph)
    parts = [
        _number(1, IR_VERSION),
        _text(2, "superscale"),
        _message(7, [*operations, _text(2, "superscale"), *writer.initializers, *_ends(graph)]),
        _message(8, [_text(1, ""), _number(2, OPSET)]),
        *metadata,
    ]
    return b"".join(parts)


def _ends(graph: Graph) -> Iterator[bytes]:
    """GraphProto's input and output, of any batch, height and width."""
    contract = graph.contract
    times = f"{contract.scale}*"
    for field, name, prefix in ((11, INPUT, ""), (12, OUTPUT, times)):
        batch, height, width = (_message(1, [_text(2, side)]) for side in ("batch", f"{prefix}height", f"{prefix}width"))
        shape = [batch, _message(1, [_number(1, contract.channels)]), height, width]
        yield _message(field, [_text(1, name), _message(2, [_message(1, [_number(1, FLOAT), _message(2, shape)])])])


class _Writer:
    """Writes operations as NodeProto and their constants as TensorProto, in one precision."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.initializers: list[bytes] = []
        self.names: set[str] = set()

    def operations(self, graph: Graph) -> list[bytes]:
        """GraphProto's nodes. In half precision the first and the last change the type."""
        half = self.dtype == np.float16
        renamed = {INPUT: f"{INPUT}_half", OUTPUT: f"{OUTPUT}_half"} if half else {}
        made = [_node("Cast", [INPUT], renamed[INPUT], to=FLOAT16)] if half else []
        for node in graph.nodes:
            inputs = [renamed.get(name, name) for name in node.inputs]
            made += KINDS[node.kind](self, node, inputs, renamed.get(node.output, node.output))
        return [*made, _node("Cast", [renamed[OUTPUT]], OUTPUT, to=FLOAT)] if half else made

    def constant(self, name: str, values: Any, dtype: Any = None) -> str:
        """Add an initializer once, in the writer's precision unless told otherwise; return its name."""
        if name not in self.names:
            array = np.ascontiguousarray(values, dtype=dtype or self.dtype)
            self.names.add(name)
            dims = [_number(1, side) for side in array.shape]
            data = array.astype(array.dtype.newbyteorder("<")).tobytes()
            kind = _number(2, ELEMENT_TYPES[array.dtype])
            self.initializers.append(_message(5, [*dims, kind, _text(8, name), _bytes(9, data)]))
        return name

    def conv(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """Conv, padded to the same size."""
        names = [self.constant(name, array) for name, array in node.constants]
        side = node.constants[0][1].shape[-1]
        return [_node("Conv", [*inputs, *names], output, kernel_shape=[side] * 2, pads=[side // 2] * 4)]

    def prelu(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """PRelu, its slopes along the channels."""
        ((name, slopes),) = node.constants
        return [_node("PRelu", [*inputs, self.constant(name, slopes[:, None, None])], output)]

    def leaky(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """LeakyRelu."""
        return [_node("LeakyRelu", inputs, output, alpha=float(node.number))]

    def add(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """Add, after Mul where the second input is scaled."""
        if node.number == 1:
            return [_node("Add", inputs, output)]
        factor = self.constant(f"times_{node.number:g}", node.number)
        scaled = f"{output}_scaled"
        return [_node("Mul", [inputs[1], factor], scaled), _node("Add", [inputs[0], scaled], output)]

    def concat(self, node: Node, inputs: list[str], output: str) -> list[bytes]:  # noqa: ARG002
        """Concat of channels."""
        return [_node("Concat", inputs, output, axis=1)]

    def shuffle(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """Pixel shuffle: channels to pixels."""
        return [_node("DepthToSpace", inputs, output, blocksize=int(node.number), mode="CRD")]

    def unshuffle(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """Pixel unshuffle, as a convolution by ones and zeros: ONNX has only the other order of channels."""
        ((name, kernel),) = node.constants
        sides = [int(node.number)] * 2
        return [_node("Conv", [*inputs, self.constant(name, kernel)], output, kernel_shape=sides, strides=sides)]

    def nearest(self, node: Node, inputs: list[str], output: str) -> list[bytes]:
        """Resize that repeats every pixel."""
        scales = self.constant(f"nearest_{node.number:g}", (1, 1, node.number, node.number), np.float32)
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return [_node("Resize", [*inputs, "", scales], output, **how)]


KINDS: dict[str, Callable[[_Writer, Node, list[str], str], list[bytes]]] = {
    "conv": _Writer.conv,
    "prelu": _Writer.prelu,
    "leaky": _Writer.leaky,
    "add": _Writer.add,
    "concat": _Writer.concat,
    "shuffle": _Writer.shuffle,
    "unshuffle": _Writer.unshuffle,
    "nearest": _Writer.nearest,
}


def _node(kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> bytes:
    """GraphProto's field of a NodeProto."""
    made = [_message(5, _attribute(name, value)) for name, value in sorted(attributes.items())]
    return _message(1, [*(_text(1, name) for name in inputs), _text(2, output), _text(3, output), _text(4, kind), *made])


def _attribute(name: str, value: Any) -> list[bytes]:
    if isinstance(value, float):
        return [_text(1, name), _tag(2, FOUR_BYTES) + struct.pack("<f", value), _number(20, TO_FLOAT)]
    if isinstance(value, int):
        return [_text(1, name), _number(3, value), _number(20, TO_INT)]
    if isinstance(value, str):
        return [_text(1, name), _text(4, value), _number(20, TO_STRING)]
    return [_text(1, name), *(_number(8, one) for one in value), _number(20, TO_INTS)]


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _number(field: int, value: int) -> bytes:
    return _tag(field, VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, LENGTH) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _message(field: int, parts: Sequence[bytes]) -> bytes:
    return _bytes(field, b"".join(parts))


def read_onnx(path: Path) -> StoredModel:
    """The model of a file of `onnx_bytes`, whose network computes the same (half precision is read into fp32).

    Only the arrays and the description are taken; the file must equal, byte for byte, what is written of them. Raises ModelError.
    """
    try:
        data = read_file(path, MOST_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)})") from error
    other = f"{path}: not an ONNX file that superscale wrote, or changed since; give the model that it was exported from"
    try:
        facts, arrays = _facts_and_arrays(memoryview(data))
        network, card = facts[NETWORK], facts[CARD]
    except (LookupError, ValueError, TypeError, ArithmeticError, struct.error) as error:
        raise ModelError(other) from error
    half = any(array.dtype == np.float16 for array in arrays.values())
    plain = {key: finite(array, f"{path}: {key}") for key, array in arrays.items()}
    model = described(str(path), network, card, plain)
    if onnx_bytes(model, half) != data:
        raise ModelError(other)
    return model


def _facts_and_arrays(data: memoryview) -> tuple[dict[str, str], dict[str, Array]]:
    facts: dict[str, str] = {}
    arrays: dict[str, Array] = {}
    for field, value in _fields(data):
        if field == 14:
            key, text = (str(part, "utf-8") for _, part in _fields(value))
            facts[key] = text
        elif field == 7:
            arrays |= dict(_array(tensor) for number, tensor in _fields(value) if number == 5)
    return facts, dict(as_network_has_it(key, array) for key, array in arrays.items() if key.endswith(PARTS))


def as_network_has_it(key: str, array: Array) -> tuple[str, Array]:
    """A constant by its name in a graph -> the network's array by its key."""
    if PHASES in key:
        return key.replace(PHASES, ""), from_phases(array) if array.ndim == 4 else array[::4].copy()
    return key, array.reshape(-1) if array.ndim == 3 else array


def _array(tensor: memoryview) -> tuple[str, Array]:
    """The name and the numbers of a TensorProto."""
    dims: list[int] = []
    facts: dict[int, Any] = {}
    for field, value in _fields(tensor):
        if field == 1:
            dims.append(value)
        else:
            facts[field] = value
    return str(facts[8], "utf-8"), np.frombuffer(facts[9], DTYPES[facts[2]]).reshape(dims)


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers of varints, bytes of all else. Raises ValueError or IndexError for what is no message."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _read_varint(data, at)
            yield tag >> 3, value
            continue
        length, at = _read_varint(data, at) if kind == LENGTH else ({FOUR_BYTES: 4, EIGHT_BYTES: 8}[kind], at)
        if length > len(data) - at:
            raise ValueError("cut short")
        yield tag >> 3, data[at : at + length]
        at += length


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for place in range(10):
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("a number without an end")
