"""The table of metrics: what each needs, its unit, its digits and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from superscale.errors import UnknownNameError, UsageError
from superscale.image.pixels import to_float
from superscale.metrics.color_shift import delta_e
from superscale.metrics.dists import dists
from superscale.metrics.grid import grid
from superscale.metrics.low_res_psnr import lr_psnr
from superscale.metrics.lpips import BACKBONES, lpips
from superscale.metrics.niqe import NaturalModel, niqe, shipped_model
from superscale.metrics.planes import Color
from superscale.metrics.psnr import psnr
from superscale.metrics.ssim import ms_ssim, ssim

# metric -> what it learned from people or pictures: LPIPS's network with its weights, NIQE's model of clean photographs
Learned = Mapping[str, nn.Module | NaturalModel]
NOTHING_LEARNED: Learned = {}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One output beside its truth, (1, 3, H, W) in [0, 1], its input if there is one, and the convention to measure under."""

    super_res: Tensor
    high_res: Tensor
    low_res: Tensor | None
    border: int
    color: Color
    learned: Learned = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """One metric of one sample; ``note`` says what the table's convention line does not."""

    measure: Callable[[Sample], Tensor]
    unit: str
    higher_is_better: bool
    digits: int = 4
    note: str = ""


def _full_reference(function: Callable[..., Tensor], sample: Sample) -> Tensor:
    return function(sample.super_res, sample.high_res, data_range=1.0, border=sample.border, color=sample.color)


def _lr_psnr(sample: Sample) -> Tensor:
    if sample.low_res is None:
        raise UsageError("lr-psnr compares with the low-resolution input, and none was given")
    scale = sample.high_res.shape[-1] // sample.low_res.shape[-1]
    # Rounded up: what the other metrics do not see is not seen here either.
    border = -(-sample.border // scale)
    return lr_psnr(sample.super_res, sample.low_res, scale=scale, data_range=1.0, border=border, color=sample.color)


def _grid(sample: Sample) -> Tensor:
    return grid(sample.super_res, data_range=1.0, border=sample.border, color=sample.color)


def _delta_e(sample: Sample) -> Tensor:
    return delta_e(sample.super_res, sample.high_res, data_range=1.0, border=sample.border)


def _by_network(function: Callable[..., Tensor], name: str, sample: Sample) -> Tensor:
    network = sample.learned.get(name)
    if not isinstance(network, nn.Module):
        raise UsageError(f"{name} needs its network with published weights: learned={{{name!r}: ...}}")
    return function(sample.super_res, sample.high_res, network, data_range=1.0, border=sample.border)


def _niqe(sample: Sample) -> Tensor:
    model = sample.learned.get("niqe")
    natural = model if isinstance(model, NaturalModel) else shipped_model()
    return niqe(sample.super_res, natural, data_range=1.0, border=sample.border)


LPIPS = tuple(f"lpips-{name}" for name in BACKBONES)
METRICS: dict[str, Metric] = {
    "psnr": Metric(partial(_full_reference, psnr), "dB", True, 2),
    "ssim": Metric(partial(_full_reference, ssim), "", True),
    "ms-ssim": Metric(partial(_full_reference, ms_ssim), "", True, note="five scales, Wang 2003"),
    "lr-psnr": Metric(_lr_psnr, "dB", True, 2, "output reduced by MATLAB's bicubic, unrounded, against the input"),
    "delta-e": Metric(_delta_e, "ΔE00", False, 3, "CIEDE2000, always RGB (sRGB, D65), mean over pixels"),
    "grid": Metric(_grid, "", False, 2, "no reference; about 1 in photographs, above 1.5 a grid of 2 or 4 pixels"),
    **{name: Metric(partial(_by_network, lpips, name), "", False, 4, "v0.1, always RGB") for name in LPIPS},
    "dists": Metric(partial(_by_network, dists, "dists"), "", False, 4, "always RGB, pictures at their own size"),
    "niqe": Metric(_niqe, "", False, 3, "no reference, always Y; values compare only within one model of clean photographs"),
}

# Metrics of likeness to the eye: one axis of the perception-distortion plane, the first that was measured.
PERCEPTUAL = (*LPIPS, "dists", "niqe")


def measure(
    super_res: NDArray[np.uint8],
    high_res: NDArray[np.uint8],
    metrics: Sequence[str],
    *,
    border: int,
    color: Color,
    low_res: NDArray[np.uint8] | None = None,
    learned: Learned = NOTHING_LEARNED,
) -> dict[str, float]:
    """The named metrics of one 8-bit picture. Raises UnknownNameError for a metric that is not in the table."""
    for name in metrics:
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)
    sample = Sample(
        super_res=torch.from_numpy(to_float(super_res))[None],
        high_res=torch.from_numpy(to_float(high_res))[None],
        low_res=None if low_res is None else torch.from_numpy(to_float(low_res))[None],
        border=border,
        color=color,
        learned=learned,
    )
    return {name: float(METRICS[name].measure(sample)) for name in metrics}


def number(metric: str, value: float) -> str:
    """A value as every table prints it."""
    return f"{value:.{METRICS[metric].digits}f}"


def heading(metric: str) -> str:
    """Name, unit and an arrow that points to better."""
    entry = METRICS[metric]
    unit = f" {entry.unit}" if entry.unit else ""
    return f"{metric.upper()}{unit} {'↑' if entry.higher_is_better else '↓'}"


def is_worse(metric: str, value: float, than: float) -> bool:
    return value < than if METRICS[metric].higher_is_better else value > than
