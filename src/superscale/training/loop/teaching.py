"""Learning from a large network: its answers to damaged patches are computed before the first step, each once for all runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from superscale.data.pack import MANIFEST, Pack
from superscale.data.taught import CHANNELS, is_taught, taught_pack, teach
from superscale.errors import Cancelled, DataError, RecipeError, TrainingError
from superscale.files import Claims
from superscale.inference.upscaler import Upscaler
from superscale.machine import processes
from superscale.training.loop.data_source import damaged_plan
from superscale.training.recipe.parsing import plain
from superscale.training.recipe.schema import Recipe, TeacherConfig
from superscale.training.run.pace import hours
from superscale.weights.store import cache_folder, model_path, sha256_of

REPORT_PATCHES = 100


def taught(recipe: Recipe, pack: Pack, device: str, say: Callable[[str], None], stop: Callable[[], bool]) -> Pack:
    """The pack that the recipe's teacher makes of this one, or this one if it names none. Its answers are kept in the cache folder.

    Raises Cancelled when ``stop``, asked after every patch, says so; RecipeError when the teacher enlarges by another factor;
    TrainingError when another process asks it about the same patches; DataError when kept answers are damaged.
    """
    config = recipe.teacher
    if config is None:
        return pack
    folder = cache_folder() / "teacher" / _key(recipe, config, pack)
    with _answers_blamed(config, folder):
        ready = is_taught(folder, config.patches)
    if not ready:
        with _sole_asker(config, folder):
            _ask(recipe, config, pack, folder, device, say, stop)
    with _answers_blamed(config, folder):
        answers = taught_pack(folder, config.patches, config.weight, config.colors_px)
        if recipe.data.verify and processes.rank() == 0:
            answers.verify()
    return answers


@contextmanager
def _answers_blamed(config: TeacherConfig, folder: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error}: these are the answers of the teacher {config.model}; delete {folder}, and it is asked again"
        ) from error


@contextmanager
def _sole_asker(config: TeacherConfig, folder: Path) -> Iterator[None]:
    if processes.world_size() > 1:
        raise RecipeError("a teacher is asked by one process: run the same command without torchrun until the first step")
    claims = Claims()
    if not claims.take(folder):
        raise TrainingError(
            f"{config.model}: another process asks this teacher about the same patches; wait for its first step, or stop it: "
            f"what it has is kept in {folder}"
        )
    try:
        yield
    finally:
        claims.drop_all()


def teacher_seconds(recipe: Recipe, device: str) -> float:
    """How long the recipe's teacher would take for all patches, by the second of two; 0 without a teacher."""
    if (config := recipe.teacher) is None:
        return 0.0
    upscaler, side = Upscaler(config.model, device=device), config.patch_px // recipe.scale
    patch = np.zeros((side, side, CHANNELS), np.uint8)
    upscaler(patch)
    begun = time.monotonic()
    upscaler(patch)
    return (time.monotonic() - begun) * config.patches


def _ask(
    recipe: Recipe,
    config: TeacherConfig,
    pack: Pack,
    folder: Path,
    device: str,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> None:
    upscaler = Upscaler(config.model, device=device)
    if upscaler.contract.scale != recipe.scale:
        raise RecipeError(f"scale is {recipe.scale}, but the teacher {config.model} enlarges {upscaler.contract.scale} times")
    plan = replace(damaged_plan(recipe, pack), patch_px=config.patch_px, augment=False)
    times = [time.monotonic()]

    def progress(made: int, count: int) -> None:
        times.append(time.monotonic())
        if made == count or made % REPORT_PATCHES == 0:
            left = (times[-1] - times[0]) / (len(times) - 1) * (count - made)
            say(f"teacher: {made} of {count} patches, {hours(left)} left")
        if stop():
            raise Cancelled("asked to stop while the teacher works")

    teach(plan, config.patches, folder, upscaler, recipe.data.rounding, progress)


def teacher_card(recipe: Recipe) -> dict[str, Any]:
    """What the card of a model must say of the one it learned from; nothing without a teacher."""
    config = recipe.teacher
    if config is None:
        return {}
    facts = {"model": Path(config.model).name, "sha256": sha256_of(model_path(config.model)), "weight": config.weight}
    return {"teacher": facts | ({"licence": config.licence} if config.licence else {})}


def _key(recipe: Recipe, config: TeacherConfig, pack: Pack) -> str:
    """A name for all that decides the teacher's answers."""
    data = plain(replace(recipe.data, path="", patch_px=config.patch_px, batch=1, augment=False))
    facts = {
        "teacher": sha256_of(model_path(config.model)),
        "pack": hashlib.sha256((pack.folder / MANIFEST).read_bytes()).hexdigest(),
        # A teacher has one source, whose weight decides nothing.
        "data": {key: value for key, value in data.items() if key not in ("weight", "more")},
        "scale": recipe.scale,
        "seed": recipe.seed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
