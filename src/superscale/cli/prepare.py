"""`superscale prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superscale.cli.effect import CLUSTER, refuse
from superscale.cli.progress import say, shown
from superscale.cli.remote import HERE, ON, WORKERS, cluster_of
from superscale.errors import UsageError

if TYPE_CHECKING:
    from superscale.training.recipe.schema import Recipe

PREVIEW = "preview.png"
PREVIEW_PATCH_PX = 192
REDUCTIONS = ("none", "double", "uint8")


def prepare(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="HR_DIR", help="A folder of photographs.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to make.")],
    tile_px: Annotated[int, typer.Option("--tile", min=16, help="Largest side of a sub-image in pixels.")] = 512,
    scale: Annotated[int, typer.Option(min=1, help="Sides are cropped to a multiple of this.")] = 4,
    low_res: Annotated[
        str | None,
        typer.Option(
            metavar="HOW|DIR",
            help="Also store low-res images: bicubic, rounded as double or uint8, or those of a folder. "
            "Default: LR_x4/ where it lies beside HR/, else none.",
        ),
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="1: grey, 3: RGB, N: bands; default: as the photographs.")] = None,
    bits: Annotated[int | None, typer.Option(help="8 or 16 a sample; default: as the photographs.")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help=f"Also write {PREVIEW}: what a network will see; of a finished pack, only that.")
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="The recipe whose images --preview shows. Default: bicubic.")
    ] = None,
    on: Annotated[str, ON] = HERE,
    workers: Annotated[int | None, WORKERS] = None,
) -> None:
    """Pack a folder of photographs, or of HR/ and LR_x4/, for training: sub-images in one file.

    \b
    superscale prepare photos/ -o pack
    superscale prepare photos/ -o pack --preview --recipe srgan_x4
    """
    from superscale.data.pack import MANIFEST

    if on == HERE:
        refuse(context, CLUSTER, "for the workers of --on ray only")
    if low_res not in (None, *REDUCTIONS) and not Path(low_res).is_dir():
        raise UsageError(f"--low-res must be {', '.join(REDUCTIONS)} or a folder of low-resolution pictures, got {low_res!r}")
    if bits not in (None, 8, 16):
        raise UsageError(f"--bits must be 8 or 16, got {bits}")
    if recipe is not None and not preview:
        raise UsageError("--recipe says what --preview shows; give both or neither")
    loaded = _load(recipe)  # before the long work
    whole = True
    if preview and (output / MANIFEST).is_file():
        print(f"{output}: prepared already, only the preview is made", file=sys.stderr)
    else:
        pictures = low_res if low_res is None or low_res in REDUCTIONS else Path(low_res)
        options: dict[str, Any] = {"tile_px": tile_px, "scale": scale, "low_res": pictures, "channels": channels, "bits": bits}
        options["cluster"] = cluster_of(on, 1, workers)
        whole = _prepare(folder, output, options)
    if preview:
        _preview(output, scale, loaded)
    if not whole:
        raise typer.Exit(1)


def _prepare(folder: Path, output: Path, options: dict[str, Any]) -> bool:
    """Whether every picture is in the pack."""
    from rich.console import Console
    from rich.progress import Progress

    from superscale.data.pack import PAIRED
    from superscale.data.prepare import prepare as make_pack
    from superscale.data.sources import left_out

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("preparing", total=None)
        manifest = make_pack(
            folder, output, **options, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    for source, why in manifest.skipped:
        say(f"skipped {shown(source)}: {shown(why)}")
    for source, down, right in manifest.shifts:
        print(f"shifted {source}: its low-res picture lies {_where(down, right)}", file=sys.stderr)
    if manifest.skipped:
        say(f"{len(manifest.skipped)} of the pictures were left out; the pack holds the others")
    for place in (folder, options["low_res"]):
        if isinstance(place, Path) and (others := left_out(place)):
            print(f"skipped: {others}", file=sys.stderr)
    photos = len({tile.source for tile in manifest.tiles})
    kind = "pairs" if manifest.low_res == PAIRED else "photos"
    shifted = f", {len(manifest.shifts)} shifted" if manifest.shifts else ""
    print(f"{output}: {len(manifest.tiles)} sub-images of {photos} {kind}, {len(manifest.skipped)} skipped{shifted}")
    return not manifest.skipped


def _where(down: float, right: float) -> str:
    rows = f"{abs(down):.2f} low-res pixels too {'low' if down > 0 else 'high'}"
    return f"{rows} and {abs(right):.2f} too far {'right' if right > 0 else 'left'}"


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
