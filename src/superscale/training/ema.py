"""The exponential moving average of a network: parameters averaged, buffers (batch-norm statistics) copied."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class ExponentialMovingAverage(Generic[Network]):
    """``network`` is the average: an evaluation-mode copy that no gradient reaches."""

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.network = deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Move towards ``network``. Early on the decay is (1 + steps) / (10 + steps), so the start is soon forgotten."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        average: list[torch.Tensor] = list(self.network.parameters())
        current = [parameter.detach() for parameter in network.parameters()]
        torch._foreach_lerp_(average, current, 1 - decay)
        for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(other)
