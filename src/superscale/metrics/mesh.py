"""The mesh meter: does a network lay a wave of 2 to 4 pixels over its output, in whatever direction?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
# Power of a window in 8-bit units below which it counts less: rounding to 8 bits alone is a twelfth.
FLOOR = 1.0
# Added to means of both, in the same parts: without it a ratio of nothing to nothing would be a peak.
ROUNDING = 1e-4


def alone(own: Tensor) -> Tensor:
    """The stack of one process."""
    return own[None]


def mesh(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color) -> Tensor:
    """How far the highest wave stands out of the output's spectrum, (B,) float64; 0 where no wave does.

    Power is the mean of 32x32 windows, each in parts of the original's power in it, so that hard edges do not drown faint texture. A
    wave is expected to have the original's power there, times what waves of its period have on average; what it has above that is
    divided by the mean power of the original's waves of all these periods. RGB: the mean over channels. Arguments as in `psnr`. Raises
    UsageError when less than 64x64 pixels are left inside the border.
    """
    pair = measured_planes(super_res, high_res, data_range=data_range, border=border, color=color)
    if min(pair[0].shape[-2:]) < 2 * WINDOW_PX:
        side = 2 * WINDOW_PX
        raise UsageError(f"the mesh meter needs {side}x{side} pixels inside the border, got {tuple(pair[0].shape[-2:])}")
    batch, channels = pair[0].shape[:2]
    # Every plane on its own: (B*C, 1, H, W).
    ours, truth = (planes.flatten(0, 1).unsqueeze(1) * (1 / data_range) for planes in pair)
    waves = excess(ours, truth)
    peaks = (waves.share * (waves.ratio - waves.around)).amax(dim=-1)
    return peaks.view(batch, channels).mean(dim=1)


@dataclass(frozen=True)
class Waves:
    """Of the waves that count, (N, waves) each: power over the original's, the mean of that over waves of about the same period, and
    the original's power over its mean.
    """

    ratio: Tensor
    around: Tensor
    share: Tensor


def excess(super_res: Tensor, high_res: Tensor, everywhere: Callable[[Tensor], Tensor] = alone) -> Waves:
    """Compare two stacks (N, images, H, W) in [0, 1]. ``everywhere``: from a tensor to the stack of those of all processes."""
    ours, truth = _windows(super_res), _windows(high_res)
    weight = 1 / (truth.mean(dim=(-2, -1), keepdim=True) + FLOOR)
    means = torch.stack([(windows * weight).mean(dim=(1, 2, 3)) for windows in (ours, truth)])
    power, expected = (everywhere(means).mean(dim=0) + ROUNDING).flatten(2)
    counts, mean = _rings(power.device, power.dtype)
    ratio = power / expected
    return Waves(ratio[:, counts], ratio @ mean.T, expected[:, counts] / expected[:, counts].mean(dim=1, keepdim=True))


def _windows(planes: Tensor) -> Tensor:
    """(N, images, H, W) in [0, 1] -> (N, images, rows, columns, 32, 17): the power of each window's waves in 8-bit units."""
    windows = planes.unfold(-2, WINDOW_PX, STEP_PX).unfold(-2, WINDOW_PX, STEP_PX) * PEAK_8BIT
    hann = torch.hann_window(WINDOW_PX, dtype=planes.dtype, device=planes.device)
    hann = hann[:, None] * hann
    windows = windows - windows.mean(dim=(-2, -1), keepdim=True)
    power: Tensor = torch.fft.rfft2(windows * hann).abs().square() / hann.square().sum()
    return power


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
