"""`superscale prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def prepare(
    folder: Annotated[Path, typer.Argument(metavar="HR_DIR", help="A folder of photographs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to make.")],
    tile_px: Annotated[int, typer.Option("--tile", min=16, help="Largest side of a sub-image in pixels.")] = 512,
    scale: Annotated[int, typer.Option(min=1, help="Sides are cropped to a multiple of this.")] = 4,
    low_res: Annotated[str, typer.Option(help="Also store bicubic reductions: none, double or uint8 rounding.")] = "none",
) -> None:
    """Cut a folder of photographs into a pack of sub-images that training reads at full speed."""
    from superscale.data.prepare import prepare as make_pack
    from superscale.errors import UsageError

    if low_res not in ("none", "double", "uint8"):
        raise UsageError(f"--low-res must be none, double or uint8, got {low_res!r}")
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("preparing", total=None)
        manifest = make_pack(
            folder,
            output,
            tile_px=tile_px,
            scale=scale,
            low_res=low_res,  # type: ignore[arg-type]
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for source, why in manifest.skipped:
        print(f"skipped {source}: {why}", file=sys.stderr)
    photos = len({tile.source for tile in manifest.tiles})
    print(f"{output}: {len(manifest.tiles)} sub-images of {photos} photos, {len(manifest.skipped)} skipped")
