"""Losses against the grid artefact of sub-pixel upsampling, a pattern that repeats with every low-resolution pixel.

Pooled features do not see it, an early discriminator takes it for detail, and pixel losses weigh it like texture. `grid_loss` sees a
pattern that covers an area, `lines_loss` one that changes its sign from edge to edge, as lines in the spectrum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from superscale.errors import UsageError
from superscale.image.color import luma
from superscale.metrics.spectrum import PERIODS, SEGMENT_PX, neighbours, spectrum

# Side, in low-res pixels, of the windows over which a pattern must persist.
WINDOW = 6

# Added to the mean power, to keep the logarithm finite in flat images.
FAINT = 0.01


def grid_loss(super_res: Tensor, high_res: Tensor, scale: int) -> Tensor:
    """Measure how much the difference of two batches (B, C, H, W) depends on the position within the scale x scale cell; a scalar.

    The difference is sorted by phase and averaged over windows of 6x6 cells, in which texture cancels and a pattern stays. The mean
    of all phases, which is brightness, is subtracted. The result is the mean absolute value.
    """
    phases = F.pixel_unshuffle(super_res - high_res, scale)  # (B, C*scale², h, w)
    window = min(WINDOW, *phases.shape[-2:])
    averaged = F.avg_pool2d(phases, window, stride=max(window // 2, 1))
    persistent = averaged.reshape(averaged.shape[0], -1, scale**2, *averaged.shape[-2:])
    pattern: Tensor = persistent - persistent.mean(dim=2, keepdim=True)
    return pattern.abs().mean()


def lines_loss(super_res: Tensor, high_res: Tensor) -> Tensor:
    """Measure how much more periods of 4 and 2 pixels stand out in ``super_res`` than in ``high_res``; (B, 3 or 1, H, W) in [0, 1] -> a scalar.

    For luma, along rows and columns: the mean excess of log(power / power of the neighbouring frequencies), zero where nothing stands
    out more than in ``high_res``. Raises UsageError when a side is below 65 pixels.
    """
    with torch.no_grad():
        allowed = _standing_out(high_res).clamp_(min=0)
    return F.relu(_standing_out(super_res) - allowed).mean()


def _standing_out(image: Tensor) -> Tensor:
    """(B, 3 or 1, H, W) -> (B, 4): the logarithms at both periods, along rows and along columns."""
    if min(image.shape[-2:]) <= SEGMENT_PX:
        raise UsageError(f"the lines of a spectrum need patches of {SEGMENT_PX + 1} pixels a side, got {tuple(image.shape)}")
    planes = luma(image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image)
    logs = []
    for turned in (planes, planes.transpose(-1, -2)):
        power = spectrum(turned) + FAINT
        logs += [(power[:, SEGMENT_PX // period] / neighbours(power, period).mean(dim=1)).log() for period in PERIODS]
    return torch.stack(logs, dim=1)
