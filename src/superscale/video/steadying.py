"""Frames that agree with the one before them: less flicker."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.image.color import luma
from superscale.image.pixels import PEAK_8BIT, white
from superscale.metrics.flow import consistent, flow, moved
from superscale.video.stillness import Array, Enlarger

# So many levels of 8 bits apart, a pixel and what it was before are not the same thing.
DIFFERENT = 24


class Steadied:
    """Mixes what another enlarger makes with the last output, moved along the flow of the input, by ``share`` (0 to 1) where the flow is
    consistent and the input looks the same; where something is uncovered, changes or the scene is cut, the frame stays as it is."""

    def __init__(self, other: Enlarger, share: float) -> None:
        self.other, self.share = other, share
        self._before: tuple[Tensor, Tensor] | None = None

    def restart(self) -> None:
        """Forget the frames before."""
        self.other.restart()
        self._before = None

    @torch.inference_mode()
    def __call__(self, pixels: Array) -> Array:
        """(H, W, C) -> the larger picture."""
        larger: Any = self.other(pixels)
        now, large = _planes(pixels), _planes(larger)
        if self._before is not None:
            large = self._mixed(now, large, *self._before)
        self._before = now, large
        scaled = large[0].permute(1, 2, 0).numpy() * white(larger.dtype)
        steady: Array = (scaled.clip(0, white(larger.dtype)) + 0.5).astype(larger.dtype)
        return steady

    def _mixed(self, now: Tensor, large: Tensor, before: Tensor, large_before: Tensor) -> Tensor:
        light, light_before = (luma(planes) / PEAK_8BIT for planes in (now, before))
        by = flow(light, light_before)
        apart = (now - moved(before, by, "bicubic")).abs().amax(1, keepdim=True) * PEAK_8BIT
        likeness = (1 - F.avg_pool2d(apart, 3, 1, 1, count_include_pad=False) / DIFFERENT).clamp(0, 1)
        same = likeness * consistent(by, flow(light_before, light))
        size = large.shape[-2:]
        growth = torch.tensor([size[1] / now.shape[-1], size[0] / now.shape[-2]]).view(1, 2, 1, 1)
        old = moved(large_before, F.interpolate(by, size, mode="bicubic") * growth, "bicubic")
        return large + self.share * F.interpolate(same, size, mode="bilinear") * (old - large)


def _planes(pixels: Array) -> Tensor:
    """(H, W, 3) -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / white(pixels.dtype)).permute(2, 0, 1)[None]
