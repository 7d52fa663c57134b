"""Self-ensemble: the mean of a network's outputs for the eight orientations of its input (Timofte et al. 2016, §3.5; EDSR's "+")."""

from __future__ import annotations

from functools import reduce

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
        return reduce(torch.add, (self._oriented(low_res, turns, flip) for flip in (False, True) for turns in range(4))) / 8

    def _oriented(self, low_res: Tensor, turns: int, flip: bool) -> Tensor:
        turned = torch.rot90(low_res.flip(-1) if flip else low_res, turns, (-2, -1))
        back = torch.rot90(self.generator(turned), -turns, (-2, -1))
        return back.flip(-1) if flip else back
