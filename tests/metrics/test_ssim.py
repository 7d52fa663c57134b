"""SSIM against scikit-image, MS-SSIM against its equation written out here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from superscale.errors import UsageError
from superscale.metrics.ssim import ms_ssim, ssim

Picture = Callable[..., np.ndarray]
Pictures = tuple[np.ndarray, np.ndarray]


def plane(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture))[None, None]


@pytest.mark.parametrize("color", ["y", "rgb"])
@pytest.mark.parametrize("data_range", [255.0, 1.0])
def test_ssim_is_scikit_images_to_six_digits(
    color: str, data_range: float, pictures: Pictures, batches: tuple[Tensor, Tensor], lumas: Pictures
) -> None:
    first, second = (batch / 255 * data_range for batch in batches)
    got = ssim(first, second, data_range=data_range, border=0, color=color)  # type: ignore[arg-type]
    expected = structural_similarity(
        *(lumas if color == "y" else pictures),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=None if color == "y" else -1,
    )
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_equal_pictures_have_an_ssim_of_one(batches: tuple[Tensor, Tensor]) -> None:
    assert ssim(batches[0], batches[0], data_range=255, border=0, color="y").item() == pytest.approx(1)


def test_ssim_is_scikit_images_to_six_digits_in_black_white_and_over_many_strips(
    photo_like: Picture, noise: np.random.Generator
) -> None:
    first = photo_like(200)
    first[:80], first[:, 150:] = 0, 255
    second = (first + noise.normal(0, 5, first.shape)).clip(0, 255).round()
    expected = structural_similarity(
        first, second, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(plane(first), plane(second), data_range=255, border=0, color="y").item() == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_is_wangs_equation(photo_like: Picture, noise: np.random.Generator) -> None:
    first = photo_like(203)
    second = gaussian_filter(first, 1) + noise.normal(0, 6, first.shape)
    got = ms_ssim(plane(first), plane(second), data_range=255, border=0, color="y").item()
    expected = 1.0
    for number, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        whole, structure = wang(first, second)
        expected *= (whole if number == 4 else structure) ** weight
        first, second = halved(first), halved(second)
    assert got == pytest.approx(expected, abs=1e-6)
    flat = torch.ones(1, 1, 161, 161)
    assert ms_ssim(flat, flat, data_range=255, border=0, color="y").item() == pytest.approx(1)
    with pytest.raises(UsageError, match="161x161"):
        ms_ssim(torch.ones(1, 1, 160, 200), torch.ones(1, 1, 160, 200), data_range=1, border=0, color="y")


def wang(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mean1, mean2 = mean(first), mean(second)
    variances = mean(first**2) - mean1**2 + mean(second**2) - mean2**2
    structure = (2 * (mean(first * second) - mean1 * mean2) + 7.65**2) / (variances + 7.65**2)
    luminance = (2 * mean1 * mean2 + 2.55**2) / (mean1**2 + mean2**2 + 2.55**2)
    return float((luminance * structure).mean()), float(structure.mean())


def halved(picture: np.ndarray) -> np.ndarray:
    even = np.pad(picture, [(0, side % 2) for side in picture.shape], mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
