"""The mesh meter: does a network lay a wave of 2 to 4 pixels over its output, in whatever direction?"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from superscale.errors import UsageError
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.planes import Color, measured_planes

WINDOW_PX, STEP_PX = 32, 16
# Periods in pixels between which a wave counts. Longer ones are drawn by what the image shows.
SHORTEST, LONGEST = 2.0, 4.0
# Waves are compared with those of a period within this many steps of 1/32 cycle a pixel, and farther away than the peak is wide.
ALIKE, WIDTH = 1.0, 2.5
# Power of a window in 8-bit units below which rounding to 8 bits decides.
FLOOR = 1.0 / 12


def mesh(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """How far the highest wave stands out of the output's spectrum, in parts of the original's power there, (B,) float64.

    Power is the mean of 32x32 windows. What a wave stands out of is the mean of all waves of its period: 0 for an output whose power
    falls short of the original's equally in all directions; about 0.3 is what chance makes; at 1, a wave has as much power as the
    original has there, on top of what else the output has. RGB: the mean over channels. Arguments as in `psnr`. Raises UsageError when
    less than 64x64 pixels are left inside the border.
    """
    pair = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    if min(pair[0].shape[-2:]) < 2 * WINDOW_PX:
        side = 2 * WINDOW_PX
        raise UsageError(f"the mesh meter needs {side}x{side} pixels inside the border, got {tuple(pair[0].shape[-2:])}")
    batch, channels = pair[0].shape[:2]
    # Every plane on its own: (B*C, 1, H, W).
    ours, truth = (planes.flatten(0, 1).unsqueeze(1) * (1 / data_range) for planes in pair)
    peaks, around = surroundings(wave_power(ours) / wave_power(truth))
    return (peaks - around).amax(dim=-1).view(batch, channels).mean(dim=1)


def surroundings(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """One power over another (N, 32, 17) -> (N, waves) each: the waves that count, and the mean of those of about the same period."""
    counts, mean = _rings(ratio.device, ratio.dtype)
    waves = ratio.flatten(1)
    return waves[:, counts], waves @ mean.T


def wave_power(planes: Tensor) -> Tensor:
    """A stack (N, images, H, W) in [0, 1] -> (N, 32, 17): the mean power of each wave, in 8-bit units."""
    windows = planes.unfold(-2, WINDOW_PX, STEP_PX).unfold(-2, WINDOW_PX, STEP_PX) * PEAK_8BIT  # (N, images, rows, columns, 32, 32)
    hann = torch.hann_window(WINDOW_PX, dtype=planes.dtype, device=planes.device)
    hann = hann[:, None] * hann
    windows = windows - windows.mean(dim=(-2, -1), keepdim=True)
    power = torch.fft.rfft2(windows * hann).abs().square() / hann.square().sum()
    return power.mean(dim=(1, 2, 3)) + FLOOR


@cache
def _rings(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Which of the 32x17 waves count (their numbers), and the matrix (waves that count, 32*17) that averages what surrounds each."""
    down = torch.fft.fftfreq(WINDOW_PX, 1 / WINDOW_PX)[:, None].expand(-1, WINDOW_PX // 2 + 1).flatten()
    across = torch.arange(WINDOW_PX // 2 + 1.0).expand(WINDOW_PX, -1).flatten()
    frequency = torch.hypot(down, across)
    counted = (frequency >= WINDOW_PX / LONGEST) & (frequency <= WINDOW_PX / SHORTEST)
    numbers = counted.nonzero().flatten()
    alike = (frequency[numbers, None] - frequency).abs() <= ALIKE
    # A wave and its opposite are the same one: the nearer of the two says how far away it is.
    nearest = torch.minimum(
        torch.hypot(down[numbers, None] - down, across[numbers, None] - across),
        torch.hypot(down[numbers, None] + down, across[numbers, None] + across),
    )
    around = (alike & (nearest > WIDTH)).to(dtype)
    return numbers.to(device), (around / around.sum(dim=1, keepdim=True)).to(device)
