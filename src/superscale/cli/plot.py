"""`superscale plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superscale.errors import UsageError


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories; several are drawn over one another.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A PNG; default: curves.png in the run, or here for several runs.")
    ] = None,
) -> None:
    """Draw a run's curves: losses, validation, learning rate, GAN signals."""
    from superscale.files import require_writable
    from superscale.training.run.curves import draw_curves, read_curves

    path = output or (runs[0] if len(runs) == 1 else Path()) / "curves.png"
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: curves are drawn as PNG; expected a name that ends in .png")
    require_writable(path)
    draw_curves([read_curves(run) for run in runs], path)
    print(path)
