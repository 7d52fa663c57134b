"""The moving parts of a stage, and the same as plain tensors and facts for a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from superscale.errors import CheckpointError, ModelError
from superscale.machine import processes
from superscale.networks.catalog import discriminator_of
from superscale.networks.generator import Generator
from superscale.training.loop.ema import ExponentialMovingAverage
from superscale.training.loop.muon import Muon
from superscale.training.loop.schedule import seed_at
from superscale.training.recipe.schema import AdversarialConfig, Recipe, StageConfig
from superscale.training.run.interval_means import IntervalMeans
from superscale.weights.checkpoint import load_strictly

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Opponent:
    """The generator's opponent in a GAN stage: a discriminator, what moves it, and how the game is played."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    config: AdversarialConfig


@dataclass
class StageState:
    """``images``: seen in this stage. ``steps``: made in this stage. ``validated_images``: at the last validation.

    ``opponent``: None in a stage without a discriminator. ``best_psnr``: of this stage's validations. ``bad_in_a_row``: steps that
    moved nothing, up to now. ``interval``: the numbers since the last report.
    """

    generator: Generator
    average: ExponentialMovingAverage[Generator]
    generator_optimizer: torch.optim.Optimizer
    opponent: Opponent | None = None
    images: int = 0
    steps: int = 0
    validated_images: int = 0
    best_psnr: float | None = None
    bad_in_a_row: int = 0
    interval: IntervalMeans = field(default_factory=IntervalMeans)

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that learn: the generator, and the discriminator if there is one."""
        return [self.generator, *([self.opponent.network] if self.opponent else [])]

    @property
    def generator_moves(self) -> bool:
        """False while the discriminator learns alone."""
        return self.opponent is None or self.images >= self.opponent.config.alone_images


COUNTERS = ("images", "steps", "validated_images", "best_psnr", "bad_in_a_row")


def begin_stage(recipe: Recipe, stage: StageConfig, before: int, generator: Generator, device: torch.device) -> StageState:
    """A stage's moving parts before its first step, around the generator of the stage before.

    ``before``: the images of all earlier stages; the discriminator's weights are drawn from (seed, before).
    """
    torch.manual_seed(seed_at(recipe.seed, before))
    discriminator = None
    if stage.adversarial is not None:
        discriminator = _placed(discriminator_of(recipe.discriminator(stage.adversarial)), device)
    return new_state(stage, _placed(generator, device).train(), discriminator)


def _placed(network: processes.Network, device: torch.device) -> processes.Network:
    """The network on its device, channels last, with the first process's weights."""
    return processes.synchronized(network.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload,no-any-return]


def new_state(stage: StageConfig, generator: Generator, discriminator: nn.Module | None) -> StageState:
    """Fresh optimizers and averages around networks that already have their starting weights and device."""
    opponent = None
    if discriminator is not None and stage.adversarial is not None:
        optimizer = adam(discriminator, stage.adversarial.learning_rate, stage.betas)
        opponent = Opponent(discriminator, optimizer, stage.adversarial)
    average = ExponentialMovingAverage(generator, stage.ema_decay)
    return StageState(generator, average, OPTIMIZERS[stage.optimizer](generator, stage.learning_rate, stage.betas), opponent)


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
    if state.opponent is not None:
        tensors |= _prefixed("discriminator", state.opponent.network.state_dict())
        tensors |= _prefixed("discriminator_optimizer", _moments(state.opponent.optimizer))
    return tensors


def to_facts(state: StageState) -> dict[str, Any]:
    """Every number that is no tensor."""
    return {name: getattr(state, name) for name in COUNTERS}


def restore(state: StageState, tensors: Tensors, facts: Mapping[str, Any], name: str) -> None:
    """Put a saved state back into freshly built parts. Raises CheckpointError when they do not fit."""
    for counter in COUNTERS:
        setattr(state, counter, facts.get(counter, getattr(state, counter)))
    device = next(state.generator.parameters()).device
    state.interval = IntervalMeans({key: tensor.to(device) for key, tensor in _under("interval", tensors).items()})
    try:
        load_strictly(state.generator, _under("generator", tensors), name)
        load_strictly(state.average.network, _under("average", tensors), name)
        _restore_moments(state.generator_optimizer, _under("generator_optimizer", tensors))
        if state.opponent is not None:
            load_strictly(state.opponent.network, _under("discriminator", tensors), name)
            _restore_moments(state.opponent.optimizer, _under("discriminator_optimizer", tensors))
    except (ModelError, KeyError, IndexError, ValueError, RuntimeError) as error:
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
