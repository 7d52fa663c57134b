"""`superscale prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superscale.errors import UsageError

if TYPE_CHECKING:
    from superscale.training.recipe.schema import Recipe

PREVIEW = "preview.png"
PREVIEW_PATCH_PX = 192


def prepare(
    folder: Annotated[Path, typer.Argument(metavar="HR_DIR", help="A folder of photographs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to make.")],
    tile_px: Annotated[int, typer.Option("--tile", min=16, help="Largest side of a sub-image in pixels.")] = 512,
    scale: Annotated[int, typer.Option(min=1, help="Sides are cropped to a multiple of this.")] = 4,
    low_res: Annotated[str, typer.Option(help="Also store bicubic reductions: none, double or uint8 rounding.")] = "none",
    preview: Annotated[
        bool, typer.Option("--preview", help=f"Also write {PREVIEW}: what a network will see; of a finished pack, only that.")
    ] = False,
    recipe: Annotated[str | None, typer.Option(help="The recipe whose pictures --preview shows; default: bicubic.")] = None,
) -> None:
    """Cut a folder of photographs into a pack of sub-images that training reads at full speed."""
    from superscale.data.pack import MANIFEST

    if low_res not in ("none", "double", "uint8"):
        raise UsageError(f"--low-res must be none, double or uint8, got {low_res!r}")
    if recipe is not None and not preview:
        raise UsageError("--recipe says what --preview shows; give both or neither")
    shown = _load(recipe)  # before the long work
    if preview and (output / MANIFEST).is_file():
        print(f"{output}: prepared already, only the preview is made", file=sys.stderr)
    else:
        _prepare(folder, output, tile_px, scale, low_res)
    if preview:
        _preview(output, scale, shown)


def _prepare(folder: Path, output: Path, tile_px: int, scale: int, low_res: str) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from superscale.data.prepare import prepare as make_pack

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


def _load(recipe: str | None) -> Recipe | None:
    from superscale.training.recipe.schema import load_recipe

    return None if recipe is None else load_recipe(recipe)


def _preview(output: Path, scale: int, recipe: Recipe | None) -> None:
    from superscale.data.pack import Pack
    from superscale.data.patches import PatchPlan
    from superscale.data.preview import write_preview

    pack = Pack(output)
    if recipe is None:
        side = min(PREVIEW_PATCH_PX, *(min(tile.height, tile.width) for tile in pack.manifest.tiles)) // scale * scale
        plan = PatchPlan(pack, scale=scale, patch_px=side, seed=0)
        write_preview(plan, output / PREVIEW)
    else:
        data = recipe.data
        plan = PatchPlan(pack, scale=recipe.scale, patch_px=data.patch_px, seed=recipe.seed, degradation=data.degradation)
        write_preview(plan, output / PREVIEW, data.rounding)
    print(output / PREVIEW)
