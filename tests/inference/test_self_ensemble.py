from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.inference.backends.torch_backend import TorchBackend
from superscale.inference.self_ensemble import SelfEnsemble
from superscale.networks.catalog import build_generator


class Shifted:
    """Enlarges by nearest neighbour and moves the picture a pixel to the right: a network that prefers a direction."""

    contract = Contract(scale=2, channels=3, multiple_of=1, receptive_field_px=1, overlap_px=1)
    device = "cpu"

    def free_bytes(self) -> int | None:
        return None

    def __call__(self, low_res: NDArray[Any]) -> NDArray[Any]:
        return np.roll(low_res.repeat(2, -1).repeat(2, -2), 1, -1)


def test_the_ensemble_of_a_shift_to_the_right_is_the_mean_of_shifts_to_all_four_sides() -> None:
    picture = np.random.default_rng(0).random((1, 3, 5, 8)).astype(np.float32)
    large = picture.repeat(2, -1).repeat(2, -2)
    expected = sum(np.roll(large, step, axis) for axis in (-1, -2) for step in (1, -1)) / 4
    result = SelfEnsemble(Shifted())(picture)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_the_ensemble_of_any_network_turns_with_its_picture() -> None:
    torch.manual_seed(0)
    network = build_generator("compact", {"features": 4, "convolutions": 2})
    ensemble = SelfEnsemble(TorchBackend(network, torch.device("cpu")))
    picture = np.random.default_rng(0).random((2, 3, 6, 9)).astype(np.float32)
    straight = ensemble(picture)
    turned = ensemble(np.ascontiguousarray(np.rot90(picture, 1, (-2, -1))[..., ::-1]))
    np.testing.assert_allclose(np.rot90(straight, 1, (-2, -1))[..., ::-1], turned, atol=1e-6)
    assert ensemble.contract.scale == 4
