"""DISTS against its equations written out here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.errors import UsageError
from superscale.metrics.dists import Dists, dists


def test_dists_is_dings_equations_on_torchvisions_keys() -> None:
    torch.manual_seed(0)
    network = Dists()
    state = network.state_dict()
    for tensor in state.values():
        tensor.copy_(torch.rand(tensor.shape) if len(tensor) == 1 else torch.randn(tensor.shape) / tensor[0].numel() ** 0.5)
    first, second = torch.rand(2, 3, 50, 47), torch.rand(2, 3, 50, 47)
    window = torch.from_numpy(np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1])).float()
    window /= window.sum()

    def features(planes: Tensor) -> list[Tensor]:
        seen = [planes]
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        planes = (planes - mean) / deviation
        for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            if len(seen) > 1:
                width = planes.shape[1]
                pooled = F.conv2d(planes**2, window.repeat(width, 1, 1, 1), stride=2, padding=1, groups=width)
                planes = (pooled + 1e-12).sqrt()
            for number in stage:
                planes = F.conv2d(
                    planes, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1
                ).relu()
            seen.append(planes)
        return seen

    expected, channel, total = torch.ones(2), 0, state["alpha"].sum() + state["beta"].sum()
    for one, other in zip(features(first), features(second), strict=True):
        for number in range(one.shape[1]):
            x, y = one[:, number].flatten(1), other[:, number].flatten(1)
            mx, my = x.mean(1), y.mean(1)
            texture = (2 * mx * my + 1e-6) / (mx**2 + my**2 + 1e-6)
            shared = ((x - mx[:, None]) * (y - my[:, None])).mean(1)
            structure = (2 * shared + 1e-6) / (x.var(1, correction=0) + y.var(1, correction=0) + 1e-6)
            expected -= (state["alpha"][0, channel, 0, 0] * texture + state["beta"][0, channel, 0, 0] * structure) / total
            channel += 1
    assert channel == 1475
    got = dists(first * 255, second * 255, network, data_range=255, border=0)
    assert got.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert dists(first, first, network, data_range=1, border=0).abs().max() < 1e-6
    with pytest.raises(UsageError, match="DISTS needs 32x32"):
        dists(first, second, network, data_range=1, border=8)
