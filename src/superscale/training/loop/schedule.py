"""The learning rate, the seed and the turn of a step: pure functions of the images seen."""

from __future__ import annotations

from math import cos, pi

from superscale.training.recipe.schema import StageConfig


def learning_rate(stage: StageConfig, images_seen: int) -> float:
    """Warm-up from 0 over ``warmup_images``, times the schedule's factor."""
    warmup = min(1.0, (images_seen + 1) / stage.warmup_images) if stage.warmup_images else 1.0
    return stage.learning_rate * warmup * factor(stage, images_seen)


def seed_at(seed: int, images_seen: int) -> int:
    """The seed of the step that begins at this image of the run, 32 bits (Knuth's multiplicative hash).

    Torch's generator is set to it, so whatever draws from it is a function of (seed, images seen) as well, and resuming needs
    no state of it.
    """
    return (seed * 0x9E3779B1 + images_seen * 2654435761 + 1) % 2**32


def crossed(images: int, batch: int, every: int) -> bool:
    """Whether this step is the first at or past a multiple of ``every`` images."""
    return images > 0 and images // every > (images - batch) // every


def factor(stage: StageConfig, images_seen: int) -> float:
    """The schedule alone, 1 at the start."""
    if stage.schedule == "cosine":
        return 0.5 + 0.5 * cos(pi * min(images_seen / stage.images, 1.0))
    if stage.schedule == "step":
        return float(stage.gamma ** sum(images_seen >= milestone for milestone in stage.milestones_images))
    return 1.0
