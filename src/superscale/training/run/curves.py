"""A run's metrics.jsonl as curves over the images seen: losses, validation, learning rate, and what else it wrote down."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscale.errors import MissingExtraError, UsageError
from superscale.files import write_bytes
from superscale.reading import read_text, reason

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = "metrics.jsonl"
# Panels in their order: title -> the numbers in it. Numbers not named here follow, a panel each.
PANELS: dict[str, tuple[str, ...]] = {
    "loss": ("loss",),
    "pixel loss": ("pixel",),
    "perceptual loss": ("perceptual",),
    "adversarial loss": ("adversarial",),
    "grid loss": ("grid",),
    "discriminator loss": ("discriminator",),
    "validation PSNR (dB)": ("validation_psnr",),
    "validation SSIM": ("validation_ssim",),
    "learning rate": ("learning_rate",),
    "discriminator accuracy": ("accuracy_real", "accuracy_fake"),
    "gradient norm": ("gradient_norm",),
}
UNDRAWN = ("stage", "images")
COLUMNS = 3
PANEL_INCHES = (4.4, 2.6)
# Beyond this ratio of the largest to the smallest value, a loss is read better on a logarithmic axis.
LOGARITHMIC_BEYOND = 20
DASHES = ("-", "--", ":")


@dataclass(frozen=True)
class Curves:
    """``series``: name -> (images seen since the run began, value), in order. ``borders``: where a later stage begins."""

    name: str
    series: dict[str, list[tuple[int, float]]]
    borders: tuple[int, ...]


# The largest integer up to which all are floats.
MOST_IMAGES = 2**53


def read_curves(run_dir: Path) -> Curves:
    """The numbers of a run. A row written twice, since the run went on from an earlier state, counts as written last.

    Raises UsageError when the directory holds no run, or its metrics are damaged elsewhere than in a last, unfinished line.
    """
    path = run_dir / METRICS
    stages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    try:
        lines = read_text(path).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{run_dir}: no {METRICS}; expected the directory of a run") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)})") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not 0 <= (images := int(row["images"])) <= MOST_IMAGES:
                raise ValueError(f"{images} images")
            numbers = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
            stages[str(row["stage"])].append({**numbers, "images": images})
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            if number < len(lines):
                raise UsageError(f"{path}, line {number}: not a row of metrics ({error})") from error
    if not stages:
        raise UsageError(f"{path}: no rows yet; the first is written at the first report")
    values: dict[str, dict[int, float]] = defaultdict(dict)
    borders: list[int] = []
    before = 0
    for rows in stages.values():
        borders.append(before)
        for row in rows:
            for name, value in row.items():
                if name not in UNDRAWN:
                    values[name][before + row["images"]] = value
        before += max(row["images"] for row in rows)
    return Curves(run_dir.resolve().name, {name: sorted(points.items()) for name, points in values.items()}, tuple(borders[1:]))


def panels(runs: Sequence[Curves]) -> dict[str, tuple[str, ...]]:
    """The panels that these runs have numbers for."""
    present = dict.fromkeys(name for run in runs for name in run.series)
    known = {name for names in PANELS.values() for name in names}
    chosen = {title: tuple(name for name in names if name in present) for title, names in PANELS.items()}
    chosen |= {name.replace("_", " "): (name,) for name in present if name not in known}
    return {title: names for title, names in chosen.items() if names}


def draw_curves(runs: Sequence[Curves], path: Path) -> None:
    """Draw runs over one another into a PNG, written whole. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("superscale plot", "plot") from error
    chosen = panels(runs)
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.4), layout="constrained")
    for number, (title, names) in enumerate(chosen.items(), start=1):
        _draw_panel(figure.add_subplot(rows, columns, number), title, names, runs)
    figure.suptitle(" · ".join(run.name for run in runs))
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    write_bytes(path, data.getvalue())


def _draw_panel(axes: Axes, title: str, names: Sequence[str], runs: Sequence[Curves]) -> None:
    drawn: list[float] = []
    for index, run in enumerate(runs):
        for name, dash in zip(names, DASHES, strict=False):
            points = run.series.get(name, [])
            # A few points, such as validations, would be lost as a line alone.
            marker = "." if len(points) < 30 else ""
            label = " ".join(part for part in (run.name if len(runs) > 1 else "", name if len(names) > 1 else "") if part)
            axes.plot(*_columns(points), dash, color=f"C{index}", marker=marker, linewidth=1.2, label=label)
            drawn += [value for _, value in points]
    if len(runs) == 1:
        for border in runs[0].borders:
            axes.axvline(border, color="0.7", linewidth=0.8)
    if "loss" in title and min(drawn) > 0 and max(drawn) > LOGARITHMIC_BEYOND * min(drawn):
        axes.set_yscale("log")
    axes.set_xlim(0, max(images for run in runs for points in run.series.values() for images, _ in points))
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("images seen", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if len(runs) > 1 or len(names) > 1:
        axes.legend(fontsize=7)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [images for images, _ in points], [value for _, value in points]
