"""`superscale export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from superscale.errors import UsageError


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a bundled model, or a model file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file to write; .onnx, .xml (OpenVINO) or .param (ncnn).")
    ],
    half: Annotated[bool, typer.Option("--half", help="Half-precision weights: half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a model for other programs, checked against the original in the program that the format is for."""
    from superscale.files import require_writable
    from superscale.weights.export import ABOUT, EXPORTS
    from superscale.weights.export import export as write
    from superscale.weights.store import find_stored, model_path
    from superscale.weights.stored import IN_TWO_FILES

    if output.suffix not in EXPORTS:
        raise UsageError(f"{output}: expected a name that ends in {' or '.join(EXPORTS)}")
    written = [output]
    if output.suffix in IN_TWO_FILES:
        written.append(numbers := output.with_suffix(".bin"))
        for other in (output.with_suffix(suffix) for suffix in IN_TWO_FILES if suffix != output.suffix):
            if other.exists():
                raise UsageError(f"{numbers} belongs to {other}; use another -o")
    for file in written:
        if file.exists() and not overwrite:
            raise UsageError(f"{file} exists; use --overwrite")
        if file.exists() and (path := model_path(model)).exists() and file.samefile(path):
            raise UsageError(f"{file} is the model that is exported; use another -o")
    require_writable(output)
    difference = write(find_stored(model), output, half)
    print(output)
    print(f"{ABOUT[output.suffix]}; differs from the original by at most {difference:.1e} of white", file=sys.stderr)
