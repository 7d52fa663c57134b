"""Networks run by PyTorch, on a CPU, a CUDA GPU or Apple's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superscale.contract import Contract
from superscale.errors import ModelError, OutOfMemoryError
from superscale.machine import device as devices
from superscale.networks.generator import Generator
from superscale.options import Precision

# How a full device speaks, besides torch's own class: allocators of the CPU and of Apple's GPU, oneDNN.
FULL = ("not enough memory", "can't allocate memory", "out of memory", "std::bad_alloc", "could not create a primitive")
DTYPES: dict[Precision, torch.dtype | None] = {"auto": None, "fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """A generator on a device, in a precision: a `Backend`."""

    def __init__(self, generator: Generator, device: torch.device, precision: Precision = "auto") -> None:
        self.torch_device = device
        self.name = f"torch {'fp32' if precision == 'auto' else precision}"
        self.dtype = DTYPES[precision]
        self.generator: Generator = generator.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def contract(self) -> Contract:
        """That of the generator."""
        return self.generator.contract

    @property
    def device(self) -> str:
        """As torch names it."""
        return str(self.torch_device)

    def free_bytes(self) -> int | None:
        """Memory that is free on the device; None where the system does not tell."""
        return devices.free_bytes(self.torch_device)

    def __call__(self, low_res: NDArray[np.float32]) -> NDArray[Any]:
        """float32 (B, C, h, w) in [0, 1] -> float32 (B, C, h*scale, w*scale).

        What comes out not finite in half precision is computed again in fp32. Raises OutOfMemoryError, and ModelError when
        even fp32 is not finite.
        """
        planes = torch.from_numpy(low_res)
        super_res = self._run(planes, self.dtype)
        if self.dtype is not None and not torch.isfinite(super_res).all():
            super_res = self._run(planes, None)
        if not torch.isfinite(super_res).all():
            raise ModelError("the network's output is not finite: its weights do not suit this picture")
        return super_res.numpy()

    def _run(self, low_res: Tensor, dtype: torch.dtype | None) -> Tensor:
        try:
            with torch.inference_mode(), torch.autocast(self.torch_device.type, dtype, enabled=dtype is not None):
                given = low_res.to(self.torch_device).contiguous(memory_format=torch.channels_last)
                return self.generator(given).float().cpu()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in FULL):
                height, width = low_res.shape[-2:]
                raise OutOfMemoryError(
                    f"{self.torch_device} is full: no memory for a tile of {width}x{height} pixels; choose a smaller tile, or 'auto'"
                ) from error
            raise
