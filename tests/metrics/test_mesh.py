from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from superscale.errors import UsageError
from superscale.losses.mesh import mesh_loss
from superscale.metrics.mesh import mesh

SIDE = 256


def texture(seed: int = 0, channels: int = 1) -> Tensor:
    """White noise (1, channels, 256, 256) in [0, 1], of 20 levels."""
    noise = torch.randn(1, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 0.5 + noise * 20 / 255


def wave(levels: float, period: float, degrees: float) -> Tensor:
    """A plane wave (1, 1, 256, 256) of this amplitude in 8-bit levels."""
    angle = math.radians(degrees)
    down, across = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    phase = 2 * math.pi / period * (math.sin(angle) * down + math.cos(angle) * across)
    return (levels / 255 * torch.cos(phase))[None, None].double()


def found(ours: Tensor, truth: Tensor) -> float:
    return mesh(ours, truth, data_range=1.0, border=0, color="rgb").item()


def test_a_picture_beside_itself_and_beside_its_paler_copy_has_none() -> None:
    assert found(texture(), texture()) == pytest.approx(0, abs=1e-12)
    assert found((texture() - 0.5) * 0.5 + 0.5, texture()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("degrees", [0, 17, 45, 80, 135])
@pytest.mark.parametrize("period", [2.3, 3.0, 3.7])
def test_a_wave_of_any_direction_counts_by_its_power(period: float, degrees: float) -> None:
    def over(levels: float) -> float:
        return found(texture() + wave(levels, period, degrees), texture())

    # A Hann window of N samples a side holds a wave of amplitude a as a²/4 N² (4/9) of power where noise has its variance, if the
    # wave falls between no two frequencies; at worst two halves a step away from both, (0.85)⁴ of it.
    whole = 8.0**2 / 4 * 32**2 * (4 / 9) / 20**2
    # The pattern of noise against wave is off by chance, and a little of the wave's power lies beyond its neighbours.
    assert 0.85**4 * 0.8 * whole < over(8) < 1.2 * whole
    assert over(16) / over(8) == pytest.approx(4, rel=0.15)


def test_more_texture_in_all_directions_and_long_waves_are_no_mesh() -> None:
    louder = (texture(1) - 0.5) * 2 + 0.5
    assert found(louder, texture()) < 0.35 * 4
    assert found(texture() + wave(16, 8.0, 30), texture()) < 0.05


def test_a_grid_of_rows_alone_is_a_wave_too() -> None:
    rows = torch.tensor(np.resize([1.0, -1.0, 1.0], SIDE), dtype=torch.float64)[None, None, :, None].expand(1, 1, SIDE, SIDE)
    assert found(texture() + rows * 6 / 255, texture()) > 1


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="64x64"):
        mesh(torch.zeros(1, 3, 70, 70), torch.zeros(1, 3, 70, 70), data_range=1.0, border=4, color="y")


def test_the_loss_rises_with_a_wave_and_its_gradient_takes_it_away() -> None:
    truth = torch.cat([texture(number) for number in range(4)])
    assert mesh_loss(truth, truth).item() == pytest.approx(0, abs=1e-12)
    ours = (truth + wave(8, 3.0, 20)).requires_grad_()
    before = mesh_loss(ours, truth)
    (gradient,) = torch.autograd.grad(before, ours)
    pattern = wave(8, 3.0, 20)
    assert (gradient * pattern).sum() > 0.9 * gradient.square().sum().sqrt() * pattern.square().sum().sqrt()
    assert before.item() > 10 * mesh_loss(truth + wave(1, 3.0, 20), truth).item()


def test_the_loss_sees_a_wave_in_one_colour_alone() -> None:
    truth = texture(channels=3)
    blue = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    blue[:, 2] = 1
    assert mesh_loss(truth + wave(8, 3.0, 20) * blue, truth).item() > 0.01


def test_the_loss_of_two_processes_is_that_of_their_whole_batch() -> None:
    truth = torch.cat([texture(number) for number in range(4)])
    ours = truth + wave(8, 3.0, 20) * torch.linspace(0, 1, 4, dtype=torch.float64)[:, None, None, None]
    asked: list[Tensor] = []
    mesh_loss(ours[2:], truth[2:], lambda own: asked.append(own) or own[None])  # type: ignore[func-returns-value]
    other = iter(asked)
    both = mesh_loss(ours[:2], truth[:2], lambda own: torch.stack((own, next(other))))
    assert both.item() == pytest.approx(mesh_loss(ours, truth).item(), rel=1e-9)


def test_patches_smaller_than_a_window_are_refused() -> None:
    with pytest.raises(UsageError, match="patches of 32 pixels"):
        mesh_loss(torch.zeros(1, 3, 24, 24), torch.zeros(1, 3, 24, 24))
