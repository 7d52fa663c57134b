"""Is a clip steady? Two figures of a frame and the one before it, in the output and in the original."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from superscale.errors import UsageError
from superscale.image.color import luma
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.flow import consistent, flow, moved
from superscale.metrics.planes import Color, measured_planes

WINDOW_PX, STEP_PX = 8, 4
# Of the original's windows, by how little they change.
STILLEST = 0.1
# Mean square in 8-bit units below which rounding to 8 bits decides: of a difference, 1/6 of it is rounding alone.
FLOOR = 0.25


@dataclass(frozen=True)
class Frames:
    """A frame and the one before it, (B, C, H, W) each, of one size."""

    now: Tensor
    before: Tensor

    def __post_init__(self) -> None:
        if self.now.shape != self.before.shape:
            raise UsageError(f"expected two frames alike, got {tuple(self.now.shape)} after {tuple(self.before.shape)}")


def warping_error(super_res: Frames, high_res: Frames, *, data_range: float, border: int, color: Color) -> Tensor:
    """How much a frame differs from the one before, moved as the original moves, (B,) float64: root of the mean square, in 8-bit levels.

    Where the original's flow is not consistent, as at edges of what moves, nothing is counted (Lai 2018). 0 for a clip that only moves;
    an original has some, from noise and from what the flow does not find. Arguments as in `psnr`. Raises UsageError.
    """
    now, before = (_seen(frame, data_range) for frame in (high_res.now, high_res.before))
    by = flow(now, before)
    counts = consistent(by, flow(before, now))
    expected = moved(super_res.before, by.to(super_res.before.dtype), "bicubic")
    pair = measured_planes(super_res.now, expected, data_range=data_range, border=border, color=color)
    inside = counts[..., border : counts.shape[-2] - border, border : counts.shape[-1] - border].to(pair[0].dtype)
    squares = ((pair[0] - pair[1]) * (PEAK_8BIT / data_range)).square().mean(1, keepdim=True)
    error: Tensor = ((squares * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)).sqrt()
    return error


def flicker(super_res: Frames, high_res: Frames, *, data_range: float, border: int, color: Color) -> Tensor:
    """Variance over time where the original stands still, in the output over in the original, (B,) float64.

    Still is the tenth of the original's 8x8 windows that changes least. About 1 for an output as steady as the original, more for one
    that flickers. Arguments as in `psnr`. Raises UsageError when less than 8x8 pixels are left inside the border.
    """
    ours, truth = (_change(frames, data_range, border, color) for frames in (super_res, high_res))
    still = truth.topk(max(1, round(STILLEST * truth.shape[1])), dim=1, largest=False).indices
    return (ours.gather(1, still).mean(1) + FLOOR) / (truth.gather(1, still).mean(1) + FLOOR)


def _seen(planes: Tensor, data_range: float) -> Tensor:
    """What the flow is found in: luma, in [0, 1]."""
    scaled = planes.float() / data_range
    return luma(scaled) / PEAK_8BIT if scaled.shape[1] == 3 else scaled.mean(1, keepdim=True)


def _change(frames: Frames, data_range: float, border: int, color: Color) -> Tensor:
    """(B, windows): mean square of the change from the frame before, in 8-bit units."""
    now, before = measured_planes(frames.now, frames.before, data_range=data_range, border=border, color=color)
    if min(now.shape[-2:]) < WINDOW_PX:
        raise UsageError(f"flicker needs {WINDOW_PX}x{WINDOW_PX} pixels inside the border, got {tuple(now.shape[-2:])}")
    squares = ((now - before) * (PEAK_8BIT / data_range)).square().mean(1, keepdim=True)
    return F.avg_pool2d(squares, WINDOW_PX, STEP_PX).flatten(1)
