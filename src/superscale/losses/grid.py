"""Against the artefact of sub-pixel upsampling: a pattern that repeats with every low-resolution pixel.

Pooled features do not see it and a young discriminator does not punish it, while it looks like detail to both; the pixel losses
weigh it no more than honest texture. `grid_loss` sees a pattern that lies over an area, `lines_loss` one that changes its sign from edge to
edge, as lines in the spectrum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from superscale.errors import UsageError
from superscale.image.color import luma
from superscale.metrics.spectrum import PERIODS, SEGMENT_PX, neighbours, spectrum

# Low-res pixels a side over which a pattern must persist to count as one.
WINDOW = 6

# Of the mean power: keeps the logarithm finite where a picture has next to none.
FAINT = 0.01


def grid_loss(super_res: Tensor, high_res: Tensor, scale: int) -> Tensor:
    """How far the difference of two batches (B, C, H, W) depends on the place within the scale x scale cell, a scalar.

    The difference is sorted by phase, averaged over windows of 6x6 cells, where texture cancels and a pattern stays, and freed
    of the mean of all phases, which is brightness and not pattern. Mean absolute value.
    """
    phases = F.pixel_unshuffle(super_res - high_res, scale)  # (B, C*scale², h, w)
    window = min(WINDOW, *phases.shape[-2:])
    averaged = F.avg_pool2d(phases, window, stride=max(window // 2, 1))
    persistent = averaged.reshape(averaged.shape[0], -1, scale**2, *averaged.shape[-2:])
    pattern: Tensor = persistent - persistent.mean(dim=2, keepdim=True)
    return pattern.abs().mean()


def lines_loss(super_res: Tensor, high_res: Tensor) -> Tensor:
    """By how much periods of 4 and 2 pixels stand out more in ``super_res`` than in the truth, (B, 3, H, W) in [0, 1], a scalar.

    The mean excess of the logarithms of power over neighbours' power, of luma, along rows and columns; zero where nothing stands out, or
    no more than in the truth. Raises UsageError when a side is below 65 pixels.
    """
    with torch.no_grad():
        allowed = _standing_out(high_res).clamp_(min=0)
    return F.relu(_standing_out(super_res) - allowed).mean()


def _standing_out(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 4): logarithms at both periods, along rows and along columns."""
    if min(image.shape[-2:]) <= SEGMENT_PX:
        raise UsageError(f"the lines of a spectrum need patches of {SEGMENT_PX + 1} pixels a side, got {tuple(image.shape)}")
    planes = luma(image)
    logs = []
    for turned in (planes, planes.transpose(-1, -2)):
        power = spectrum(turned) + FAINT
        logs += [(power[:, SEGMENT_PX // period] / neighbours(power, period).mean(dim=1)).log() for period in PERIODS]
    return torch.stack(logs, dim=1)
