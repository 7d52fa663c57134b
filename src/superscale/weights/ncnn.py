"""ncnn's two files of a network, which phones and many desktop programs take: layers as text (.param), numbers (.bin).

The format is that of github.com/Tencent/ncnn ("param and model file structure"): a layer that is read by several others goes through
Split, blobs are (C, H, W), numbers are fp32, or fp16 behind a tag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from superscale.weights.graph import INPUT, OUTPUT, Graph, Node, graph_of
from superscale.weights.stored import StoredModel

Array = NDArray[Any]

MAGIC = 7767517
DATA, RESULT = "data", "output"
FP32_TAG, FP16_TAG = 0, 0x01306B47
ADD, MULTIPLY = 0, 2
NEAREST = 1


def ncnn_files(model: StoredModel, half: bool = False) -> tuple[bytes, bytes]:
    """(.param, .bin) of a model: input ``data`` (C, h, w), output ``output`` (C, h*scale, w*scale). ``half``: kernels in fp16."""
    graph = graph_of(model)
    writer = _Writer(graph, half)
    for node in graph.nodes:
        WRITERS[node.kind](writer, node)
        writer.split(node.output)
    head = f"{MAGIC}\n{len(writer.layers)} {writer.blobs}\n"
    return (head + "".join(f"{layer}\n" for layer in writer.layers)).encode(), b"".join(writer.numbers)


class _Writer:
    """Layers and numbers, in order. Every blob is read once: ``unread`` has the copies that are left of one."""

    def __init__(self, graph: Graph, half: bool) -> None:
        self.half = half
        self.readers = Counter(name for node in graph.nodes for name in node.inputs)
        self.unread: dict[str, list[str]] = {}
        self.layers: list[str] = []
        self.numbers: list[bytes] = []
        self.blobs = 0
        self.layer("Input", [], INPUT)
        self.split(INPUT)

    def layer(self, kind: str, inputs: list[str], *outputs: str, **parameters: Any) -> None:
        """Add a layer. ``parameters``: by their numbers, as ``_0``."""
        names = [{INPUT: DATA, OUTPUT: RESULT}.get(name, name) for name in (*inputs, *outputs)]
        values = [
            f"{key[1:]}={value:.8e}" if isinstance(value, float) else f"{key[1:]}={value}" for key, value in parameters.items()
        ]
        self.layers.append(
            " ".join([kind, f"{kind.lower()}_{len(self.layers)}", f"{len(inputs)} {len(outputs)}", *names, *values])
        )
        self.blobs += len(outputs)

    def split(self, name: str) -> None:
        """Copy a blob for all who read it."""
        count = self.readers[name]
        self.unread[name] = [f"{name}_copy{number}" for number in range(count)] if count > 1 else [name]
        if count > 1:
            self.layer("Split", [name], *self.unread[name])

    def taken(self, node: Node) -> list[str]:
        """The inputs of an operation, each from the copies that are left."""
        return [self.unread[name].pop(0) for name in node.inputs]

    def conv(self, node: Node) -> None:
        """Convolution, padded to the same size."""
        weight, bias = (array for _, array in node.constants)
        side = weight.shape[-1]
        sizes = {"_0": weight.shape[0], "_1": side, "_4": side // 2, "_5": 1, "_6": weight.size}
        self.layer("Convolution", self.taken(node), node.output, **sizes)
        tag, data = (FP16_TAG, weight.astype("<f2").tobytes()) if self.half else (FP32_TAG, weight.astype("<f4").tobytes())
        self.numbers += [tag.to_bytes(4, "little"), data, b"\0" * (-len(data) % 4), bias.astype("<f4").tobytes()]

    def prelu(self, node: Node) -> None:
        """PReLU, with one slope or one a channel."""
        ((_, slopes),) = node.constants
        self.layer("PReLU", self.taken(node), node.output, _0=slopes.size)
        self.numbers.append(slopes.astype("<f4").tobytes())

    def add(self, node: Node) -> None:
        """The sum, its second part multiplied first where it is scaled."""
        first, second = self.taken(node)
        if node.number != 1:
            scaled = f"{node.output}_scaled"
            self.layer("BinaryOp", [second], scaled, _0=MULTIPLY, _1=1, _2=float(node.number))
            second = scaled
        self.layer("BinaryOp", [first, second], node.output, _0=ADD)

    def simple(self, kind: str, node: Node, **parameters: Any) -> None:
        """A layer without numbers of its own."""
        self.layer(kind, self.taken(node), node.output, **parameters)


WRITERS: dict[str, Callable[[_Writer, Node], None]] = {
    "conv": _Writer.conv,
    "prelu": _Writer.prelu,
    "leaky": lambda writer, node: writer.simple("ReLU", node, _0=float(node.number)),
    "add": _Writer.add,
    "concat": lambda writer, node: writer.simple("Concat", node, _0=0),
    "shuffle": lambda writer, node: writer.simple("PixelShuffle", node, _0=int(node.number)),
    "unshuffle": lambda writer, node: writer.simple("Reorg", node, _0=int(node.number)),
    "nearest": lambda writer, node: writer.simple("Interp", node, _0=NEAREST, _1=float(node.number), _2=float(node.number)),
}
