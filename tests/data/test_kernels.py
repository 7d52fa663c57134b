from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import j1
from torch import Tensor

from superscale.data.kernels import gaussian, generalized_gaussian, padded, plateau, pulse, sinc

KERNELS: dict[str, Callable[[], Tensor]] = {
    "iso": lambda: gaussian(21, (2.0, 2.0)),
    "aniso": lambda: gaussian(13, (0.7, 2.5), 0.4),
    "generalized": lambda: generalized_gaussian(21, (2.0, 1.0), -1.1, 0.6),
    "plateau": lambda: plateau(21, (2.0, 1.0), 2.0, 1.7),
    "sinc": lambda: sinc(21, 0.4),
    "pulse": lambda: pulse(7),
    "padded": lambda: padded(gaussian(7, (1.0, 1.0)), 21),
}


def offsets(side: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:side, :side] - side // 2
    return y, x


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_sums_to_one_and_is_the_same_upside_down(name: str) -> None:
    kernel = KERNELS[name]()
    assert kernel.sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(kernel, kernel.flip(0, 1), atol=1e-15, rtol=0)


def test_the_isotropic_gaussian_is_scipys() -> None:
    dot = np.zeros((21, 21))
    dot[10, 10] = 1
    expected = gaussian_filter(dot, 1.5, radius=10)
    np.testing.assert_allclose(gaussian(21, (1.5, 1.5)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2, pi / 2])
def test_second_moments_give_back_the_deviations_and_the_angle(angle: float) -> None:
    kernel = gaussian(31, (3.0, 1.5), angle).numpy()
    y, x = offsets(31)
    moments = [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    np.testing.assert_allclose(moments, turn @ np.diag([9, 2.25]) @ turn.T, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shape", [0.5, 1.0, 3.0])
def test_the_generalized_families_are_their_formulas(shape: float) -> None:
    """Wang et al. 2021, §3.1: exp(-(C' Σ⁻¹ C)^β / 2) and 1 / (1 + (C' Σ⁻¹ C)^β), each over its sum; Σ inverted by numpy here."""
    turn = np.array([[cos(0.7), -sin(0.7)], [sin(0.7), cos(0.7)]])
    inverse = np.linalg.inv(turn @ np.diag([4, 1]) @ turn.T)
    y, x = offsets(15)
    form = inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y
    for kernel, expected in (
        (generalized_gaussian(15, (2.0, 1.0), 0.7, shape), np.exp(-0.5 * form**shape)),
        (plateau(15, (2.0, 1.0), 0.7, shape), 1 / (1 + form**shape)),
    ):
        np.testing.assert_allclose(kernel.numpy(), expected / expected.sum(), rtol=1e-10)


def test_a_generalized_gaussian_of_shape_one_is_the_gaussian() -> None:
    torch.testing.assert_close(generalized_gaussian(21, (2.0, 1.0), 0.3, 1.0), gaussian(21, (2.0, 1.0), 0.3))


@pytest.mark.parametrize("cutoff", [0.3, 0.5, 0.7])
def test_the_sinc_passes_below_its_cutoff_and_stops_above_in_every_direction(cutoff: float) -> None:
    side, samples = 101, 512
    response = np.abs(np.fft.fftshift(np.fft.fft2(sinc(side, cutoff).numpy(), (samples, samples))))
    y, x = (np.mgrid[:samples, :samples] - samples // 2) / (samples / 2)  # 1 is Nyquist's frequency
    radius = np.hypot(y, x)
    assert np.abs(response[radius < 0.8 * cutoff] - 1).max() < 0.15
    assert response[radius > 1.25 * cutoff].max() < 0.15
    at_cutoff = response[np.abs(radius - cutoff) < 0.005]
    assert at_cutoff.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("side", "cutoff"), [(7, 1 / 3), (21, 0.2), (21, 1.0)])
def test_the_sinc_is_its_formula_with_scipys_bessel_function(side: int, cutoff: float) -> None:
    """Wang et al. 2021, §3.3: w / (2 pi r) J1(w r), and w²/(4 pi) in the middle, where J1(x) is x/2; torch's J1 is good to 1e-7."""
    y, x = offsets(side)
    radius, frequency = np.hypot(y, x), cutoff * pi
    with np.errstate(invalid="ignore"):
        expected = np.where(radius == 0, frequency**2 / (4 * pi), frequency * j1(frequency * radius) / (2 * pi * radius))
    np.testing.assert_allclose(sinc(side, cutoff).numpy(), expected / expected.sum(), rtol=0, atol=2e-7)


def test_the_sinc_rings() -> None:
    assert sinc(21, 0.4).min() < -1e-3
