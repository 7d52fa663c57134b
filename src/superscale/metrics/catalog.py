"""The table of metrics: how each is measured of one output; `metrics.notation` says how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from superscale.errors import UsageError
from superscale.image.pixels import to_float
from superscale.metrics.color_shift import delta_e
from superscale.metrics.dists import dists
from superscale.metrics.features import feature_distance
from superscale.metrics.grain import grain
from superscale.metrics.grid import grid
from superscale.metrics.low_res_psnr import lr_psnr
from superscale.metrics.lpips import lpips
from superscale.metrics.mesh import mesh
from superscale.metrics.niqe import NaturalModel, niqe, shipped_model
from superscale.metrics.notation import LPIPS, require_metrics
from superscale.metrics.planes import Color
from superscale.metrics.psnr import psnr
from superscale.metrics.ssim import ms_ssim, ssim
from superscale.metrics.steadiness import Frames, flicker, warping_error

# metric -> what it learned from people or pictures: LPIPS's network with its weights, NIQE's model of clean photographs
Learned = Mapping[str, nn.Module | NaturalModel]
NOTHING_LEARNED: Learned = {}


# The output and the truth of the frame before.
Before = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One output beside its truth, (1, 3, H, W) in [0, 1], its input if there is one, what comes before it in a clip, and the convention
    to measure under."""

    super_res: Tensor
    high_res: Tensor
    low_res: Tensor | None
    border: int
    color: Color
    learned: Learned = field(default_factory=dict)
    before: tuple[Tensor, Tensor] | None = None


def _full_reference(function: Callable[..., Tensor], sample: Sample) -> Tensor:
    return function(sample.super_res, sample.high_res, data_range=1.0, border=sample.border, color=sample.color)


def _lr_psnr(sample: Sample) -> Tensor:
    if sample.low_res is None:
        raise UsageError("lr-psnr compares with the low-resolution input, and none was given")
    scale = sample.high_res.shape[-1] // sample.low_res.shape[-1]
    # Rounded up: what the other metrics do not see is not seen here either.
    border = -(-sample.border // scale)
    return lr_psnr(sample.super_res, sample.low_res, scale=scale, data_range=1.0, border=border, color=sample.color)


def _by_network(function: Callable[..., Tensor], name: str, sample: Sample) -> Tensor:
    network = sample.learned.get(name)
    if not isinstance(network, nn.Module):
        raise UsageError(f"{name} needs its network with published weights: learned={{{name!r}: ...}}")
    return function(sample.super_res, sample.high_res, network, data_range=1.0, border=sample.border)


def _over_time(function: Callable[..., Tensor], sample: Sample) -> Tensor:
    if sample.before is None:
        raise UsageError("compares with the picture before, and there is none")
    frames = (Frames(now, before) for now, before in zip((sample.super_res, sample.high_res), sample.before, strict=True))
    return function(*frames, data_range=1.0, border=sample.border, color=sample.color)


def _niqe(sample: Sample) -> Tensor:
    model = sample.learned.get("niqe")
    natural = model if isinstance(model, NaturalModel) else shipped_model()
    return niqe(sample.super_res, natural, data_range=1.0, border=sample.border)


# metric -> its value (1,) of a sample
MEASURES: dict[str, Callable[[Sample], Tensor]] = {
    "psnr": partial(_full_reference, psnr),
    "ssim": partial(_full_reference, ssim),
    "ms-ssim": partial(_full_reference, ms_ssim),
    "lr-psnr": _lr_psnr,
    "delta-e": lambda sample: delta_e(sample.super_res, sample.high_res, data_range=1.0, border=sample.border),
    "grid": lambda sample: grid(sample.super_res, data_range=1.0, border=sample.border, color=sample.color),
    "grain": partial(_full_reference, grain),
    "mesh": partial(_full_reference, mesh),
    "features": partial(_by_network, feature_distance, "features"),
    **{name: partial(_by_network, lpips, name) for name in LPIPS},
    "dists": partial(_by_network, dists, "dists"),
    "niqe": _niqe,
    "warping": partial(_over_time, warping_error),
    "flicker": partial(_over_time, flicker),
}


def _planes(pixels: NDArray[Any], peak: int | None) -> Tensor:
    """Samples (H, W, C) -> (1, C, H, W) in [0, 1]."""
    return torch.from_numpy(to_float(pixels if peak is None else pixels / np.float32(peak)))[None]


def measure(
    super_res: NDArray[Any],
    high_res: NDArray[Any],
    metrics: Sequence[str],
    *,
    border: int,
    color: Color,
    low_res: NDArray[Any] | None = None,
    before: Before | None = None,
    learned: Learned = NOTHING_LEARNED,
    peak: int | None = None,
) -> dict[str, float]:
    """The named metrics of one picture, uint8 or uint16, against ``peak``, by default the largest value of the type.

    Raises UnknownNameError for a metric that is not in the table.
    """
    require_metrics(metrics)
    sample = Sample(
        super_res=_planes(super_res, peak),
        high_res=_planes(high_res, peak),
        low_res=None if low_res is None else _planes(low_res, peak),
        before=None if before is None else (_planes(before[0], peak), _planes(before[1], peak)),
        border=border,
        color=color,
        learned=learned,
    )
    return {name: float(MEASURES[name](sample)) for name in metrics}
