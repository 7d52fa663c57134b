"""Models as files of other programs: written, run by the program that they are for, and compared before they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import MissingExtraError, ModelError
from superscale.files import write_bytes
from superscale.weights.graph import INPUT, OUTPUT
from superscale.weights.ncnn import DATA, RESULT, ncnn_files
from superscale.weights.onnx import OPSET, onnx_bytes
from superscale.weights.openvino_reader import NUMBERS
from superscale.weights.stored import StoredModel

Array = NDArray[Any]
Run = Callable[[Array], Array]

# Sizes that a file is tried on, in units of what it divides by: odd ones, one pixel wide, not square.
TRIED = ((7, 5), (1, 9), (16, 13))
# How far its output may lie from the network's, in units of white.
TOLERANCE = {False: 2e-5, True: 2e-2}
ABOUT = {".onnx": f"ONNX opset {OPSET}", ".xml": "OpenVINO, with its .bin", ".param": "ncnn, with its .bin"}


def export(model: StoredModel, path: Path, half: bool = False) -> float:
    """Write a model in the format of ``path``'s suffix (`EXPORTS`), fp32 or fp16; return its largest difference from the network.

    The network is run by torch, the file by its own program, on pictures of odd sizes. Raises ModelError, and leaves no file, when
    the difference is more than rounding; MissingExtraError without that program.
    """
    return EXPORTS[path.suffix](model, path, half)


def _onnx(model: StoredModel, path: Path, half: bool) -> float:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("exporting to ONNX", "onnx") from error
    data = onnx_bytes(model, half)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    difference = _compared(model, path, half, lambda low_res: session.run([OUTPUT], {INPUT: low_res})[0])
    write_bytes(path, data)
    return difference


def _openvino(model: StoredModel, path: Path, half: bool) -> float:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("exporting to OpenVINO", "openvino") from error
    core = openvino.Core()
    graph = core.read_model(onnx_bytes(model))
    graph.set_rt_info(json.dumps(model.card, sort_keys=True), ["superscale", "card"])
    with TemporaryDirectory() as folder:
        written = Path(folder) / "model.xml"
        openvino.save_model(graph, written, compress_to_fp16=half)
        # Written again: which numbers belong to it.
        graph.set_rt_info(sha256(written.with_suffix(".bin").read_bytes()).hexdigest(), ["superscale", NUMBERS])
        openvino.save_model(graph, written, compress_to_fp16=half)
        request = core.compile_model(written, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
        return _kept_if_equal(model, path, half, lambda low_res: request.infer({0: low_res})[0].copy(), written)


def _ncnn(model: StoredModel, path: Path, half: bool) -> float:
    try:
        import ncnn
    except ImportError as error:
        raise MissingExtraError("exporting to ncnn", "ncnn") from error
    net = ncnn.Net()
    # What a phone may round is not what is checked here.
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "winograd_convolution", "vulkan_compute"):
        setattr(net.opt, f"use_{option}", False)

    def run(low_res: Array) -> Array:
        extractor = net.create_extractor()
        extractor.input(DATA, ncnn.Mat(low_res[0]))
        _, found = extractor.extract(RESULT)
        return np.array(found)[None]

    with TemporaryDirectory() as folder:
        written = Path(folder) / "model.param"
        for part, data in zip((written, written.with_suffix(".bin")), ncnn_files(model, half), strict=True):
            part.write_bytes(data)
        if net.load_param(str(written)) or net.load_model(str(written.with_suffix(".bin"))):
            raise ModelError(f"{path}: not written: ncnn does not read the exported network")
        return _kept_if_equal(model, path, half, run, written)


def _kept_if_equal(model: StoredModel, path: Path, half: bool, run: Run, written: Path) -> float:
    """Compare what is in a temporary folder, then put both files in place, the numbers first."""
    difference = _compared(model, path, half, run)
    for suffix in (".bin", path.suffix):
        write_bytes(path.with_suffix(suffix), written.with_suffix(suffix).read_bytes())
    return difference


def _compared(model: StoredModel, path: Path, half: bool, run: Run) -> float:
    """The largest difference. Raises ModelError when it is too large."""
    difference = max_difference(model, run)
    if not difference <= TOLERANCE[half]:
        raise ModelError(f"{path}: not written: the exported network differs by {difference:.1e} of white from the original")
    return difference


def max_difference(model: StoredModel, run: Run) -> float:
    """The largest difference of ``run`` from torch's network over `TRIED`, in units of white, or of the largest value beyond it."""
    import torch

    from superscale.weights.checkpoint import model_of

    generator = model_of(model, model.name).generator
    contract = generator.contract
    random = np.random.default_rng(0)
    differences = []
    for size in TRIED:
        height, width = (side * contract.multiple_of for side in size)
        low_res = random.random((1, contract.channels, height, width), np.float32)
        found = run(low_res)
        with torch.inference_mode():
            expected = generator(torch.from_numpy(low_res)).numpy()
        same = found.shape == expected.shape
        differences.append(float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max())) if same else np.inf)
    return max(differences)


# suffix -> what writes such a file
EXPORTS: dict[str, Callable[[StoredModel, Path, bool], float]] = {".onnx": _onnx, ".xml": _openvino, ".param": _ncnn}
