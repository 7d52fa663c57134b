"""The losses of a stage, built from its recipe."""

from __future__ import annotations

from dataclasses import replace

import torch

from superscale.errors import RecipeError
from superscale.losses.adversarial import ADVERSARIAL
from superscale.losses.perceptual import PerceptualLoss
from superscale.losses.pixel import PIXEL_LOSSES
from superscale.machine import processes
from superscale.metrics.features import FEATURE_NETWORKS, deepest_layer
from superscale.training.loop.steps import Criteria
from superscale.training.recipe.schema import StageConfig
from superscale.weights.features import feature_network


def build_criteria(stage: StageConfig, device: torch.device) -> Criteria:
    """The losses a stage names. Raises ModelError when the weights of its perceptual network are absent."""
    criteria = Criteria(
        grid_weight=stage.grid_weight,
        lines_weight=stage.lines_weight,
        mesh_weight=stage.mesh_weight,
        sharpen_targets=stage.sharpen_targets,
    )
    if stage.pixel is not None:
        criteria = replace(criteria, pixel=PIXEL_LOSSES[stage.pixel.loss], pixel_weight=stage.pixel.weight)
    if (config := stage.perceptual) is not None:
        if config.network not in FEATURE_NETWORKS:
            raise RecipeError(f"perceptual.network: expected one of {', '.join(FEATURE_NETWORKS)}, got {config.network!r}")
        deepest = deepest_layer(FEATURE_NETWORKS[config.network], config.layers)
        network = feature_network(config.network, deepest, config.weights or None)
        loss = PerceptualLoss(network, config.layers, after_activation=config.after_activation, distance=config.distance)
        loss = loss.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        criteria = replace(
            criteria, perceptual=loss, perceptual_weight=config.weight, shift_px=config.shift_px, turned=config.turned
        )
    if stage.adversarial is not None:
        criteria = replace(
            criteria,
            adversarial=ADVERSARIAL[stage.adversarial.loss](processes.mean),
            adversarial_weight=stage.adversarial.weight,
            discriminator_fp32=stage.adversarial.precision == "fp32",
            mean=processes.mean,
        )
    return criteria
