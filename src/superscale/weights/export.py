"""Models as files of other programs: written, run by the program that they are for, and compared before they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import MissingExtraError, ModelError
from superscale.files import write_bytes
from superscale.weights.graph import INPUT, OUTPUT
from superscale.weights.onnx import OPSET, onnx_bytes
from superscale.weights.stored import StoredModel

Array = NDArray[Any]
Run = Callable[[Array], Array]

# Sizes that a file is tried on, in units of what it divides by: odd ones, one pixel wide, not square.
TRIED = ((7, 5), (1, 9), (16, 13))
# How far its output may lie from the network's, in units of white.
TOLERANCE = {False: 2e-5, True: 2e-2}
ABOUT = {".onnx": f"ONNX opset {OPSET}"}


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
EXPORTS: dict[str, Callable[[StoredModel, Path, bool], float]] = {".onnx": _onnx}
