"""The learning rate: a pure function of the images a stage has seen."""

from __future__ import annotations

from math import cos, pi

from superscale.training.config import StageConfig


def learning_rate(stage: StageConfig, images_seen: int) -> float:
    """Warm-up from 0 over ``warmup_images``, times the schedule's factor."""
    warmup = min(1.0, (images_seen + 1) / stage.warmup_images) if stage.warmup_images else 1.0
    return stage.learning_rate * warmup * factor(stage, images_seen)


def factor(stage: StageConfig, images_seen: int) -> float:
    """The schedule alone, 1 at the start."""
    if stage.schedule == "cosine":
        return 0.5 + 0.5 * cos(pi * min(images_seen / stage.images, 1.0))
    if stage.schedule == "step":
        return float(stage.gamma ** sum(images_seen >= milestone for milestone in stage.milestones_images))
    return 1.0
