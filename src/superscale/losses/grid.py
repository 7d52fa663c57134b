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

# Low-res pixels a side over which a pattern must persist to count as one.
WINDOW = 6

# Of the spectrum.
SEGMENT_PX = 64
PERIODS = (4, 2)
# Neighbours in the spectrum, in steps of 1/64 cycle a pixel; the nearest two belong to the line itself (Hann window).
NEAREST, FARTHEST = 3, 9
# Segments flatter than half an 8-bit step say nothing; this floor keeps their rounding noise from counting as a picture.
FLOOR = 0.5**2
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


def spectrum(planes: Tensor) -> Tensor:
    """Planes (B, C, H, W) in 8-bit units -> (B, 33): power at 0, 1/64 .. 1/2 cycles a pixel along the last axis, mean of all rows.

    Of differences along each row (which whiten a photograph's spectrum), in Hann-windowed segments of 64 samples, each weighed
    by its own power so that a few hard edges do not drown the rest.
    """
    segments = planes.diff(dim=-1).unfold(-1, SEGMENT_PX, SEGMENT_PX // 2)
    window = torch.hann_window(SEGMENT_PX, periodic=True, dtype=planes.dtype, device=planes.device)
    power = torch.fft.rfft(segments * window).abs().square() / window.square().sum()
    weighed = power / (power.mean(dim=-1, keepdim=True) + FLOOR)
    mean: Tensor = weighed.flatten(1, -2).mean(dim=1)
    return mean


def neighbours(power: Tensor, period: int) -> Tensor:
    """The columns of a `spectrum` (B, 33) on both sides of a period's."""
    place = SEGMENT_PX // period
    below, above = power[:, place - FARTHEST : place - NEAREST + 1], power[:, place + NEAREST : place + FARTHEST + 1]
    return torch.cat((below, above), dim=1)
