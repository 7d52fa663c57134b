"""Where a run's batches come from: its pack, prepared from photos if need be, the order of its patches, and how they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from superscale.data.loader import Batch, Load, RawBatch, load_batch, stream, to_device
from superscale.data.matching import split_folder
from superscale.data.mixture import Mixture, mixture_problems, seed_of
from superscale.data.pack import MANIFEST, PAIRED, Pack
from superscale.data.patches import PatchPlan, patch_problems
from superscale.data.prepare import LowRes, prepare, prepare_synthetic
from superscale.data.resident import ResidentPack
from superscale.errors import Cancelled, DataError, RecipeError
from superscale.files import remove_folder, write_text
from superscale.image.io import list_images
from superscale.machine import processes
from superscale.machine.device import free_bytes
from superscale.reading import read_json, reason
from superscale.training.recipe.schema import Recipe
from superscale.training.run.directory import own_pack, own_pack_source

PHOTOS = "photos"
# Of a folder's photos, so many may be damaged.
MOST_SKIPPED = 0.1
# Of a GPU's free memory; the rest is for the networks and what they keep.
RESIDENT_SHARE = 0.25


def open_packs(
    recipe: Recipe, run_dir: Path, stop: Callable[[], bool] = lambda: False, say: Callable[[str], None] = lambda _: None
) -> list[Pack]:
    """The pack of every source of the recipe's data, as `open_pack`."""
    return [open_pack(alone, run_dir, stop, source, say) for source, alone in enumerate(recipe.of_each_source())]


