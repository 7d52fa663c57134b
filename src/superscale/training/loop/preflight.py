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

from superscale.data.matching import split_folder
from superscale.data.mixture import mixture_problems
from superscale.data.pack import Pack
from superscale.data.patches import NAMED, side_problems, small_problems
from superscale.data.prepare import DEFAULT_TILE_PX, tile_regions
from superscale.data.sources import Folder, is_database, open_source
from superscale.errors import ImageError, SuperscaleError
from superscale.machine.device import free_bytes, pick_device
from superscale.networks.catalog import discriminator_of
from superscale.training.loop.criteria import build_criteria
from superscale.training.loop.data_source import pack_problems, prepared_pack
from superscale.training.loop.first_generator import first_generator, with_generator
from superscale.training.loop.stage_state import StageState, new_state, to_tensors
from superscale.training.loop.step_memory import step_memory
from superscale.training.loop.steps import AUTOCAST_TYPES, Criteria
from superscale.training.loop.validation import require_channels, validation_pairs
from superscale.training.recipe.schema import Recipe
from superscale.training.run import states
from superscale.training.run.directory import is_taken

Result = TypeVar("Result")
# Beside those kept, one is being written while the oldest is still there.
STATES_IN_WRITING = 1
GIGABYTE = 1e9


@dataclass
class Findings:
    """``problems`` keep the run from its end; ``notes`` do not, but should be known. ``ways_out``: as of a SuperscaleError."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ways_out: list[str] = field(default_factory=list)

    def add(self, problem: str, *ways_out: str) -> None:
        """One more problem."""
        self.problems.append(problem)
        self.ways_out += ways_out

    def attempt(self, work: Callable[[], Result]) -> Result | None:
        """What ``work`` returns; None, and a problem, when it raises an error that a person can mend."""
        try:
            return work()
        except SuperscaleError as error:
            self.problems += str(error).splitlines()
            self.ways_out += error.ways_out
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return None


def preflight(recipe: Recipe, run_dir: Path, device_name: str = "auto") -> Findings:
    """Look at everything a run needs: output, data, validation, networks, weights, disk, memory. Writes nothing."""
    found = Findings()
    check_output(run_dir, found)
    network = Findings()
    whole = network.attempt(lambda: with_generator(recipe))
    pack_bytes = check_data(whole or recipe, run_dir, found)
    check_validation(whole or recipe, found)
    device = found.attempt(lambda: pick_device(device_name))
    found.problems += network.problems
    found.ways_out += network.ways_out
    if whole is not None:
        check_state(whole, run_dir, found)
    generator = found.attempt(lambda: first_generator(whole)) if whole is not None else None
    sizes = []
    for name, stage in recipe.stage.items():
        criteria = found.attempt(partial(build_criteria, stage, torch.device("cpu")))
        if generator is not None:
            discriminator = discriminator_of(recipe.discriminator(stage.adversarial)) if stage.adversarial else None
            state = new_state(stage, generator, discriminator)
            sizes.append(state_bytes(state))
            if criteria is not None and device is not None and recipe.data.patch_px % recipe.scale == 0:
                check_memory(recipe, name, state, criteria, device, found)
    if sizes:
        check_disk(recipe, run_dir, max(sizes), pack_bytes, found)
    return found


def check_output(run_dir: Path, found: Findings) -> None:
    """Whether the run directory can be made or written, and no other run is in it."""
    there = _nearest(run_dir.absolute())
    if not there.is_dir():
        found.add(f"{there}: expected a folder for the run, and this is a file; choose another", "run_dir")
        return
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        found.add(f"{there}: cannot be written ({error.strerror}); choose another run directory", "run_dir")
    if is_taken(run_dir):
        found.add(f"{run_dir}: another process is training here; wait for it, or choose another run directory", "run_dir")


def _nearest(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    return path if path.exists() else _nearest(path.parent)


def check_state(recipe: Recipe, run_dir: Path, found: Findings) -> None:
    """Whether the run could go on from the state in its directory, if there is one; damaged ones are noted."""
    saved = found.attempt(lambda: states.newest(run_dir / "checkpoints", found.notes.append))
    packs = [Findings().attempt(partial(_prepared, *own, run_dir)) for own in enumerate(recipe.of_each_source())]
    ready = [pack for pack in packs if pack is not None]  # what is wrong with the others, `check_data` says
    if saved is not None and len(ready) == len(packs):
        found.attempt(lambda: states.check_same_run(recipe, states.flat_settings(recipe, ready, run_dir), saved, str(run_dir)))


def _prepared(source: int, recipe: Recipe, run_dir: Path) -> Pack | None:
    folder = prepared_pack(recipe, run_dir, source)
    return None if folder is None else Pack(folder)


def check_data(recipe: Recipe, run_dir: Path, found: Findings) -> int:
    """Whether there is data, of sizes that patches can be cut from; the bytes that preparing it will write."""
    packs: list[Pack] = []
    needed = 0
    for source, alone in enumerate(recipe.of_each_source()):
        before = len(found.problems)
        pack = found.attempt(partial(_prepared, source, alone, run_dir))
        if pack is not None:
            packs.append(pack)
            found.problems += pack_problems(alone, pack)
            continue
        has_own_problem = len(found.problems) > before
        found.problems += [wrong for wrong in side_problems(recipe.data.patch_px, recipe.scale) if wrong not in found.problems]
        if not has_own_problem and alone.data.path != "synthetic":
            needed += _check_photos(alone, Path(alone.data.path), found)
    if packs:
        found.problems += mixture_problems(packs)
    return needed


def check_validation(recipe: Recipe, found: Findings) -> None:
    """Whether every validation picture can be read and measured; nothing else would look at them before the first validation."""
    pairs = found.attempt(lambda: validation_pairs(recipe))
    if pairs is None:
        return
    damaged = Findings()
    for index in range(len(pairs)):
        damaged.attempt(lambda index=index: require_channels(pairs[index], recipe.channels))  # type: ignore[misc]
    found.problems += damaged.problems[:NAMED]
    if len(damaged.problems) > NAMED:
        found.problems.append(f"{recipe.validation.path}: {len(damaged.problems) - NAMED} more pictures cannot be used")


def _check_photos(recipe: Recipe, folder: Path, found: Findings) -> int:
    if not folder.is_dir():
        found.add(f"{folder}: no such folder of photographs (data.path)", "data.path")
        return 0
    high = found.attempt(lambda: split_folder(folder, recipe.scale)[0])
    if high is None:
        return 0
    source = found.attempt(lambda: Folder(high) if not is_database(high) else open_source(high))
    if source is None:
        return 0
    damaged: list[str] = []
    small: list[str] = []
    pixels = 0
    for name in source.names:
        try:
            width, height = source.size(name)
        except ImageError as error:
            damaged.append(str(error))
            continue
        pixels += width * height
        regions = tile_regions(height, width, DEFAULT_TILE_PX, recipe.scale) if min(height, width) >= recipe.scale else []
        if min((min(region.height, region.width) for region in regions), default=0) < recipe.data.patch_px:
            small.append(f"{name} ({width}x{height})")
    if len(damaged) == len(source.names):
        found.problems.append(f"{folder}: not one readable photograph (.png, .jpg, .webp, .tiff)")
    else:
        found.notes += [f"would be skipped: {reason}" for reason in damaged]
    which = f"{folder}: {len(small)} of {len(source.names)} photographs give sub-images"
    found.problems += small_problems(which, small, recipe.data.patch_px)
    return pixels * recipe.channels


def state_bytes(state: StageState) -> int:
    """The size of this stage's training state: networks, average, and two moments a weight."""
    moments = 2 * sum(parameter.nbytes for network in state.networks for parameter in network.parameters())
    return sum(tensor.nbytes for tensor in to_tensors(state).values()) + moments


