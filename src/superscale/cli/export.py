"""`superscale export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from superscale.errors import UsageError


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a bundled model, or a model file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write; .onnx.")],
    half: Annotated[bool, typer.Option("--half", help="Half-precision weights: half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a model as ONNX, checked against the original in ONNX Runtime."""
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: expected a name that ends in .onnx")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; use --overwrite")
    from superscale.files import require_writable

    require_writable(output)
    from superscale.weights.onnx import OPSET, export_onnx
    from superscale.weights.store import find_model

    difference = export_onnx(find_model(model), output, half)
    print(output)
    print(f"ONNX opset {OPSET}; differs from the original by at most {difference:.1e} of white", file=sys.stderr)
