"""The numbers of the steps since the last report, summed on the device, so that no step waits for them and a checkpoint keeps them."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from superscale.training.loop.steps import Numbers


class IntervalMeans:
    """Means over the good steps. Steps that report different numbers (a generator that waits has none) are summed apart."""

    def __init__(self, sums: dict[str, Tensor] | None = None) -> None:
        # "name,name,...": the sum of each and, last, how many steps.
        self.sums = dict(sums or {})

    def add(self, numbers: Numbers, good: Tensor) -> None:
        """``good``: a scalar bool on the device; a bad step counts for nothing."""
        key = ",".join(numbers)
        row = torch.stack([*(value.float() for value in numbers.values()), torch.ones_like(good, dtype=torch.float)])
        row = torch.where(good, row, 0.0)
        self.sums[key] = self.sums[key] + row if key in self.sums else row

    def take(self) -> dict[str, float]:
        """The mean of every number, read from the device; begins anew."""
        totals: dict[str, float] = defaultdict(float)
        steps: dict[str, float] = defaultdict(float)
        for key, row in self.sums.items():
            *sums, count = row.tolist()
            for name, value in zip(key.split(","), sums, strict=True):
                totals[name] += value
                steps[name] += count
        self.sums.clear()
        return {name: total / steps[name] for name, total in totals.items() if steps[name]}
