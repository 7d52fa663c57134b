"""Networks run by ONNX Runtime: on a CPU, or on a GPU where a build with its provider is installed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.errors import MissingExtraError, ModelError, OutOfMemoryError, UsageError
from superscale.machine import memory
from superscale.machine.threads import cores
from superscale.options import Precision
from superscale.weights.graph import INPUT, OUTPUT
from superscale.weights.onnx import onnx_bytes
from superscale.weights.stored import StoredModel

# device, as people name it -> the providers that run there, the first that is installed
PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "DmlExecutionProvider"),
    "mps": ("CoreMLExecutionProvider",),
}
# How ONNX Runtime says that memory is full.
FULL = ("bad_alloc", "failed to allocate", "out of memory", "not enough memory", "bfcarena", "bad allocation")
FATAL_ONLY = 4


class OnnxBackend:
    """A stored model in ONNX Runtime: a `Backend`."""

    def __init__(self, model: StoredModel, device: str = "cpu", precision: Precision = "fp32") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("the backend onnx", "onnx") from error
        self.contract: Contract = model.contract
        self.device = device
        self.name = f"onnx {precision}"
        kind, _, index = device.partition(":")
        known = PROVIDERS.get(kind, ())
        provider = next((one for one in known if one in onnxruntime.get_available_providers()), None)
        if precision not in ("fp32", "fp16"):
            raise UsageError(f"ONNX Runtime computes in fp32 or fp16, not in {precision}; choose the backend torch or openvino")
        if provider is None:
            raise UsageError(
                f"ONNX Runtime cannot use {device}: none of {', '.join(known)} is installed; choose the backend torch"
            )
        self.run_options: Any = onnxruntime.RunOptions
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = FATAL_ONLY
        # Threads that wait leave their core to others, and tiles of another size keep no memory of their own.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        half = precision == "fp16"
        placed: Any = (provider, {"device_id": int(index)}) if index else provider
        providers = [placed] if kind == "cpu" else [placed, "CPUExecutionProvider"]
        try:
            self.session: Any = onnxruntime.InferenceSession(onnx_bytes(model, half), options, providers=providers)
        except Exception as error:  # the library's own classes share no base but this
            raise _told(error, device, "the network") from error

    def free_bytes(self) -> int | None:
        """Memory that is free; that of a GPU is not told."""
        return memory.free_bytes() if self.device == "cpu" else None

    def __call__(self, low_res: NDArray[np.float32]) -> NDArray[Any]:
        """float32 (B, C, h, w) in [0, 1] -> float32 (B, C, h*scale, w*scale). Raises OutOfMemoryError and ModelError."""
        try:
            (super_res,) = self.session.run([OUTPUT], {INPUT: low_res})
        except Exception as error:
            self._give_back()
            raise _told(error, self.device, f"a tile of {low_res.shape[3]}x{low_res.shape[2]} pixels") from error
        return finite_output(super_res)

    def _give_back(self) -> None:
        """Return to the system what a failed run left reserved, which the library does at the end of a run that succeeds."""
        options = self.run_options()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        side = self.contract.multiple_of
        with suppress(Exception):
            self.session.run([OUTPUT], {INPUT: np.zeros((1, self.contract.channels, side, side), np.float32)}, options)


def finite_output(super_res: NDArray[Any]) -> NDArray[Any]:
    """The same. Raises ModelError when something in it is not finite."""
    if not np.isfinite(super_res).all():
        raise ModelError("the network's output is not finite: its weights do not suit this picture")
    return super_res


def _told(error: Exception, device: str, what: str) -> Exception:
    return told(error, FULL, "ONNX Runtime", device, what)


def told(error: Exception, full: tuple[str, ...], library: str, device: str, what: str) -> Exception:
    """A library's error as ours: OutOfMemoryError where it says that memory is full, else ModelError with its first line."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in full):
        return OutOfMemoryError(f"{device} is full: no memory for {what}; choose a smaller tile, or 'auto'")
    return ModelError(f"{library} cannot run {what} on {device}: {' '.join(text.split())[:300]}")
