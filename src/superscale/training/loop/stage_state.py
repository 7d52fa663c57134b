"""The moving parts of a stage, and the same as plain tensors and facts for a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from superscale.errors import CheckpointError, ModelError
from superscale.networks.generator import Generator
from superscale.training.loop.ema import ExponentialMovingAverage
from superscale.training.loop.muon import Muon
from superscale.training.recipe.schema import StageConfig
from superscale.training.run.interval_means import Interval
from superscale.weights.checkpoint import load_strictly

Tensors = dict[str, Tensor]


@dataclass
class StageState:
    """``images``: seen in this stage. ``steps``: made in this stage. ``validated_images``: at the last validation.

    ``best_psnr``: of this stage's validations. ``bad_in_a_row``: steps that moved nothing, up to now. ``interval``: the numbers
    since the last report.
    """

    generator: Generator
    average: ExponentialMovingAverage[Generator]
    generator_optimizer: torch.optim.Optimizer
    discriminator: nn.Module | None = None
    discriminator_optimizer: torch.optim.Optimizer | None = None
    images: int = 0
    steps: int = 0
    validated_images: int = 0
    best_psnr: float | None = None
    bad_in_a_row: int = 0
    interval: Interval = field(default_factory=Interval)


COUNTERS = ("images", "steps", "validated_images", "best_psnr", "bad_in_a_row")


def new_state(stage: StageConfig, generator: Generator, discriminator: nn.Module | None) -> StageState:
    """Fresh optimizers and averages around networks that already have their starting weights and device."""
    return StageState(
        generator,
        ExponentialMovingAverage(generator, stage.ema_decay),
        OPTIMIZERS[stage.optimizer](generator, stage.learning_rate, stage.betas),
        discriminator,
        adam(discriminator, stage.adversarial.learning_rate, stage.betas) if discriminator and stage.adversarial else None,
    )


def adam(network: nn.Module, learning_rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015) in one call for all parameters."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas, fused=True)


# name -> what moves a network's parameters
OPTIMIZERS: dict[str, Callable[[nn.Module, float, tuple[float, float]], torch.optim.Optimizer]] = {"adam": adam, "muon": Muon}


def to_tensors(state: StageState) -> Tensors:
    """Every tensor that decides how the stage goes on, by name."""
    tensors = _prefixed("generator", state.generator.state_dict())
    tensors |= _prefixed("average", state.average.network.state_dict())
    tensors |= _prefixed("generator_optimizer", _moments(state.generator_optimizer))
    tensors |= _prefixed("interval", state.interval.sums)
    if state.discriminator is not None and state.discriminator_optimizer is not None:
        tensors |= _prefixed("discriminator", state.discriminator.state_dict())
        tensors |= _prefixed("discriminator_optimizer", _moments(state.discriminator_optimizer))
    return tensors


def to_facts(state: StageState) -> dict[str, Any]:
    """Every number that is no tensor."""
    return {name: getattr(state, name) for name in COUNTERS}


def restore(state: StageState, tensors: Tensors, facts: Mapping[str, Any], name: str) -> None:
    """Put a saved state back into freshly built parts. Raises CheckpointError when they do not fit."""
    for counter in COUNTERS:
        setattr(state, counter, facts.get(counter, getattr(state, counter)))
    device = next(state.generator.parameters()).device
    state.interval = Interval({key: tensor.to(device) for key, tensor in _under("interval", tensors).items()})
    try:
        load_strictly(state.generator, _under("generator", tensors), name)
        load_strictly(state.average.network, _under("average", tensors), name)
        _restore_moments(state.generator_optimizer, _under("generator_optimizer", tensors))
        if state.discriminator is not None and state.discriminator_optimizer is not None:
            load_strictly(state.discriminator, _under("discriminator", tensors), name)
            _restore_moments(state.discriminator_optimizer, _under("discriminator_optimizer", tensors))
    except (ModelError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name}: does not fit this recipe's networks ({error})") from error


def _moments(optimizer: torch.optim.Optimizer) -> Tensors:
    saved: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {f"{index}.{key}": torch.as_tensor(value) for index, entry in saved.items() for key, value in entry.items()}


def _restore_moments(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        # The fused kernel walks memory: a moment must lie as its parameter does (channels last), not as it was saved.
        like = parameters[int(index)]
        laid_out = tensor.to(like.device) if tensor.ndim == 0 else torch.empty_like(like, requires_grad=False).copy_(tensor)
        state.setdefault(int(index), {})[key] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _prefixed(prefix: str, tensors: dict[str, Any]) -> Tensors:
    return {f"{prefix}/{key}": tensor for key, tensor in tensors.items()}


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {key.removeprefix(f"{prefix}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}/")}
