"""A rehearsal: two steps of every stage as they will be, with save and load, in a folder that is gone afterwards."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from superscale.data.matching import partners, split_folder
from superscale.data.sources import Source, open_source
from superscale.errors import ImageError, OutOfMemoryError
from superscale.training.loop.data_source import prepared_pack
from superscale.training.loop.train import train
from superscale.training.recipe.data import DataConfig
from superscale.training.recipe.schema import CheckpointConfig, Recipe, StageConfig, ValidationConfig
from superscale.weights.checkpoint import saved_states
from superscale.weights.store import find_model

# The first step warms up, the second is timed.
STEPS = 2
PHOTOS = 4


@dataclass(frozen=True)
class StageEstimate:
    """What a stage took. ``seconds``: what all its images would take at that pace, validation and saving aside."""

    name: str
    images: int
    seconds_a_step: float
    images_per_second: float
    seconds: float
    state_bytes: int


def rehearse(recipe: Recipe, run_dir: Path, device: str = "auto") -> list[StageEstimate]:
    """Train every stage for two steps in a temporary folder, each going on from the saved state of the one before.

    Leaves nothing, whatever happens. Raises what training raises, and OutOfMemoryError, naming the stage, on a full GPU.
    """
    results: list[StageEstimate] = []
    with tempfile.TemporaryDirectory(prefix="superscale-dry-run-") as folder:
        short_dir = Path(folder) / "run"
        short = _shortened(recipe, run_dir, Path(folder))
        stages: dict[str, StageConfig] = {}
        for name, stage in short.stage.items():
            stages[name] = stage
            _run(replace(short, stage=dict(stages)), short_dir, device, name)
            images = recipe.stage[name].images
            speed = _last_row(short_dir, name)["images_per_second"]
            state = next(saved_states(short_dir / "checkpoints"))
            size = sum(path.stat().st_size for path in state.iterdir())
            results.append(StageEstimate(name, images, recipe.data.batch / speed, speed, images / speed, size))
        # Once more: loads the last stage's state, finds it done and writes the model; which is read back.
        find_model(_run(short, short_dir, device, name))
    return results


def _run(recipe: Recipe, run_dir: Path, device: str, stage: str) -> Path:
    try:
        result = train(recipe, run_dir, device=device, quiet=True)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"stage {stage}: {recipe.data.batch} images do not fit on {device}; try half of them",
            ways_out=(f"data.batch={recipe.data.batch // 2}",),
        ) from error
    assert result.model is not None
    return result.model


def _shortened(recipe: Recipe, run_dir: Path, folder: Path) -> Recipe:
    """The recipe with every stage two steps long, on a few of its photos; the generator moves from the first step on."""
    images = STEPS * recipe.data.batch
    stages = {}
    for name, stage in recipe.stage.items():
        adversarial = replace(stage.adversarial, alone_images=0) if stage.adversarial else None
        stages[name] = replace(stage, images=images, adversarial=adversarial)
    return replace(
        recipe,
        data=_few_data(recipe, run_dir, folder),
        # The first patches of the run itself, if that has the same pack: their answers are kept.
        teacher=replace(recipe.teacher, patches=min(images, recipe.teacher.patches)) if recipe.teacher else None,
        validation=ValidationConfig(),
        checkpoint=CheckpointConfig(),
        report_every_images=recipe.data.batch,
        stage=stages,
    )


def _few_data(recipe: Recipe, run_dir: Path, folder: Path) -> DataConfig:
    """The recipe's data with a few of each source's photos."""
    alone = enumerate(recipe.of_each_source())
    path, *others = (_few_photos(own, run_dir, folder / f"source-{source}", source) for source, own in alone)
    more = tuple(replace(source, path=other) for source, other in zip(recipe.data.more, others, strict=True))
    return replace(recipe.data, path=path, more=more)


def _few_photos(recipe: Recipe, run_dir: Path, folder: Path, source_number: int) -> str:
    """The pack that there is; else a folder with copies of the first readable photos."""
    if (pack := prepared_pack(recipe, run_dir, source_number)) is not None:
        return str(pack)
    if recipe.data.path == "synthetic":
        return recipe.data.path
    photos = Path(recipe.data.path)
    high, low = split_folder(photos, recipe.scale)
    if low is None or recipe.data.low_res != "stored":
        _copy_few(open_source(high), folder / "photos")
    else:
        source, partner = open_source(high), open_source(low)
        matched = dict(zip(source.names, partners(source.names, partner.names, recipe.scale, low), strict=True))
        names = _copy_few(source, folder / "photos" / "HR")
        _copy(partner, {name: matched[original] for name, original in names.items()}, folder / "photos" / low.name)
    return str(folder / "photos")


def _copy_few(source: Source, copies: Path) -> dict[str, str]:
    """Copy the first readable pictures; their new names and what they were called."""
    names: dict[str, str] = {}
    for name in source.names:
        if len(names) == PHOTOS:
            break
        try:
            source.size(name)
        except ImageError:
            continue
        names[str(len(names))] = name
    _copy(source, names, copies)
    return names


def _copy(source: Source, names: Mapping[str, str], copies: Path) -> None:
    copies.mkdir(parents=True)
    for name, original in names.items():
        (copies / f"{name}{Path(original).suffix}").write_bytes(source.read(original))


def _last_row(run_dir: Path, stage: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == stage and "images_per_second" in row][-1]
