"""Networks run by OpenVINO, on a CPU; in bf16 where the processor multiplies it."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.errors import MissingExtraError, UsageError
from superscale.inference.backends.onnx_backend import finite_output, told
from superscale.machine import memory
from superscale.machine.threads import cores
from superscale.options import Precision
from superscale.weights.onnx import onnx_bytes
from superscale.weights.stored import StoredModel

# How OpenVINO and oneDNN say that memory is full.
FULL = ("bad_alloc", "failed to allocate", "out of memory", "not enough memory", "could not create a memory", "can't allocate")
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVinoBackend:
    """A stored model in OpenVINO: a `Backend`."""

    def __init__(self, model: StoredModel, device: str = "cpu", precision: Precision = "fp32") -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("the backend openvino", "openvino") from error
        if device != "cpu":
            raise UsageError(f"OpenVINO is used on the CPU only, not on {device}; choose the backend torch")
        self.contract: Contract = model.contract
        self.device = device
        self.name = f"openvino {precision}"
        self.lock = Lock()
        self.tensor: Any = openvino.Tensor
        core = openvino.Core()
        wanted = precision.upper()
        if precision != "fp32" and wanted not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UsageError(f"OpenVINO does not compute in {precision} on this processor; choose the precision fp32")
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": cores(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self.compiled: Any = core.compile_model(core.read_model(onnx_bytes(model)), "CPU", settings)
            self.request: Any = self.compiled.create_infer_request()
        except RuntimeError as error:
            raise told(error, FULL, "OpenVINO", device, "the network") from error

    def free_bytes(self) -> int | None:
        """Memory that is free."""
        return memory.free_bytes()

    def __call__(self, low_res: NDArray[np.float32]) -> NDArray[Any]:
        """float32 (B, C, h, w) in [0, 1] -> float32 (B, C, h*scale, w*scale). Raises OutOfMemoryError and ModelError."""
        batch, channels, height, width = low_res.shape
        shape = batch, channels, height * self.contract.scale, width * self.contract.scale
        what = f"a tile of {width}x{height} pixels"
        try:
            # When memory is full OpenVINO may return without an error and without a result: with that of the tile before, but for this.
            super_res = np.full(shape, np.nan, np.float32)
            with self.lock:  # a request holds one input and one output
                self.request.set_output_tensor(self.tensor(super_res, shared_memory=True))
                self.request.infer({0: low_res})
            if np.isnan(super_res).all():
                raise MemoryError
        except (RuntimeError, MemoryError) as error:
            self.request = self.compiled.create_infer_request()
            raise told(error, FULL, "OpenVINO", self.device, what) from error
        return finite_output(super_res)