def check_disk(recipe: Recipe, run_dir: Path, one_state: int, pack_bytes: int, found: Findings) -> None:
    """Whether the training states that are kept, and the pack if one is to be made, fit on the disk."""
    there = _nearest(run_dir.absolute())
    kept = recipe.checkpoint.keep + STATES_IN_WRITING
    needed = one_state * kept + pack_bytes - _size_of(run_dir / "checkpoints")
    free = shutil.disk_usage(there).free
    if needed > free:
        found.add(
            f"disk: {kept} training states of {one_state / GIGABYTE:.2f} GB and {pack_bytes / GIGABYTE:.2f} GB of prepared data "
            f"need {needed / GIGABYTE:.2f} GB more, {free / GIGABYTE:.2f} GB are free at {there}; make room, or choose another "
            "run directory",
            "run_dir",
        )


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_memory(
    recipe: Recipe, name: str, state: StageState, criteria: Criteria, device: torch.device, found: Findings
) -> None:
    """Whether a step of the recipe's batch fits into the memory of the device, from what a small one takes."""
    autocast_type = AUTOCAST_TYPES[recipe.precision_of(recipe.stage[name])]
    step = step_memory(state, criteria, autocast_type, recipe.data.patch_px, recipe.scale)
    free = free_bytes(device)
    needed = step.of(recipe.data.batch)
    if free is not None and needed > free:
        fits = step.largest_batch(free)
        way_out = f"data.batch={fits} would fit" if fits else "not even one image fits; choose a smaller data.patch_px"
        found.add(
            f"memory: a step of stage {name} with {recipe.data.batch} images takes about {needed / GIGABYTE:.2f} GB, "
            f"{free / GIGABYTE:.2f} GB are free on {device}; {way_out}",
            *([f"data.batch={fits}"] if fits else []),
        )
