"""Muon (Jordan et al. 2024): momentum whose singular values are all made one, for the convolutions between the first and the last.

A convolution's update is a matrix (O, I*k*k) that few directions dominate; moving all of them alike takes fewer steps to the same loss. Scaled
so that an entry's root mean square is Adam's usual 0.2 (Liu et al. 2025, "Muon is scalable for LLM training", §2.2), a rate that suits
Adam suits it. Convolutions at the picture itself, biases and slopes are moved by Adam (Kingma and Ba 2015), as its authors advise.
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

# Jordan's quintic, tuned for a steep rise at zero: singular values end in about [0.7, 1.2], near enough.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95
ADAM_RMS = 0.2
EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """``betas``: of Adam's part. Where ``found_inf`` is set to 1 by the caller, a step moves nothing, as with torch's fused Adam."""

    def __init__(self, network: nn.Module, learning_rate: float, betas: tuple[float, float]) -> None:
        super().__init__(network.parameters(), {"lr": learning_rate, "betas": betas})
        self.found_inf: Tensor | None = None
        convolutions = [parameter for parameter in network.parameters() if parameter.ndim == 4]
        self._hidden = {id(parameter) for parameter in convolutions[1:-1]}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Move all parameters that have a gradient by ``param_groups[0]["lr"]``."""
        (group,) = self.param_groups
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not moving:
            return
        good = 1 - (self.found_inf if self.found_inf is not None else moving[0].new_zeros(()))
        for parameter in moving:
            if id(parameter) not in self._hidden:
                self._adam(parameter, group["lr"], group["betas"], good)
        hidden = sorted((parameter for parameter in moving if id(parameter) in self._hidden), key=lambda each: each.shape)
        for _, alike in groupby(hidden, key=lambda each: each.shape):
            self._orthogonal(list(alike), group["lr"], good)

    def _orthogonal(self, parameters: list[Tensor], rate: float, good: Tensor) -> None:
        """Parameters (O, I, k, k) of one shape, as one batch of matrices."""
        directions = []
        for parameter in parameters:
            momentum = self._state(parameter, "momentum")["momentum"]
            gradient = _unless_bad(parameter, good)
            momentum.lerp_(gradient, (1 - MOMENTUM) * good)
            directions.append(gradient.lerp(momentum, MOMENTUM).flatten(1))
        updates = orthogonalized(torch.stack(directions))
        size = ADAM_RMS * max(updates.shape[1:]) ** 0.5
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.sub_(update.view(parameter.shape) * (rate * size * good))

    def _adam(self, parameter: Tensor, rate: float, betas: tuple[float, float], good: Tensor) -> None:
        state = self._state(parameter, "exp_avg", "exp_avg_sq")
        state.setdefault("step", parameter.new_zeros(()))
        gradient = _unless_bad(parameter, good)
        state["step"] += good
        state["exp_avg"].lerp_(gradient, (1 - betas[0]) * good)
        state["exp_avg_sq"].lerp_(gradient.square(), (1 - betas[1]) * good)
        mean, square = (
            state[key] / (1 - beta ** state["step"]) for key, beta in zip(("exp_avg", "exp_avg_sq"), betas, strict=True)
        )
        # Before the first good step both are 0 / 0.
        way = torch.where(state["step"] > 0, mean / (square.sqrt() + EPSILON), torch.zeros_like(parameter))
        parameter.sub_(way * (rate * good))

    def _state(self, parameter: Tensor, *moments: str) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state.update({name: torch.zeros_like(parameter) for name in moments})
        return state


def _unless_bad(parameter: Tensor, good: Tensor) -> Tensor:
    """The gradient, or zeros: what is not finite times zero would still not be."""
    assert parameter.grad is not None
    return torch.where(good > 0, parameter.grad, torch.zeros_like(parameter.grad))


def orthogonalized(matrices: Tensor) -> Tensor:
    """(N, R, C) -> (N, R, C): U V^T of each matrix' U S V^T, nearly, by Newton-Schulz iterations."""
    a, b, c = QUINTIC
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.square().sum((1, 2), keepdim=True).sqrt() + EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT
