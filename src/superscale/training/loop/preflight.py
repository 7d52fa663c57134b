"""All that would keep a run from its end, found before its first step and said at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from superscale.data.pack import Pack
from superscale.data.prepare import DEFAULT_TILE_PX, tile_regions
from superscale.errors import ImageError, SuperscaleError
from superscale.image.io import image_size, list_images
from superscale.machine.device import free_bytes, pick_device
from superscale.networks.catalog import DISCRIMINATORS, GENERATORS, build_discriminator, faults
from superscale.networks.generator import Generator
from superscale.training.loop.first_generator import first_generator, with_generator
from superscale.training.loop.parts import build_criteria, prepared_pack
from superscale.training.loop.stage_state import StageState, new_state, to_tensors
from superscale.training.loop.step_memory import step_memory
from superscale.training.loop.steps import Criteria
from superscale.training.loop.train import PRECISIONS
from superscale.training.loop.validation import validation_pairs
from superscale.training.recipe.schema import Recipe, StageConfig
from superscale.training.run.directory import is_taken
from superscale.training.run.states import check_same_run, newest, settings

Result = TypeVar("Result")
# Beside those kept, one is being written while the oldest is still there.
STATES_IN_WRITING = 1
NAMED = 3
GIGABYTE = 1e9


@dataclass
class Findings:
    """``problems`` keep the run from its end; ``notes`` do not, but should be known."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def attempt(self, work: Callable[[], Result]) -> Result | None:
        """What ``work`` returns; None, and a problem, when it raises an error that a person can mend."""
        try:
            return work()
        except SuperscaleError as error:
            self.problems += str(error).splitlines()
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return None


def preflight(recipe: Recipe, run_dir: Path, device_name: str = "auto") -> Findings:
    """Look at everything a run needs: output, data, validation, networks, weights, disk, memory. Writes nothing."""
    found = Findings()
    check_output(run_dir, found)
    pack_bytes = check_data(recipe, run_dir, found)
    check_validation(recipe, found)
    device = found.attempt(lambda: pick_device(device_name))
    whole = found.attempt(lambda: with_generator(recipe))
    if whole is not None:
        check_state(whole, run_dir, found)
    generator = _generator(whole, found) if whole is not None else None
    states = []
    for name, stage in recipe.stage.items():
        criteria = found.attempt(partial(build_criteria, stage, torch.device("cpu")))
        discriminator = _discriminator(recipe, name, stage, found) if stage.adversarial is not None else None
        if generator is not None and (discriminator is not None or stage.adversarial is None):
            state = new_state(stage, generator, discriminator)
            states.append(state_bytes(state))
            if criteria is not None and device is not None and recipe.data.patch_px % recipe.scale == 0:
                check_memory(recipe, name, state, criteria, device, found)
    if states:
        check_disk(recipe, run_dir, max(states), pack_bytes, found)
    return found


def check_output(run_dir: Path, found: Findings) -> None:
    """Whether the run directory can be made or written, and no other run is in it."""
    there = _nearest(run_dir.absolute())
    if not there.is_dir():
        found.problems.append(f"{there}: expected a folder for the run, and this is a file; choose another with -o")
        return
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        found.problems.append(f"{there}: cannot be written ({error.strerror}); choose another run directory with -o")
    if is_taken(run_dir):
        found.problems.append(f"{run_dir}: another process is training here; wait for it, or choose another directory with -o")


