"""`superscale evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

BASELINES = ("bicubic", "bilinear")


def evaluate(
    data: Annotated[list[Path], typer.Option(help="High-resolution pictures, or HR/ with LR_x4/; repeatable.")],
    model: Annotated[list[str] | None, typer.Option(help="Name, file, bicubic or bilinear; repeatable.")] = None,
    scale: Annotated[int, typer.Option(min=1)] = 4,
    metric: Annotated[str, typer.Option(help="Comma-separated: psnr, ssim.")] = "psnr,ssim",
    color: Annotated[str, typer.Option(help="y (the papers') or rgb.")] = "y",
    border: Annotated[int | None, typer.Option(min=0, help="Pixels cut off each side; default: the scale.")] = None,
    lr_convention: Annotated[str, typer.Option(help="double or uint8: rounding of the bicubic reduction.")] = "double",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Measure models against high-resolution pictures; every number is printed with its convention."""
    from superscale.data.pairs import PairFolder
    from superscale.errors import UnknownNameError, UsageError
    from superscale.evaluation.benchmark import METRICS, Convention, Row, benchmark
    from superscale.evaluation.report import to_json, to_text

    metrics = [name.strip() for name in metric.split(",") if name.strip()]
    for name in metrics:
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)
    if color not in ("y", "rgb"):
        raise UsageError(f"--color must be y or rgb, got {color!r}")
    if lr_convention not in ("double", "uint8"):
        raise UsageError(f"--lr-convention must be double or uint8, got {lr_convention!r}")
    folders = [PairFolder(folder, scale, lr_convention) for folder in data]  # type: ignore[arg-type]
    models = [(name, _upscale(name, scale, device)) for name in model or ["bicubic"]]
    cut = scale if border is None else border
    rows: list[Row] = []
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        for folder in folders:
            for name, upscale in models:
                task = bar.add_task(f"{name} on {folder.label}", total=len(folder))
                rows += benchmark(
                    upscale,
                    folder,
                    model=name,
                    data=folder.label,
                    metrics=metrics,
                    border=cut,
                    color=color,  # type: ignore[arg-type]
                    progress=lambda done, task=task: bar.update(task, completed=done),  # type: ignore[misc]
                )
    sources = " / ".join(dict.fromkeys(folder.low_res_source for folder in folders))
    convention = Convention(scale=scale, color=color, border=cut, low_res=sources)  # type: ignore[arg-type]
    print(json.dumps(to_json(rows, convention)) if as_json else to_text(rows, convention))


def _upscale(name: str, scale: int, device: str) -> Callable[[Any], Any]:
    if name in BASELINES:
        from superscale.image.resize import imresize

        return lambda low_res: imresize(low_res, scale, name)  # type: ignore[arg-type]
    from superscale.inference.upscaler import Upscaler

    return Upscaler(name, scale=scale, device=device)
