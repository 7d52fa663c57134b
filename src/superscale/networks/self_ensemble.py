"""Self-ensemble: the mean of a network's outputs for the eight orientations of its input (Timofte et al. 2016, §3.5; EDSR's "+")."""

from __future__ import annotations

import torch
from torch import Tensor

from superscale.networks.generator import Generator


class SelfEnsemble(Generator):
    """(B, C, h, w) -> (B, C, h*scale, w*scale): the mean of eight passes through ``generator``, at eight times its cost."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.contract = generator.contract

    def forward(self, low_res: Tensor) -> Tensor:
        """Upscale a batch."""
        total: Tensor | None = None
        for mirrored in (False, True):
            for turns in range(4):
                turned = torch.rot90(low_res.flip(-1) if mirrored else low_res, turns, (-2, -1))
                back = torch.rot90(self.generator(turned), -turns, (-2, -1))
                back = back.flip(-1) if mirrored else back
                total = back if total is None else total + back
        assert total is not None
        return total / 8