def _nearest(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    return path if path.exists() else _nearest(path.parent)


def check_state(recipe: Recipe, run_dir: Path, found: Findings) -> None:
    """Whether the run could go on from the state in its directory, if there is one; damaged ones are noted."""
    saved = found.attempt(lambda: newest(run_dir / "checkpoints", found.notes.append))
    folder = Findings().attempt(lambda: prepared_pack(recipe, run_dir))  # what is wrong with it, `check_data` says
    if saved is not None and folder is not None:
        found.attempt(lambda: check_same_run(recipe, settings(recipe, Pack(folder), run_dir), saved, str(run_dir)))


def check_data(recipe: Recipe, run_dir: Path, found: Findings) -> int:
    """Whether there is data, of sizes that patches can be cut from; the bytes that preparing it will write."""
    data, scale = recipe.data, recipe.scale
    if data.patch_px % scale:
        below = max(data.patch_px // scale, 1) * scale
        found.problems.append(
            f"data.patch_px: {data.patch_px} is not a multiple of the scale {scale}; the nearest are {below} and {below + scale}"
        )
    if not data.path:
        found.problems.append("no training data: name a folder of photos or a prepared pack with --data DIR")
        return 0
    before = len(found.problems)
    folder = found.attempt(lambda: prepared_pack(recipe, run_dir))
    if len(found.problems) > before:
        return 0
    if folder is not None:
        if (pack := found.attempt(lambda: Pack(folder))) is not None:
            _check_pack(recipe, pack, found)
        return 0
    return 0 if data.path == "synthetic" else _check_photos(recipe, Path(data.path), found)


def check_validation(recipe: Recipe, found: Findings) -> None:
    """Whether every validation picture can be read and measured; nothing else would look at them before the first validation."""
    pairs = found.attempt(lambda: validation_pairs(recipe))
    if pairs is None:
        return
    damaged = Findings()
    for index in range(len(pairs)):
        damaged.attempt(partial(pairs.__getitem__, index))
    found.problems += damaged.problems[:NAMED]
    if len(damaged.problems) > NAMED:
        found.problems.append(f"{recipe.validation.path}: {len(damaged.problems) - NAMED} more pictures cannot be read")


def _check_pack(recipe: Recipe, pack: Pack, found: Findings) -> None:
    manifest, data = pack.manifest, recipe.data
    if manifest.scale % recipe.scale:
        found.problems.append(f"{pack.folder}: prepared for scale {manifest.scale}, the recipe trains scale {recipe.scale}")
    if data.low_res == "stored" and manifest.low_res != data.rounding:
        found.problems.append(f"{pack.folder}: stores low_res {manifest.low_res!r}, the recipe wants {data.rounding!r}")
    small = [tile.source for tile in manifest.tiles if min(tile.height, tile.width) < data.patch_px]
    _check_small(small, len(manifest.tiles), recipe, pack.folder, found)


def _check_photos(recipe: Recipe, folder: Path, found: Findings) -> int:
    if not folder.is_dir():
        found.problems.append(f"{folder}: no such folder of photographs (data.path, --data)")
        return 0
    paths = list_images(folder)
    damaged, small, pixels = [], [], 0
    for path in paths:
        try:
            width, height = image_size(path)
        except ImageError as error:
            damaged.append(str(error))
            continue
        pixels += width * height
        regions = tile_regions(height, width, DEFAULT_TILE_PX, recipe.scale) if min(height, width) >= recipe.scale else []
        if min((min(region.height, region.width) for region in regions), default=0) < recipe.data.patch_px:
            small.append(f"{path.relative_to(folder)} ({width}x{height})")
    if len(damaged) == len(paths):
        found.problems.append(f"{folder}: not one readable photograph (.png, .jpg, .webp, .tiff)")
    else:
        found.notes += [f"would be skipped: {reason}" for reason in damaged]
    _check_small(small, len(paths), recipe, folder, found)
    return pixels * 3


def _check_small(small: list[str], of: int, recipe: Recipe, folder: Path, found: Findings) -> None:
    if small:
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        found.problems.append(
            f"{folder}: {len(small)} of {of} give sub-images smaller than the patch of {recipe.data.patch_px} pixels: "
            f"{', '.join(small[:NAMED])}{more}; remove them or choose a smaller data.patch_px"
        )


def _generator(recipe: Recipe, found: Findings) -> Generator | None:
    options = dict(recipe.generator)
    wrong = faults(GENERATORS, options.pop("name"), options)
    found.problems += [f"generator: {fault}" for fault in wrong]
    return None if wrong else found.attempt(lambda: first_generator(recipe))


def _discriminator(recipe: Recipe, name: str, stage: StageConfig, found: Findings) -> nn.Module | None:
    assert stage.adversarial is not None
    options = {"patch_px": recipe.data.patch_px, **stage.adversarial.discriminator}
    network = options.pop("name")
    wrong = faults(DISCRIMINATORS, network, options)
    found.problems += [f"stage.{name}.adversarial.discriminator: {fault}" for fault in wrong]
    return None if wrong else found.attempt(lambda: build_discriminator(network, options))


def state_bytes(state: StageState) -> int:
    """The size of this stage's training state: networks, average, and two moments a weight."""
    networks = [state.generator] + ([state.discriminator] if state.discriminator is not None else [])
    moments = 2 * sum(parameter.nbytes for network in networks for parameter in network.parameters())
    return sum(tensor.nbytes for tensor in to_tensors(state).values()) + moments


def check_disk(recipe: Recipe, run_dir: Path, one_state: int, pack_bytes: int, found: Findings) -> None:
    """Whether the training states that are kept, and the pack if one is to be made, fit on the disk."""
    there = _nearest(run_dir.absolute())
    kept = recipe.checkpoint.keep + STATES_IN_WRITING
    needed = one_state * kept + pack_bytes - _size_of(run_dir / "checkpoints")
    free = shutil.disk_usage(there).free
    if needed > free:
        found.problems.append(
            f"disk: {kept} training states of {one_state / GIGABYTE:.2f} GB and {pack_bytes / GIGABYTE:.2f} GB of prepared data "
            f"need {needed / GIGABYTE:.2f} GB more, {free / GIGABYTE:.2f} GB are free at {there}; make room, or choose another "
            "directory with -o"
        )


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_memory(
    recipe: Recipe, name: str, state: StageState, criteria: Criteria, device: torch.device, found: Findings
) -> None:
    """Whether a step of the recipe's batch fits into the memory of the device, from what a small one takes."""
    step = step_memory(state, criteria, PRECISIONS[recipe.precision_of(recipe.stage[name])], recipe.data.patch_px, recipe.scale)
    free, needed = free_bytes(device), step.of(recipe.data.batch)
    if free is not None and needed > free:
        fits = step.largest_batch(free)
        way_out = f"--set data.batch={fits} would fit" if fits else "not even one image fits; choose a smaller data.patch_px"
        found.problems.append(
            f"memory: a step of stage {name} with {recipe.data.batch} images takes about {needed / GIGABYTE:.2f} GB, "
            f"{free / GIGABYTE:.2f} GB are free on {device}; {way_out}"
        )
