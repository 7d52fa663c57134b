from __future__ import annotations

import numpy as np
import torch

from superscale.contract import Contract
from superscale.networks.catalog import build_generator
from superscale.networks.generator import Generator
from superscale.networks.self_ensemble import SelfEnsemble


class Shifted(Generator):
    """Enlarges by nearest neighbour and moves the picture a pixel to the right: a network that prefers a direction."""

    contract = Contract(scale=2, channels=3, multiple_of=1, receptive_field_px=1, overlap_px=1)

    def forward(self, low_res: torch.Tensor) -> torch.Tensor:
        return low_res.repeat_interleave(2, -1).repeat_interleave(2, -2).roll(1, -1)


def test_the_ensemble_of_a_shift_to_the_right_is_the_mean_of_shifts_to_all_four_sides() -> None:
    picture = np.random.default_rng(0).random((1, 3, 5, 8)).astype(np.float32)
    large = picture.repeat(2, -1).repeat(2, -2)
    expected = sum(np.roll(large, step, axis) for axis in (-1, -2) for step in (1, -1)) / 4
    result = SelfEnsemble(Shifted())(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_the_ensemble_of_any_network_turns_with_its_picture() -> None:
    torch.manual_seed(0)
    ensemble = SelfEnsemble(build_generator("compact", {"features": 4, "convolutions": 2}).eval())
    picture = torch.rand(2, 3, 6, 9)
    with torch.no_grad():
        straight, turned = ensemble(picture), ensemble(torch.rot90(picture, 1, (-2, -1)).flip(-1))
    torch.testing.assert_close(torch.rot90(straight, 1, (-2, -1)).flip(-1), turned, atol=1e-6, rtol=0)
    assert ensemble.contract.scale == 4
