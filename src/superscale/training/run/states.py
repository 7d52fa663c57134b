"""Which training state a run goes on with, whether it may, and which ones are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from superscale.data.pack import Pack
from superscale.errors import CheckpointError, RecipeError
from superscale.files import remove_folder
from superscale.machine import processes
from superscale.networks.catalog import DISCRIMINATORS, GENERATORS
from superscale.training.recipe.parsing import dotted_key, keys_of, plain
from superscale.training.recipe.schema import Recipe
from superscale.training.run.directory import own_pack
from superscale.weights.checkpoint import load_state, save_state, saved_states
from superscale.weights.store import model_path, sha256_of

# Settings that decide nothing about the weights, or only when something has gone wrong.
MAY_CHANGE = ("name", "report_every_images", "data.verify", "validation.", "checkpoint.", "health.")
CHANGED_SHOWN = 3
NETWORKS = {**GENERATORS, **DISCRIMINATORS}
# Settings of a stage that older states lack, and what was done then.
ADDED = {"optimizer": "adam", "precision": "inherit", "lines_weight": 0.0, "mesh_weight": 0.0}


@dataclass(frozen=True)
class SavedState:
    """A training state as read from disk."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def stage_number(self) -> int:
        """The number of the stage that it was saved in, from 0."""
        return int(self.facts["stage_number"])


def newest(folder: Path, say: Callable[[str], None]) -> SavedState | None:
    """The newest whole state in a folder of them; damaged ones are named and passed over.

    None when there is no state. Raises CheckpointError when there are some and none is whole.
    """
    damaged = []
    for path in saved_states(folder):
        try:
            tensors, facts = load_state(path)
            return SavedState(tensors, checked(facts, path))
        except CheckpointError as error:
            say(f"passed over: {error}")
            damaged.append(path.name)
    if damaged:
        names = ", ".join(damaged)
        raise CheckpointError(f"{folder}: none of {names} is whole; bring one back, or begin anew", ways_out=("fresh",))
    return None


# What the packs hold that a run made of photos: one that was lost is made again, maybe of others.
PACKED = "data.packed_photos"
# The teacher's file. States of older versions have its name here.
TEACHER = "teacher.model"
BY_CONTENT = "file "
TEACHER_COLORS = "teacher.colors_px"
# What a state's facts may be; "settings" and "versions" may be absent, as in states of older versions.
COUNTS = ("stage_number", "images", "steps", "validated_images", "bad_in_a_row", "log_bytes")
MOST = 10**15


def checked(facts: Any, folder: Path) -> dict[str, Any]:
    """Facts of the kinds that a run saves. Raises CheckpointError for others, which would end it in the middle or at once."""
    if not isinstance(facts, dict):
        raise CheckpointError(f"{folder}: its facts are no table")
    said: dict[str, Any] = {key: value for key, value in facts.items() if value is not None}
    tables = {name: said.get(name, {}) for name in ("settings", "versions", "rollbacks")}
    wrong = [name for name, table in tables.items() if not isinstance(table, dict)]
    wrong += [name for name in COUNTS if not _is_count(said.get(name, 0))]
    wrong += [name for name in ("stage_number", "images", "steps") if name not in said]
    wrong += ["best_psnr"] if not isinstance(said.get("best_psnr", 0), int | float | None) else []
    if not wrong:
        wrong += ["rollbacks"] if not all(map(_is_count, tables["rollbacks"].values())) else []
        steps = (tables["settings"].get("data.batch", 1), tables["settings"].get("processes", 1))
        wrong += ["settings"] if not all(map(_is_count, steps)) else []
    if wrong:
        raise CheckpointError(f"{folder}: {wrong[0]} is {said.get(wrong[0])!r:.80}, which no run saves")
    return said


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def save(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int) -> None:
    """Save a state; only then delete those beyond the newest ``keep``, and newer ones, which this run has passed over."""
    save_state(folder, tensors, facts)
    states = list(saved_states(folder.parent))
    place = states.index(folder)
    for old in states[:place] + states[place + keep :]:
        remove_folder(old)


def flat_settings(recipe: Recipe, packs: Sequence[Pack], run_dir: Path) -> dict[str, Any]:
    """Every setting by its dotted key, as JSON knows it. Prepared packs and a teacher are named by their content: they may move, not change."""
    flat = _flat(json.loads(json.dumps(plain(recipe))))
    if recipe.teacher is not None:
        flat[TEACHER] = f"{BY_CONTENT}{sha256_of(model_path(recipe.teacher.model))}"
    is_own = [pack.folder == own_pack(run_dir, source) for source, pack in enumerate(packs)]
    names = [None if own else _named(pack) for pack, own in zip(packs, is_own, strict=True)]
    flat["data.path"] = names[0] or flat["data.path"]
    for source, name in zip(flat.get("data.more", ()), names[1:], strict=True):
        source["path"] = name or source["path"]
    photos = [_named(pack) for pack, own in zip(packs, is_own, strict=True) if own]
    return flat | {PACKED: photos, "processes": processes.world_size()}


def _named(pack: Pack) -> str:
    return f"pack {hashlib.sha256(replace(pack.manifest, checksums={}).to_json().encode()).hexdigest()}"


