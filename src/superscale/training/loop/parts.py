"""What a run is made of before its first step: the data, the networks, the losses. All that cannot fit together is found here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from superscale.data.loader import Load, load_batch
from superscale.data.pack import MANIFEST, Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare, prepare_synthetic
from superscale.data.resident import ResidentPack
from superscale.errors import Cancelled, DataError, RecipeError
from superscale.files import write_text
from superscale.losses.adversarial import ADVERSARIAL
from superscale.losses.perceptual import FEATURE_NETWORKS, PerceptualLoss, deepest_layer
from superscale.losses.pixel import PIXEL_LOSSES
from superscale.machine.device import free_bytes
from superscale.machine.processes import mean, synchronized, world_size
from superscale.networks.catalog import build_discriminator
from superscale.networks.generator import Generator
from superscale.training.loop.schedule import seed_at
from superscale.training.loop.stage_state import StageState, new_state
from superscale.training.loop.steps import Criteria
from superscale.training.recipe.schema import Recipe, StageConfig
from superscale.weights.features import feature_network

OWN_PACK = "pack"
# Beside it: what it was made of.
OWN_PACK_SOURCE = "pack-source.json"
# Of a GPU's free memory; the rest is for the networks and what they keep.
RESIDENT_SHARE = 0.25


def open_pack(recipe: Recipe, run_dir: Path, stop: Callable[[], bool] = lambda: False) -> Pack:
    """The recipe's data as a pack; a folder of photos, or "synthetic", is prepared in the run directory first.

    Raises Cancelled when ``stop``, asked after every photo, says so (of several processes none is asked: the others wait).
    """
    if not recipe.data.path:
        raise RecipeError("no training data: name a folder of photos or a prepared pack with --data DIR")
    if (ready := prepared_pack(recipe, run_dir)) is not None:
        return Pack(ready)
    own = run_dir / OWN_PACK
    write_text(run_dir / OWN_PACK_SOURCE, json.dumps(_source(recipe)))
    if recipe.data.path == "synthetic":
        prepare_synthetic(own, side_px=max(128, recipe.data.patch_px), scale=recipe.scale)
    else:
        stored = recipe.data.rounding if recipe.data.low_res == "stored" else "none"
        prepare(Path(recipe.data.path), own, scale=recipe.scale, low_res=stored, progress=partial(_unless_stopped, stop))
    return Pack(own)


def _unless_stopped(stop: Callable[[], bool], _done: int, _total: int) -> None:
    if world_size() == 1 and stop():
        raise Cancelled("asked to stop while preparing the photos")


def _source(recipe: Recipe) -> dict[str, object]:
    """What a run's own pack is made of."""
    return {"path": recipe.data.path, "scale": recipe.scale}


def prepared_pack(recipe: Recipe, run_dir: Path) -> Path | None:
    """The pack that the recipe names, or the one that this run has made before; None when there is neither.

    Raises DataError when this run's own was made of other data than the recipe names.
    """
    if (Path(recipe.data.path) / MANIFEST).is_file():
        return Path(recipe.data.path)
    own, made_of = run_dir / OWN_PACK, run_dir / OWN_PACK_SOURCE
    if not (own / MANIFEST).is_file():
        return None
    if made_of.is_file() and (was := json.loads(made_of.read_bytes())) != (wanted := _source(recipe)):
        raise DataError(
            f"{own}: prepared from {was['path']} at scale {was['scale']}, the recipe names {wanted['path']} at scale "
            f"{wanted['scale']}; set it back, choose another directory with -o, or begin anew with --fresh"
        )
    return own


def patch_plan(recipe: Recipe, pack: Pack) -> PatchPlan:
    """The order of the run's patches. Raises DataError when the pack is not what the recipe trains on."""
    data = recipe.data
    if data.low_res == "stored" and pack.manifest.low_res != data.rounding:
        raise DataError(f"{pack.folder}: stores low_res {pack.manifest.low_res!r}, the recipe wants {data.rounding!r}")
    return PatchPlan(
        pack,
        scale=recipe.scale,
        patch_px=data.patch_px,
        seed=recipe.seed,
        augment=data.augment,
        degradation=data.degradation,
    )


def batch_loader(plan: PatchPlan, stored_low_res: bool, device: torch.device) -> Load:
    """Where batches come from: the pack on a GPU's own memory where it takes a quarter of what is free at most, else on disk."""
    pack = plan.pack
    needed = pack.high_res_samples.samples.size + (pack.low_res_samples.samples.size if stored_low_res else 0)
    if device.type == "cuda" and needed <= RESIDENT_SHARE * (free_bytes(device) or 0):
        return ResidentPack(plan, device, stored_low_res).load
    return partial(load_batch, plan, stored_low_res=stored_low_res)


def build_criteria(stage: StageConfig, device: torch.device) -> Criteria:
    """The losses a stage names. Raises ModelError when the weights of its perceptual network are absent."""
    criteria = Criteria(grid_weight=stage.grid_weight, lines_weight=stage.lines_weight)
    if stage.pixel is not None:
        criteria = replace(criteria, pixel=PIXEL_LOSSES[stage.pixel.loss], pixel_weight=stage.pixel.weight)
    if (config := stage.perceptual) is not None:
        if config.network not in FEATURE_NETWORKS:
            raise RecipeError(f"perceptual.network: expected one of {', '.join(FEATURE_NETWORKS)}, got {config.network!r}")
        deepest = deepest_layer(FEATURE_NETWORKS[config.network], config.layers)
        network = feature_network(config.network, deepest, config.weights or None)
        loss = PerceptualLoss(network, config.layers, after_activation=config.after_activation, distance=config.distance)
        loss = loss.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        criteria = replace(criteria, perceptual=loss, perceptual_weight=config.weight, shift_px=config.shift_px)
    if stage.adversarial is not None:
        adversarial = ADVERSARIAL[stage.adversarial.loss](mean)
        criteria = replace(
            criteria,
            adversarial=adversarial,
            adversarial_weight=stage.adversarial.weight,
            discriminator_fp32=stage.adversarial.precision == "fp32",
            mean=mean,
        )
    return criteria


def begin_stage(recipe: Recipe, stage: StageConfig, before: int, generator: Generator, device: torch.device) -> StageState:
    """A stage's moving parts before its first step, around the generator of the stage before.

    ``before``: the images of all earlier stages; the discriminator's weights are drawn from (seed, before).
    """
    torch.manual_seed(seed_at(recipe.seed, before))
    discriminator = None
    if stage.adversarial is not None:
        options = {"patch_px": recipe.data.patch_px, **stage.adversarial.discriminator}
        discriminator = build_discriminator(options.pop("name"), options)
        discriminator = discriminator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        discriminator = synchronized(discriminator)
    generator = generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return new_state(stage, synchronized(generator).train(), discriminator)
