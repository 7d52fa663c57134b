"""Networks as ONNX graphs, written directly from their options and weights: dynamic height and width, stable names, no tracing.

Batch norms are folded into the convolutions before them. A file is compared with the network in ONNX Runtime before it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.errors import MissingExtraError, ModelError
from superscale.files import write_bytes
from superscale.networks.catalog import describe
from superscale.networks.generator import Generator
from superscale.weights.checkpoint import Model

Array = NDArray[Any]

# The first opset that has all that is used here in half precision too; every runtime since 2022 knows it.
OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "low_res", "super_res"
CONTRACT, NETWORK, CARD = "superscale.contract", "superscale.network", "superscale.card"
BATCH_NORM_EPSILON = 1e-5
# Sizes that a graph is tried on, in units of what it divides by: odd ones, one pixel wide, not square.
TRIED = ((7, 5), (1, 9), (16, 13))
# How far its output may lie from the network's, in units of white.
TOLERANCE = {False: 2e-5, True: 2e-2}


def export_onnx(model: Model, path: Path, half: bool = False) -> float:
    """Write a model as ONNX, fp32 or fp16, and return its largest difference from the network on pictures of odd sizes.

    Raises ModelError, and leaves no file, when the difference is more than rounding; MissingExtraError without onnx and ONNX Runtime.
    """
    data = onnx_bytes(model.generator, model.card, half)
    difference = max_difference(model.generator, data)
    if not difference <= TOLERANCE[half]:
        raise ModelError(f"{path}: not written: the exported network differs by {difference:.1e} of white from the original")
    write_bytes(path, data)
    return difference


def onnx_bytes(generator: Generator, card: Mapping[str, Any], half: bool = False) -> bytes:
    """The ONNX file of a generator: input ``low_res`` float32 (B, C, h, w), output ``super_res`` float32 (B, C, h*scale, w*scale)."""
    network = describe(generator)
    arrays = {key: tensor.detach().float().cpu().numpy() for key, tensor in generator.state_dict().items()}
    graph = _Graph(arrays, np.float16 if half else np.float32)
    builder = BUILDERS[network["name"]]
    given = graph.node("Cast", [INPUT], to=graph.element_type) if half else INPUT
    made = builder(graph, network, given)
    graph.node("Cast" if half else "Identity", [made], OUTPUT, **({"to": 1} if half else {}))
    facts = {CONTRACT: asdict(generator.contract), NETWORK: network, CARD: dict(card)}
    return graph.model(generator.contract, {key: json.dumps(value, sort_keys=True) for key, value in facts.items()})


def max_difference(generator: Generator, data: bytes) -> float:
    """The largest difference between a graph and its network over `TRIED`, in units of white, or of the largest value beyond it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("exporting to ONNX", "onnx") from error
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    contract = generator.contract
    random = np.random.default_rng(0)
    differences = []
    for size in TRIED:
        height, width = (side * contract.multiple_of for side in size)
        low_res = random.random((1, contract.channels, height, width), np.float32)
        (found,) = session.run([OUTPUT], {INPUT: low_res})
        with torch.inference_mode():
            expected = generator.eval()(torch.from_numpy(low_res)).numpy()
        same = found.shape == expected.shape
        differences.append(float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max())) if same else np.inf)
    return max(differences)


