"""PSNR and SSIM against scikit-image, values by hand, and the published bicubic rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from superscale.data.pairs import PairFolder
from superscale.errors import DataError, UnknownNameError, UsageError
from superscale.evaluation.benchmark import Convention, Row, benchmark, measure
from superscale.evaluation.report import to_json, to_text
from superscale.image.resize import imresize
from superscale.metrics.psnr import psnr
from superscale.metrics.ssim import ssim


def pictures(noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    ramp = np.linspace(20, 220, 48)[None, :, None] * np.ones((40, 1, 3))
    first = ramp + noise.normal(0, 6, ramp.shape)
    return first.clip(0, 255).round(), (first + noise.normal(0, 9, ramp.shape)).clip(0, 255).round()


def batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).movedim(-1, 0)[None]


def luma(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([65.481, 128.553, 24.966]) / 255 + 16


@pytest.mark.parametrize("border", [0, 4])
def test_psnr_is_scikit_images(border: int, noise: np.random.Generator) -> None:
    first, second = pictures(noise)
    inside = (slice(border, 40 - border), slice(border, 48 - border))
    got = psnr(batch(first), batch(second), data_range=255, border=border, color="rgb")
    assert got.item() == pytest.approx(peak_signal_noise_ratio(first[inside], second[inside], data_range=255), abs=1e-9)
    got = psnr(batch(first), batch(second), data_range=255, border=border, color="y")
    expected = peak_signal_noise_ratio(luma(first)[inside], luma(second)[inside], data_range=255)
    assert got.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("color", ["y", "rgb"])
@pytest.mark.parametrize("data_range", [255.0, 1.0])
def test_ssim_is_scikit_images_to_six_digits(color: str, data_range: float, noise: np.random.Generator) -> None:
    first, second = pictures(noise)
    got = ssim(
        batch(first / 255 * data_range),
        batch(second / 255 * data_range),
        data_range=data_range,
        border=0,
        color=color,  # type: ignore[arg-type]
    )
    planes = (luma(first), luma(second)) if color == "y" else (first, second)
    expected = structural_similarity(
        *planes,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=None if color == "y" else -1,
    )
    assert got.item() == pytest.approx(expected, abs=1e-6)


def test_equal_pictures_are_infinitely_alike(noise: np.random.Generator) -> None:
    first, _ = pictures(noise)
    assert psnr(batch(first), batch(first), data_range=255, border=0, color="y").item() == float("inf")
    assert ssim(batch(first), batch(first), data_range=255, border=0, color="y").item() == pytest.approx(1)


def test_psnr_by_hand() -> None:
    black, grey = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.1)
    grey[1] *= 10
    assert psnr(black, grey, data_range=1, border=0, color="y").tolist() == pytest.approx([20, 0], abs=1e-5)


def test_what_cannot_be_compared_is_refused() -> None:
    image = torch.zeros(1, 3, 12, 12)
    with pytest.raises(UsageError, match="alike"):
        psnr(image, image[..., 1:], data_range=1, border=0, color="y")
    with pytest.raises(UsageError, match="border of 6"):
        psnr(image, image, data_range=1, border=6, color="y")
    with pytest.raises(UsageError, match="11x11"):
        ssim(image, image, data_range=1, border=4, color="y")
    with pytest.raises(UnknownNameError, match="psnr"):
        measure(np.zeros((12, 12, 3), np.uint8), np.zeros((12, 12, 3), np.uint8), ["pnsr"], border=0, color="y")


def test_an_output_of_the_wrong_size_is_an_error_that_names_the_picture(photos: Path) -> None:
    with pytest.raises(DataError, match="made 56x48 of photo-0, expected 112x96"):
        benchmark(
            lambda low_res: imresize(low_res, 2),
            PairFolder(photos, 4),
            model="wrong",
            data="photos",
            metrics=("psnr",),
            border=4,
            color="y",
        )


CONVENTION = Convention(scale=4, color="y", border=4, low_res="bicubic, double")
ROWS = [
    Row("bicubic", "Set5", "psnr", {"a": 20.0, "b": 30.0}),
    Row("bicubic", "Set5", "ssim", {"a": 0.5, "b": 0.7}),
    Row("ours", "Set5", "psnr", {"a": 24.0, "b": 32.0}),
    Row("ours", "Set5", "ssim", {"a": 0.55, "b": 0.7}),
]


def test_the_table_says_means_best_direction_and_convention() -> None:
    header, bicubic, ours, convention = to_text(ROWS, CONVENTION).splitlines()
    assert header.split() == ["data", "model", "PSNR", "dB", "↑", "SSIM", "↑"]
    assert bicubic.split() == ["Set5", "bicubic", "25.00", "0.6000"]
    assert ours.split() == ["Set5", "ours", "28.00*", "0.6250*"]
    for part in ("×4", "Y (BT.601", "border 4 px", "bicubic, double", "8-bit", "multiple of 4"):
        assert part in convention


def test_json_has_the_published_shape() -> None:
    content = to_json(ROWS, CONVENTION)
    assert content["version"] == 1
    assert content["convention"]["border"] == 4
    assert content["rows"][0] == {
        "model": "bicubic",
        "data": "Set5",
        "metric": "psnr",
        "mean": 25.0,
        "std": 5.0,
        "images": {"a": 20.0, "b": 30.0},
    }