def _flat(table: Mapping[str, Any], *above: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, *above, key) if isinstance(value, dict) else {dotted_key(*above, key): value}
    return flat


def check_same_run(recipe: Recipe, now: Mapping[str, Any], saved: SavedState, name: str) -> None:
    """Raise RecipeError, naming the keys, when the recipe could not have led to this state.

    A resumed run equals an uninterrupted one of the recipe it is resumed with. So what changes no weights may change, and so
    may stages not begun and the length of the running one, unless its schedule depends on it.
    """
    if saved.stage_number >= len(recipe.stage):
        raise RecipeError(
            f"{name} holds a run in its stage {saved.stage_number + 1}, and the recipe has {len(recipe.stage)}; choose another run "
            "directory, or begin anew",
            ways_out=("run_dir", "fresh"),
        )
    if not saved.facts.get("settings"):
        return
    before = _completed(saved.facts["settings"])
    stages = list(recipe.stage)
    free = (*MAY_CHANGE, *_may_change_now(recipe, before, now, saved))
    absent = "(nothing)"
    changed = [
        f"{key} was {was}, is {now.get(key, absent)}"
        for key in dict.fromkeys((*before, *now))
        if now.get(key, absent) != (was := before.get(key, absent))
        and not key.startswith(free)
        and not key.endswith(".perceptual.weights")
    ]
    changed += _reordered(stages, before, saved.stage_number)
    if changed:
        more = f" and {len(changed) - CHANGED_SHOWN} more" if len(changed) > CHANGED_SHOWN else ""
        raise RecipeError(
            f"{name} holds a run of another recipe: {'; '.join(changed[:CHANGED_SHOWN])}{more}. A resumed run equals one that was "
            "never stopped: set it back, choose another run directory, or begin anew",
            ways_out=("run_dir", "fresh"),
        )


def _completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A state's settings as this version writes them: keys quoted where they must be, defaults that older versions left out."""
    given = {dotted_key(*keys_of(key)): value for key, value in settings.items() if value is not None}
    defaults: dict[str, Any] = {"data.weight": 1.0}
    defaults |= {TEACHER_COLORS: 0.0} if TEACHER in given else {}
    defaults |= {dotted_key("stage", stage, name): value for stage in _stages(given) for name, value in ADDED.items()}
    for key, name in given.items():
        if key.endswith(("generator.name", ".discriminator.name")) and name in NETWORKS:
            config, _ = NETWORKS[name]
            defaults |= {f"{key.removesuffix('name')}{option}": value for option, value in plain(config()).items()}
        if key.endswith(".perceptual.shift_px"):
            defaults[f"{key.removesuffix('shift_px')}turned"] = False
    return given | {key: value for key, value in defaults.items() if key not in given}


def _stages(settings: Mapping[str, Any]) -> list[str]:
    """The names of the stages in their order."""
    return list(dict.fromkeys(keys_of(key)[1] for key in settings if key.startswith("stage.")))


def _may_change_now(recipe: Recipe, before: Mapping[str, Any], now: Mapping[str, Any], saved: SavedState) -> list[str]:
    """The settings that may change because of where the run stands: what is still to come."""
    stages = list(recipe.stage)
    free = ["processes", *(f"{dotted_key('stage', later)}." for later in stages[saved.stage_number + 1 :])]
    for running in stages[saved.stage_number : saved.stage_number + 1]:
        stage = recipe.stage[running]
        if stage.schedule != "cosine" and stage.images >= saved.facts["images"]:
            free.append(dotted_key("stage", running, "images"))
    if PACKED not in before:  # as in states of older versions
        free.append(PACKED)
    if not str(before.get(TEACHER, BY_CONTENT)).startswith(BY_CONTENT):
        free.append(TEACHER)
    if _step_images(before) == _step_images(now):
        free.append("data.batch")
    return free


def _reordered(stages: list[str], before: Mapping[str, Any], number: int) -> list[str]:
    """The stages as far as the running one, if they are not those they were."""
    were = _stages(before)[: number + 1]
    now = stages[: number + 1]
    return [] if were == now else [f"stages were {', '.join(were)}, are {', '.join(now)}"]


def _step_images(settings: Mapping[str, Any]) -> int:
    return int(settings.get("data.batch", 1)) * int(settings.get("processes", 1))


def step_notice(saved: SavedState, now: Mapping[str, Any]) -> str | None:
    """A line when there are more or fewer processes than before: the data go on, in steps of another size."""
    before = _step_images(saved.facts.get("settings") or now)
    after = _step_images(now)
    return f"a step was {before} images and is now {after}, by {now['processes']} processes" if before != after else None


def version_notice(saved: SavedState, versions: Mapping[str, Any]) -> str | None:
    """A line when the state was saved by other versions: the run goes on, but bitwise equality is not promised."""
    before = saved.facts.get("versions", {})
    changed = [f"{name} {was}, now {versions.get(name)}" for name, was in before.items() if versions.get(name) != was]
    return f"saved with {', '.join(changed)}: the last bits may come out otherwise" if changed else None
