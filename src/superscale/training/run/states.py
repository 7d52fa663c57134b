"""Which training state a run goes on with, whether it may, and which ones are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from superscale.data.pack import MANIFEST, Pack
from superscale.errors import CheckpointError, RecipeError
from superscale.files import remove_folder
from superscale.machine.processes import world_size
from superscale.training.loop.parts import OWN_PACK
from superscale.training.recipe.schema import Recipe
from superscale.weights.checkpoint import load_state, save_state, saved_states

# Settings that decide nothing about the weights, or only when something has gone wrong.
FREE = ("name", "report_every_images", "validation.", "checkpoint.", "health.")
CHANGED_SHOWN = 3
# Settings of a stage that older states lack, and what was done then.
ADDED = {"optimizer": "adam", "precision": "inherit", "lines_weight": 0.0}


@dataclass(frozen=True)
class Saved:
    """A training state as read from disk."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def stage_number(self) -> int:
        return int(self.facts["stage_number"])


def newest(folder: Path, say: Callable[[str], None]) -> Saved | None:
    """The newest whole state in a folder of them; damaged ones are named and passed over.

    None when there is no state. Raises CheckpointError when there are some and none is whole.
    """
    damaged = []
    for path in saved_states(folder):
        try:
            return Saved(*load_state(path))
        except CheckpointError as error:
            say(f"passed over: {error}")
            damaged.append(path.name)
    if damaged:
        raise CheckpointError(f"{folder}: none of {', '.join(damaged)} is whole; bring one back, or begin anew with --fresh")
    return None


def commit(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int) -> None:
    """Save a state; only then delete those beyond the newest ``keep``, and newer ones, which this run has passed over."""
    save_state(folder, tensors, facts)
    states = list(saved_states(folder.parent))
    place = states.index(folder)
    for old in states[:place] + states[place + keep :]:
        remove_folder(old)


def settings(recipe: Recipe, pack: Pack, run_dir: Path) -> dict[str, Any]:
    """Every setting by its dotted key, as JSON knows it. A prepared pack is named by its content, so it may move."""
    flat = _flat(json.loads(json.dumps(asdict(recipe))), "")
    if pack.folder != run_dir / OWN_PACK:
        flat["data.path"] = f"pack {hashlib.sha256((pack.folder / MANIFEST).read_bytes()).hexdigest()}"
    return flat | {"processes": world_size()}


def _flat(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{where}{key}.") if isinstance(value, dict) else {f"{where}{key}": value}
    return flat


def check_same_run(recipe: Recipe, now: Mapping[str, Any], saved: Saved, name: str) -> None:
    """Raise RecipeError, naming the keys, when the recipe could not have led to this state.

    A resumed run equals an uninterrupted one of the recipe it is resumed with. So what changes no weights may change, and so
    may stages not begun and the length of the running one, unless its schedule depends on it.
    """
    before = saved.facts.get("settings")
    if before is None:
        return
    stages = list(recipe.stage)
    running = stages[saved.stage_number] if saved.stage_number < len(stages) else None
    free = [*FREE, "processes", *(f"stage.{later}." for later in stages[saved.stage_number + 1 :])]
    if running and recipe.stage[running].schedule != "cosine" and recipe.stage[running].images >= saved.facts["images"]:
        free.append(f"stage.{running}.images")
    if _step_images(before) == _step_images(now):
        free.append("data.batch")
    absent = "(nothing)"
    changed = [
        f"{key} was {was}, is {now.get(key, absent)}"
        for key in dict.fromkeys((*before, *now))
        if now.get(key, absent) != (was := before.get(key, _added(key, absent)))
        and not key.startswith(tuple(free))
        and not key.endswith(".perceptual.weights")
    ]
    changed += _reordered(stages, before, saved.stage_number)
    if changed:
        more = f" and {len(changed) - CHANGED_SHOWN} more" if len(changed) > CHANGED_SHOWN else ""
        raise RecipeError(
            f"{name} holds a run of another recipe: {'; '.join(changed[:CHANGED_SHOWN])}{more}. A resumed run equals one that was "
            "never stopped: set it back, choose another directory with -o, or begin anew with --fresh"
        )


def _added(key: str, absent: str) -> object:
    """The value of a setting that a state does not name."""
    *place, name = key.split(".")
    return ADDED.get(name, absent) if place[:1] == ["stage"] else absent


def _reordered(stages: list[str], before: Mapping[str, Any], number: int) -> list[str]:
    """The stages as far as the running one, if they are not those they were."""
    were = list(dict.fromkeys(key.split(".")[1] for key in before if key.startswith("stage.")))[: number + 1]
    now = stages[: number + 1]
    return [] if were == now else [f"stages were {', '.join(were)}, are {', '.join(now)}"]


def _step_images(settings: Mapping[str, Any]) -> int:
    return int(settings["data.batch"]) * int(settings.get("processes", 1))


def step_notice(saved: Saved, now: Mapping[str, Any]) -> str | None:
    """A line when there are more or fewer processes than before: the data go on, in steps of another size."""
    before, after = _step_images(saved.facts.get("settings", now)), _step_images(now)
    return f"a step was {before} images and is now {after}, by {now['processes']} processes" if before != after else None


def version_notice(saved: Saved, versions: Mapping[str, Any]) -> str | None:
    """A line when the state was saved by other versions: the run goes on, but bitwise equality is not promised."""
    before = saved.facts.get("versions", {})
    changed = [f"{name} {was}, now {versions.get(name)}" for name, was in before.items() if versions.get(name) != was]
    return f"saved with {', '.join(changed)}: the last bits may come out otherwise" if changed else None
