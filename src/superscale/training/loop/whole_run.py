"""The whole run, built once before its first step: every stage, every loss, on torch's meta device, which has shapes and no memory."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from superscale.data.loader import Batch
from superscale.errors import RecipeError, SuperscaleError
from superscale.losses.adversarial import ADVERSARIAL
from superscale.machine.memory import free_bytes
from superscale.networks.catalog import discriminator_of, generator_of
from superscale.training.loop.criteria import build_criteria
from superscale.training.loop.steps import Criteria, adversarial_step, pixel_step
from superscale.training.recipe.parsing import dotted_key
from superscale.training.recipe.schema import Recipe, StageConfig
from superscale.weights.architecture import unfilled

FLOAT_BYTES = 4


def check_whole_run(recipe: Recipe) -> None:
    """Raise RecipeError, naming the stage, when a step of any stage cannot be computed; ModelError when weights are absent.

    The recipe's generator is written out.
    """
    _check_batch(recipe)
    assert recipe.generator is not None
    with unfilled():
        generator = generator_of(recipe.generator)
    _check_weights(generator)
    if recipe.data.patch_px % recipe.scale:
        return  # no step fits it, which those who cut patches say better
    for name, stage in recipe.stage.items():
        try:
            with torch.random.fork_rng(devices=[]):  # a loss may draw
                _step(recipe, stage, generator)
        except SuperscaleError:
            raise
        except (RuntimeError, ValueError, IndexError, ZeroDivisionError, NotImplementedError) as error:
            reason = str(error).partition("\n")[0]
            raise RecipeError(f"{dotted_key('stage', name)}: a step of it cannot be computed ({reason})") from error


def _check_batch(recipe: Recipe) -> None:
    """A batch alone, of float samples, must fit into the memory of the machine that loads it."""
    data = recipe.data
    needed = data.batch * recipe.channels * data.patch_px**2 * FLOAT_BYTES
    free = free_bytes()
    if free is not None and needed > free:
        raise RecipeError(
            f"data.batch: {data.batch} patches of {data.patch_px} pixels a side are {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; choose a smaller data.batch or data.patch_px"
        )


def _check_weights(generator: nn.Module) -> None:
    """The weights, at the least, must fit into the memory of the machine that makes them."""
    needed = FLOAT_BYTES * sum(weights.numel() for weights in generator.parameters())
    free = free_bytes()
    if free is not None and needed > free:
        raise RecipeError(
            f"generator: its weights are {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; choose fewer features or blocks"
        )


def _step(recipe: Recipe, stage: StageConfig, generator: nn.Module) -> None:
    criteria = _on_meta(build_criteria(stage, torch.device("cpu")), stage)
    side = recipe.data.patch_px
    shape = (2, recipe.channels)
    batch = Batch(
        (0, 1),
        torch.empty((*shape, side // recipe.scale, side // recipe.scale), device="meta"),
        torch.empty((*shape, side, side), device="meta"),
    )
    if criteria.perceptual is not None and stage.perceptual is not None:
        smallest = batch.high_res[..., stage.perceptual.shift_px :, stage.perceptual.shift_px :]
        criteria.perceptual(smallest, smallest)
    if stage.adversarial is None:
        pixel_step(generator, batch, criteria, None)
        return
    with unfilled():
        discriminator = discriminator_of(recipe.discriminator(stage.adversarial))
    adversarial_step(generator, discriminator, batch, criteria, None)


def _on_meta(criteria: Criteria, stage: StageConfig) -> Criteria:
    """The same losses without memory, and without other processes, which are not asked."""
    if criteria.perceptual is not None:
        criteria = replace(criteria, perceptual=deepcopy(criteria.perceptual).to("meta"))
    if stage.adversarial is not None:
        criteria = replace(criteria, adversarial=ADVERSARIAL[stage.adversarial.loss](torch.mean), mean=torch.mean)
    return criteria
