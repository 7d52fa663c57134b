"""How each metric is written: its unit, its digits, which way is better, and what a table must say of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from superscale.errors import UnknownNameError


@dataclass(frozen=True)
class Metric:
    """How one metric is written; ``note`` says what a table's convention does not."""

    unit: str
    higher_is_better: bool
    digits: int = 4
    note: str = ""


LPIPS = ("lpips-alex", "lpips-vgg", "lpips-squeeze")
METRICS: dict[str, Metric] = {
    "psnr": Metric("dB", True, 2),
    "ssim": Metric("", True),
    "ms-ssim": Metric("", True, note="five scales, Wang 2003"),
    "lr-psnr": Metric("dB", True, 2, "output reduced by MATLAB's bicubic, unrounded, against the input"),
    "delta-e": Metric("ΔE00", False, 3, "CIEDE2000, always RGB (sRGB, D65), mean over pixels"),
    "grid": Metric("", False, 2, "no reference; about 1 in photographs, above 1.5 a grid of 2 or 4 pixels"),
    "grain": Metric("", False, 2, "on what is flat in the truth; about 1 for a faithful output, above 1.5 a grain"),
    "mesh": Metric("", False, 2, "the highest wave of 2 to 4 pixels over its surroundings, by power; above 1 a mesh"),
    "features": Metric("", False, 4, "VGG19's features in small, by LPIPS's formula without its weights, always RGB"),
    **dict.fromkeys(LPIPS, Metric("", False, 4, "v0.1, always RGB")),
    "dists": Metric("", False, 4, "always RGB, pictures at their own size"),
    "niqe": Metric("", False, 3, "no reference, always Y; values compare only within one model of clean photographs"),
    "warping": Metric("levels", False, 2, "of each picture against the one before it, moved by the original's optical flow"),
    "flicker": Metric("", False, 2, "changes where the original stands still; about 1 where it is as steady as the original"),
}

# What compares a picture with the one before it, in the order of their names: for the frames of a clip.
OVER_TIME = ("warping", "flicker")
# Metrics of likeness to the eye: one axis of the perception-distortion plane, the first that was measured.
PERCEPTUAL = (*LPIPS, "dists", "features", "niqe")


def require_metrics(names: Iterable[str]) -> None:
    """Raise UnknownNameError for the first name that is no metric."""
    for name in names:
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)


def number(metric: str, value: float) -> str:
    """A value as every table prints it."""
    return f"{value:.{METRICS[metric].digits}f}"


def heading(metric: str) -> str:
    """Name, unit and an arrow that points to better."""
    entry = METRICS[metric]
    unit = f" {entry.unit}" if entry.unit else ""
    return f"{metric.upper()}{unit} {'↑' if entry.higher_is_better else '↓'}"


def is_worse(metric: str, value: float, than: float) -> bool:
    """Whether one value is worse than another; equal ones are not."""
    return value < than if METRICS[metric].higher_is_better else value > than
