"""What runs a network: numpy arrays in and out, so that nothing above needs to know which library computes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from superscale.contract import Contract


class Backend(Protocol):
    """A network on a device. ``device``: as people name it, such as "cpu" or "cuda:1"; ``name``: the library and the precision."""

    @property
    def contract(self) -> Contract:
        """What the network promises about its input and output."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def name(self) -> str:
        """The library and the precision, such as "torch fp32"."""

    def free_bytes(self) -> int | None:
        """Memory that is free on the device; None where the system does not tell."""

    def __call__(self, low_res: NDArray[np.float32]) -> NDArray[Any]:
        """float32 (B, C, h, w) in [0, 1] -> float32 (B, C, h*scale, w*scale).

        Raises OutOfMemoryError when the device is full, ModelError when the output is not finite.
        """
