"""The mean power spectrum of a picture's rows, in which a grid of 4 or 2 pixels stands out as a line."""

from __future__ import annotations

import torch
from torch import Tensor

SEGMENT_PX = 64
PERIODS = (4, 2)
# Neighbours in the spectrum, in steps of 1/64 cycle a pixel; the nearest two belong to the line itself (Hann window).
NEAREST, FARTHEST = 3, 9
# Segments flatter than half an 8-bit step say nothing; this floor keeps their rounding noise from counting as a picture.
FLOOR = 0.5**2


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
