"""What runs a network: tensor -> tensor, with a full device as a typed error."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from superscale.contract import Contract
from superscale.errors import ModelError, OutOfMemoryError, UsageError
from superscale.networks.generator import Generator

# How a full device speaks, besides torch's own class: allocators of the CPU and of Apple's GPU, oneDNN.
FULL = ("not enough memory", "can't allocate memory", "out of memory", "std::bad_alloc", "could not create a primitive")
Precision = Literal["auto", "fp32", "fp16", "bf16"]
DTYPES: dict[str, torch.dtype | None] = {"auto": None, "fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """A generator on a device, in a precision."""

    def __init__(self, generator: Generator, device: torch.device, precision: Precision = "auto") -> None:
        if precision not in DTYPES:
            raise UsageError(f"precision must be one of {', '.join(DTYPES)}, got {precision!r}")
        self.device, self.dtype = device, DTYPES[precision]
        self.generator: Generator = generator.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def contract(self) -> Contract:
        return self.generator.contract

    def __call__(self, low_res: Tensor) -> Tensor:
        """(B, C, h, w) in [0, 1] on any device -> float32 (B, C, h*scale, w*scale) on the CPU.

        What comes out not finite in half precision is computed again in fp32. Raises OutOfMemoryError, and ModelError when
        even fp32 is not finite.
        """
        super_res = self._run(low_res, self.dtype)
        if self.dtype is not None and not torch.isfinite(super_res).all():
            super_res = self._run(low_res, None)
        if not torch.isfinite(super_res).all():
            raise ModelError("the network's output is not finite: its weights do not suit this picture")
        return super_res

    def _run(self, low_res: Tensor, dtype: torch.dtype | None) -> Tensor:
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                given = low_res.to(self.device).contiguous(memory_format=torch.channels_last)
                return self.generator(given).float().cpu()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in FULL):
                height, width = low_res.shape[-2:]
                raise OutOfMemoryError(
                    f"{self.device} is full: no memory for a tile of {width}x{height} pixels; give a smaller --tile, or 'auto'"
                ) from error
            raise
