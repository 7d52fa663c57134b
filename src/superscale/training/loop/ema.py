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
    def update(self, network: nn.Module, steps: int, good: torch.Tensor | float = 1.0) -> None:
        """Move towards ``network``. Early on the decay is (1 + steps) / (10 + steps), so the start is soon forgotten.

        ``good``: 1, or a scalar on the device that is 0 (or False) to leave the parameters as they are.
        """
        decay = min(self.decay, (1 + steps) / (10 + steps))
        average: list[torch.Tensor] = list(self.network.parameters())
        current = [parameter.detach() for parameter in network.parameters()]
        difference = torch._foreach_sub(current, average)
        torch._foreach_mul_(difference, good * (1 - decay))
        torch._foreach_add_(average, difference)
        for mine, other in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(other)
