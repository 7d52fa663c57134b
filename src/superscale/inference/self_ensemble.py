"""Self-ensemble: the mean of what a network makes of a picture's eight orientations (Timofte et al. 2016, §3.5; EDSR's "+")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.inference.backends import Backend

Array = NDArray[Any]


class SelfEnsemble:
    """A `Backend` that asks another one eight times, at eight times its cost."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def contract(self) -> Contract:
        """That of the network."""
        return self.backend.contract

    @property
    def device(self) -> str:
        """Where the network runs."""
        return self.backend.device

    @property
    def name(self) -> str:
        """What runs the network."""
        return self.backend.name

    def free_bytes(self) -> int | None:
        """Memory that is free on the device."""
        return self.backend.free_bytes()

    def __call__(self, low_res: Array) -> Array:
        """float32 (B, C, h, w) -> float32 (B, C, h*scale, w*scale)."""
        total: Array | None = None
        for mirrored in (False, True):
            for turns in range(4):
                turned = np.rot90(low_res[..., ::-1] if mirrored else low_res, turns, (-2, -1))
                back = np.rot90(self.backend(np.ascontiguousarray(turned)), -turns, (-2, -1))
                back = back[..., ::-1] if mirrored else back
                total = back if total is None else total + back
        assert total is not None
        return total / np.float32(8)
