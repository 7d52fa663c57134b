"""`superscale blend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superscale.errors import UsageError


def blend(
    first: Annotated[str, typer.Argument(metavar="A", help="The first model: a name or a file, usually PSNR-oriented.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The second, of the same network, usually a GAN.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The model file to write.")],
    alpha: Annotated[float, typer.Option(metavar="0..1", help="(1 - alpha) * A + alpha * B.")] = 0.8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Interpolate between the weights of two models (network interpolation, ESRGAN section 3.4).

    \b
    superscale blend rrdb-lite-x4 esrgan-lite-x4 --alpha 0.8 -o a.safetensors
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: expected a name that ends in .safetensors")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; use --overwrite")
    from superscale.files import require_writable

    require_writable(output)
    from superscale.weights.blend import blend_named
    from superscale.weights.checkpoint import save_model
    from superscale.weights.store import model_path

    if output.exists() and any(output.samefile(model_path(name)) for name in (first, second) if model_path(name).exists()):
        raise UsageError(f"{output} is one of the models that are blended; use another -o")
    blended = blend_named(first, second, alpha)
    save_model(output, blended.generator, blended.card)
    print(output)
