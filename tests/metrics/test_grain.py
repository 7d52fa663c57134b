from __future__ import annotations

import pytest
import torch

from superscale.errors import UsageError
from superscale.metrics.grain import FLOOR, grain


def half_flat(noise: float, seed: int = 0) -> torch.Tensor:
    """Grey (1, 1, 64, 64) in 8-bit units: left a slope, with noise of this deviation; right hard stripes."""
    picture = torch.arange(64, dtype=torch.float64).expand(64, 64).clone() + 60
    picture[:, 32:] = 255.0 * (torch.arange(32) % 2)
    picture[:, :32] += noise * torch.randn(64, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return picture[None, None]


def test_a_picture_beside_itself_has_one() -> None:
    assert grain(half_flat(2), half_flat(2), data_range=255, border=0, color="y").tolist() == [1.0]


def test_noise_on_flat_ground_counts_by_its_variance_and_slopes_and_edges_do_not() -> None:
    clean = half_flat(0)
    # A plane of three parameters takes 3 of 64 degrees of freedom from the noise.
    for deviation in (1.0, 3.0):
        expected = (deviation**2 * 61 / 64 + FLOOR) / FLOOR
        found = grain(half_flat(deviation), clean, data_range=255, border=0, color="y").item()
        assert found == pytest.approx(expected, rel=0.25)
    edges_moved = clean.clone()
    edges_moved[..., 33:] = clean[..., 33:].flip(-1)
    assert grain(edges_moved, clean, data_range=255, border=0, color="y").item() == pytest.approx(1)


def test_a_smoother_picture_has_less_than_one() -> None:
    assert grain(half_flat(0), half_flat(2), data_range=255, border=0, color="y").item() < 0.2


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="16x16"):
        grain(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20), data_range=1.0, border=4, color="y")