def open_pack(
    recipe: Recipe,
    run_dir: Path,
    stop: Callable[[], bool] = lambda: False,
    source: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Pack:
    """The recipe's data as a pack; a folder of photos, or "synthetic", is prepared in the run directory first.

    Raises Cancelled when ``stop``, asked after every photo, says so (of several processes none is asked: the others wait);
    RecipeError and DataError as `prepared_pack`.
    """
    own = own_pack(run_dir, source)
    if (ready := prepared_pack(recipe, run_dir, source)) is not None:
        if ready == own and (notice := _photos_notice(recipe, own_pack_source(run_dir, source))) is not None:
            say(notice)
        pack = Pack(ready)
        if recipe.data.verify and processes.rank() == 0:
            pack.verify()
        return pack
    write_text(own_pack_source(run_dir, source), json.dumps(_source(recipe) | {PHOTOS: _photos(recipe)}))
    if recipe.data.path == "synthetic":
        prepare_synthetic(own, side_px=max(128, recipe.data.patch_px), scale=recipe.scale, channels=recipe.channels)
    else:
        folder = Path(recipe.data.path)
        progress = partial(_unless_stopped, stop)
        low_res = _low_res(recipe, folder)
        prepare(folder, own, scale=recipe.scale, low_res=low_res, channels=recipe.channels, progress=progress)
    pack = Pack(own)
    try:
        _refuse_ruins(recipe, pack)
    except DataError:
        remove_folder(own)  # else the same command would find it and go on
        raise
    return pack


def _refuse_ruins(recipe: Recipe, pack: Pack) -> None:
    """Few damaged photos are told and left out; when they are many, the folder is not what somebody wanted to train on."""
    skipped = len(pack.manifest.skipped)
    photos = skipped + len({tile.source for tile in pack.manifest.tiles})
    if skipped > MOST_SKIPPED * photos:
        name, why = pack.manifest.skipped[0]
        raise DataError(
            f"{recipe.data.path}: {skipped} of {photos} photos cannot be used (the first is {name}: {why}); remove or replace them, or "
            "pack those that can with superscale prepare, and train on the pack",
            ways_out=("data.path",),
        )


def _photos(recipe: Recipe) -> str:
    """What tells a folder of photos from itself at another time: a hash of its files' names and sizes."""
    folder = Path(recipe.data.path)
    if not folder.is_dir():
        return ""
    lines = sorted(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in list_images(folder))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _photos_notice(recipe: Recipe, made_of: Path) -> str | None:
    was = (_made_of(made_of) or {}).get(PHOTOS)
    if was is None or (Path(recipe.data.path).is_dir() and _photos(recipe) == was) or recipe.data.path == "synthetic":
        return None
    return (
        f"{recipe.data.path} is not what it was when this run was begun (files were added, removed or changed): the run goes on with "
        "the photos of then, which it keeps; to train on those of now, begin anew"
    )


def _low_res(recipe: Recipe, folder: Path) -> LowRes | None:
    """What a run's own pack stores of low-resolution pictures; None: the real ones beside the photos."""
    if recipe.data.low_res != "stored":
        return "none"
    return None if split_folder(folder, recipe.scale)[1] else recipe.data.rounding


def _unless_stopped(stop: Callable[[], bool], _done: int, _total: int) -> None:
    if processes.world_size() == 1 and stop():
        raise Cancelled("asked to stop while preparing the photos")


def _source(recipe: Recipe) -> dict[str, object]:
    """What a run's own pack is made of."""
    other = {} if recipe.channels == 3 else {"channels": recipe.channels}
    return {"path": recipe.data.path, "scale": recipe.scale, **other}


def _told(source: Mapping[str, object]) -> str:
    channels = f" in {source['channels']} channels" if "channels" in source else ""
    return f"{source['path']} at scale {source['scale']}{channels}"


def _made_of(path: Path) -> dict[str, object] | None:
    """What `open_pack` wrote; None when it never did. Raises DataError when the file says something else."""
    if not path.is_file():
        return None
    try:
        was = read_json(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({reason(error)}); delete the run directory or begin anew", ways_out=("fresh",)
        ) from error
    if not isinstance(was, dict) or not {"path", "scale"} <= was.keys():
        raise DataError(f"{path}: does not say what the pack is made of; begin anew", ways_out=("fresh",))
    return was


def prepared_pack(recipe: Recipe, run_dir: Path, source: int = 0) -> Path | None:
    """The pack that the recipe names, or the one that this run has made before of its source of that number; None when there is neither.

    Raises RecipeError when the recipe names no data, DataError when this run's own was made of other data than it names.
    """
    if not recipe.data.path:
        raise RecipeError("no training data: name a folder of photos or a prepared pack", ways_out=("data.path",))
    if (Path(recipe.data.path) / MANIFEST).is_file():
        return Path(recipe.data.path)
    own = own_pack(run_dir, source)
    made_of = own_pack_source(run_dir, source)
    if not (own / MANIFEST).is_file():
        return None
    if (was := _made_of(made_of)) is not None and {**was, PHOTOS: None} != (wanted := {**_source(recipe), PHOTOS: None}):
        raise DataError(
            f"{own}: prepared from {_told(was)}, the recipe names {_told(wanted)}; set it back, choose another run directory, or "
            "begin anew",
            ways_out=("run_dir", "fresh"),
        )
    return own


def pack_problems(recipe: Recipe, pack: Pack) -> list[str]:
    """What keeps the recipe from being trained on this pack, a line each."""
    data = recipe.data
    problems = patch_problems(pack, scale=recipe.scale, patch_px=data.patch_px)
    channels = pack.manifest.channels
    if channels not in (1, recipe.channels) or (channels == 1 and recipe.channels not in (1, 3)):
        problems.append(
            f"{pack.folder}: holds pictures of {channels} channels, the generator takes {recipe.channels}; prepare them with "
            f"channels {recipe.channels}, or set generator.channels={channels}"
        )
    stored = pack.manifest.low_res
    if data.low_res == "stored" and stored not in (PAIRED, data.rounding):
        problems.append(f"{pack.folder}: stores low_res {stored!r}, the recipe wants {data.rounding!r}")
    if data.low_res != "stored" and stored == PAIRED:
        problems.append(
            f"{pack.folder}: holds real low-resolution pictures, which data.low_res = {data.low_res!r} does not use; "
            'train on them with data.low_res = "stored", or prepare with low_res none'
        )
    return problems


def patch_plan(recipe: Recipe, packs: Sequence[Pack]) -> PatchPlan | Mixture:
    """The order of the run's patches. Raises DataError with all `pack_problems` and what keeps the packs from being mixed."""
    problems = [problem for pack in packs for problem in pack_problems(recipe, pack)]
    if problems := problems + mixture_problems(packs):
        raise DataError("\n".join(problems))
    plans = [damaged_plan(replace(recipe, seed=seed_of(recipe.seed, source)), pack) for source, pack in enumerate(packs)]
    if len(plans) > 1:
        return Mixture(tuple(plans), recipe.data.shares, recipe.seed)
    return replace(plans[0], degradation=None) if recipe.teacher else plans[0]


def damaged_plan(recipe: Recipe, pack: Pack) -> PatchPlan:
    """The order of patches that are cut from photographs, and what is done to them."""
    data = recipe.data
    return PatchPlan(
        pack,
        scale=recipe.scale,
        patch_px=data.patch_px,
        seed=recipe.seed,
        augment=data.augment,
        degradation=data.degradation,
    )


def batch_loader(plan: PatchPlan | Mixture, stored_low_res: bool, device: torch.device) -> Load:
    """How batches are read: from the pack on a GPU's own memory where it takes a quarter of what is free at most, else on disk."""
    if isinstance(plan, Mixture):
        return plan.loaded_by([batch_loader(own, stored_low_res, device) for own in plan.plans])
    pack = plan.pack
    needed = pack.high_res_samples.size + (pack.low_res_samples.size if stored_low_res else 0)
    if device.type == "cuda" and needed <= RESIDENT_SHARE * (free_bytes(device) or 0):
        return ResidentPack(plan, device, stored_low_res).load
    return partial(load_batch, plan, stored_low_res=stored_low_res)


def ready_batches(load: Load, recipe: Recipe, device: torch.device, start: int) -> Iterator[Batch]:
    """This process's share of the run's batches on the device, for ever, from image ``start`` on; those for a CPU are made ready by the
    thread that reads them."""

    def ready(raw: RawBatch) -> Batch:
        return to_device(raw, device, recipe.scale, recipe.data.rounding, recipe.channels)

    share = partial(stream, start=start, batch=recipe.data.batch, rank=processes.rank(), world_size=processes.world_size())
    if device.type == "cpu":
        yield from share(lambda numbers: ready(load(numbers)))
    else:
        yield from map(ready, share(load))