class _Graph:
    """Nodes and constants as they are added; values are called by strings."""

    def __init__(self, arrays: Mapping[str, Array], dtype: Any) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingExtraError("exporting to ONNX", "onnx") from error
        self.onnx: Any = onnx
        self.arrays = arrays
        self.dtype = dtype
        self.element_type = int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node and return what its output is called."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = None) -> str:
        """Add a constant, in the graph's precision unless told otherwise, and return its name."""
        array = np.ascontiguousarray(values, dtype=dtype or self.dtype)
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def conv(self, given: str, name: str, norm: str = "") -> str:
        """A convolution of the network by name, with the batch norm behind it folded in."""
        weight = self.arrays[f"{name}.weight"]
        bias = self.arrays.get(f"{name}.bias", np.zeros(len(weight), np.float32))
        if norm and f"{norm}.running_var" in self.arrays:
            deviation = np.sqrt(self.arrays[f"{norm}.running_var"].astype(np.float64) + BATCH_NORM_EPSILON)
            factor = self.arrays[f"{norm}.weight"] / deviation
            bias = (bias - self.arrays[f"{norm}.running_mean"]) * factor + self.arrays[f"{norm}.bias"]
            weight = weight * factor[:, None, None, None]
        padding = weight.shape[-1] // 2
        constants = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("Conv", [given, *constants], pads=[padding] * 4, kernel_shape=weight.shape[-2:])

    def prelu(self, given: str, name: str) -> str:
        """The PReLU of the network by name, one slope or one a channel."""
        slopes = self.constant(f"{name}.weight", self.arrays[f"{name}.weight"][:, None, None])
        return self.node("PRelu", [given, slopes])

    def leaky(self, given: str) -> str:
        """LeakyReLU with slope 0.2."""
        return self.node("LeakyRelu", [given], alpha=0.2)

    def add(self, one: str, other: str) -> str:
        """The sum of two values."""
        return self.node("Add", [one, other])

    def shuffle(self, given: str, factor: int) -> str:
        """Pixel shuffle: channels to pixels."""
        return self.node("DepthToSpace", [given], blocksize=factor, mode="CRD")

    def unshuffle(self, given: str, channels: int, factor: int) -> str:
        """Pixel unshuffle, as a convolution by ones and zeros, since ONNX has only the other order of channels."""
        kernel = np.eye(channels * factor**2).reshape(channels * factor**2, channels, factor, factor)
        return self.node("Conv", [given, self.constant("unshuffle", kernel)], strides=[factor] * 2, kernel_shape=[factor] * 2)

    def nearest(self, given: str, factor: int) -> str:
        """Repeat every pixel."""
        scales = self.constant(f"nearest_{factor}", (1, 1, factor, factor), np.float32)
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.node("Resize", [given, "", scales], **how)

    def model(self, contract: Contract, facts: Mapping[str, str]) -> bytes:
        """The file, checked by ONNX's own checker."""
        helper = self.onnx.helper
        sides = (("height", "width"), (f"{contract.scale}*height", f"{contract.scale}*width"))
        values = [
            helper.make_tensor_value_info(name, 1, ("batch", contract.channels, *side))
            for name, side in zip((INPUT, OUTPUT), sides, strict=True)
        ]
        graph = helper.make_graph(self.nodes, "superscale", values[:1], values[1:], list(self.constants.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="superscale"
        )
        helper.set_model_props(model, dict(facts))
        self.onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _srresnet(graph: _Graph, network: Mapping[str, Any], low_res: str) -> str:
    """Ledig et al. 2017, Fig. 4."""
    shallow = graph.prelu(graph.conv(low_res, "head"), "activation")
    features = shallow
    for block in range(network["blocks"]):
        at = f"body.{block}"
        hidden = graph.prelu(graph.conv(features, f"{at}.conv1", f"{at}.norm1"), f"{at}.activation")
        features = graph.add(features, graph.conv(hidden, f"{at}.conv2", f"{at}.norm2"))
    features = graph.add(shallow, graph.conv(features, "conv_body", "norm_body"))
    for number in range(int(np.log2(network["scale"]))):
        features = graph.conv(features, f"upsample.{number}.conv")
        features = graph.shuffle(graph.prelu(features, f"upsample.{number}.activation"), 2)
    return graph.conv(features, "tail")


def _rrdbnet(graph: _Graph, network: Mapping[str, Any], low_res: str) -> str:
    """Wang et al. 2018, Fig. 3 and 4."""
    unshuffle = 2 ** network["upsamplings"] // network["scale"]
    given = graph.unshuffle(low_res, network["channels"], unshuffle) if unshuffle > 1 else low_res
    scale = graph.constant("residual_scale", network["residual_scale"])
    shallow = graph.conv(given, "conv_first")
    features = shallow
    for block in range(network["blocks"]):
        inner = features
        for dense in range(1, 4):
            inner = _dense_block(graph, inner, f"body.{block}.rdb{dense}", scale)
        features = graph.add(features, graph.node("Mul", [inner, scale]))
    features = graph.add(shallow, graph.conv(features, "conv_body"))
    for number in range(1, network["upsamplings"] + 1):
        features = graph.leaky(graph.conv(graph.nearest(features, 2), f"conv_up{number}"))
    return graph.conv(graph.leaky(graph.conv(features, "conv_hr")), "conv_last")


def _dense_block(graph: _Graph, features: str, name: str, scale: str) -> str:
    seen = [features]
    for number in range(1, 5):
        joined = graph.node("Concat", seen, axis=1) if len(seen) > 1 else features
        seen.append(graph.leaky(graph.conv(joined, f"{name}.conv{number}")))
    residual = graph.conv(graph.node("Concat", seen, axis=1), f"{name}.conv5")
    return graph.add(features, graph.node("Mul", [residual, scale]))


def _compact(graph: _Graph, network: Mapping[str, Any], low_res: str) -> str:
    """SRVGGNetCompact of Real-ESRGAN: plain convolutions, one pixel shuffle, a residual to nearest."""
    features = low_res
    last = 2 * network["convolutions"] + 2
    for number in range(0, last, 2):
        features = graph.prelu(graph.conv(features, f"body.{number}"), f"body.{number + 1}")
    enlarged = graph.shuffle(graph.conv(features, f"body.{last}"), network["scale"])
    return graph.add(enlarged, graph.nearest(low_res, network["scale"]))


# the catalog's name -> what writes the network's nodes and returns the name of its output
BUILDERS: dict[str, Callable[[_Graph, Mapping[str, Any], str], str]] = {
    "srresnet": _srresnet,
    "rrdbnet": _rrdbnet,
    "compact": _compact,
}
