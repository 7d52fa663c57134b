"""Optical flow by pyramidal Lucas-Kanade (Bouguet 2001), for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.image.pixels import PEAK_8BIT

WINDOW_PX, ITERATIONS, LEAST_SIDE_PX = 9, 4, 24
# Mean square of a slope, in white's units: where a picture is flatter, noise would decide where it moves.
FLATNESS = (0.5 / PEAK_8BIT) ** 2


def flow(picture: Tensor, other: Tensor) -> Tensor:
    """Two (B, 1, H, W) in [0, 1] -> (B, 2, H, W): by how many pixels, across and down, what is in ``picture`` lies elsewhere in ``other``."""
    pyramid = [(picture, other)]
    while min(pyramid[-1][0].shape[-2:]) >= 2 * LEAST_SIDE_PX:
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    top = pyramid.pop()
    found = _refined(*top, top[0].new_zeros(len(top[0]), 2, *top[0].shape[-2:]))
    for one, two in reversed(pyramid):
        found = _refined(one, two, 2 * F.interpolate(found, one.shape[-2:], mode="bilinear"))
    return found


def _refined(one: Tensor, two: Tensor, found: Tensor) -> Tensor:
    wide = F.pad(one, (1, 1, 1, 1), mode="replicate")
    across, down = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    xx, xy, yy = _mean(across * across) + FLATNESS, _mean(across * down), _mean(down * down) + FLATNESS
    determinant = xx * yy - xy * xy
    for _ in range(ITERATIONS):
        rest = moved(two, found) - one
        x, y = _mean(across * rest), _mean(down * rest)
        step = torch.cat((xy * y - yy * x, xy * x - xx * y), dim=1) / determinant
        found = _mean(found + step.clamp(-1, 1))
    return found


def _mean(planes: Tensor) -> Tensor:
    return F.avg_pool2d(planes, WINDOW_PX, stride=1, padding=WINDOW_PX // 2, count_include_pad=False)


def moved(planes: Tensor, by: Tensor, mode: str = "bilinear") -> Tensor:
    """(B, C, H, W), each pixel fetched from ``by`` (B, 2, H, W) pixels aside; beyond the border, from the border."""
    height, width = planes.shape[-2:]
    columns, rows = _places(by)
    places = torch.stack(((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), dim=-1)
    return F.grid_sample(planes, places, mode=mode, padding_mode="border", align_corners=False)


def _places(by: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(side, dtype=by.dtype, device=by.device) for side in by.shape[-2:])
    return columns + by[:, 0], rows[:, None] + by[:, 1]


def consistent(there: Tensor, back: Tensor) -> Tensor:
    """(B, 1, H, W): whether the flow to another picture ends inside it, and the flow back from there undoes it (Sundaram 2010)."""
    height, width = there.shape[-2:]
    returned = moved(back, there)
    allowed = 0.01 * (there.square() + returned.square()).sum(1) + 0.5
    columns, rows = _places(there)
    inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    return (((there + returned).square().sum(1) <= allowed) & inside)[:, None]
