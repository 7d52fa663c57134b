"""`superscale fit-niqe`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from superscale.errors import DataError, UsageError


def fit_niqe(
    photos: Annotated[Path, typer.Argument(help="Clean photographs, at least 96x96 pixels each; about a hundred are enough.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file (JSON), for evaluate --niqe-model.")],
    note: Annotated[
        str | None, typer.Option(help="Which photographs these are, kept in the file; default: the folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Fit the model of clean photographs that the metric NIQE compares with; values compare only within one model."""
    import torch
    from rich.console import Console
    from rich.progress import track

    from superscale.files import require_writable, write_text
    from superscale.image.io import as_rgb8, list_images, read_image
    from superscale.image.pixels import to_float
    from superscale.metrics.niqe import fit, to_json

    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; use --overwrite")
    require_writable(output)
    if not photos.is_dir():
        raise DataError(f"{photos}: expected a folder of clean photographs")
    paths = list_images(photos)
    seen = track(paths, "photos", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    read = ((str(path), torch.from_numpy(to_float(as_rgb8(read_image(path), str(path))))[None]) for path in seen)
    model = fit(read, note or photos.resolve().name)
    write_text(output, to_json(model))
    print(output)
    print(f"{model.facts['blocks']} sharp blocks of {model.facts['photos']} photos", file=sys.stderr)
