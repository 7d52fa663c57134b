"""Bicubic and bilinear rows of the benchmark sets, in both conventions, against MATLAB's resizing, luma and scores written out."""

from __future__ import annotations

from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from superscale.data.pairs import PairFolder
from superscale.evaluation.benchmark import benchmark
from superscale.image.resize import imresize

PUBLISHED = {"Set5": (28.43, 0.811), "Set14": (26.09, 0.705), "BSD100": (25.96, 0.668)}
SETS = ["Set5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Set14", "BSD100"))]


def kernel(method: str, x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    if method == "bilinear":
        return np.clip(1 - x, 0, None)
    return (x <= 1) * (1.5 * x**3 - 2.5 * x**2 + 1) + ((x > 1) & (x <= 2)) * (-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)


def resized_axis(pixels: np.ndarray, scale: float, method: str) -> np.ndarray:
    """MATLAB's contributions() along the first axis, one output row after the other, counted from 1."""
    length, stretch = len(pixels), min(scale, 1)
    width = (4 if method == "bicubic" else 2) / stretch
    mirror = [*range(length), *range(length - 1, -1, -1)]
    rows = []
    for place in range(1, ceil(length * scale) + 1):
        centre = place / scale + 0.5 * (1 - 1 / scale)
        taps = np.arange(floor(centre - width / 2), floor(centre - width / 2) + ceil(width) + 2)
        weights = stretch * kernel(method, stretch * (centre - taps))
        read = [mirror[(tap - 1) % (2 * length)] for tap in taps]
        rows.append(np.tensordot(weights / weights.sum(), pixels[read], axes=1))
    return np.array(rows)


def rounded(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(pixels + 0.5), 0, 255)


def resized(pixels: np.ndarray, scale: float, method: str, convention: str) -> np.ndarray:
    between = resized_axis(pixels.astype(float), scale, method)
    between = rounded(between) if convention == "uint8" else between
    return rounded(resized_axis(between.swapaxes(0, 1), scale, method).swapaxes(0, 1))


def luma(pixels: np.ndarray) -> np.ndarray:
    return (pixels @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[4:-4, 4:-4]


@pytest.fixture(scope="module", params=SETS)
def low_and_high(request: pytest.FixtureRequest, benchmarks: Path) -> tuple[str, Path]:
    return request.param, benchmarks / request.param / "HR"


@pytest.mark.parametrize("convention", ["double", "uint8"])
def test_rows_are_those_of_an_independent_implementation(low_and_high: tuple[str, Path], convention: str) -> None:
    name, folder = low_and_high
    expected: dict[str, list[tuple[float, float]]] = {"bicubic": [], "bilinear": []}
    for path in sorted(folder.iterdir()):
        pixels = np.asarray(PillowImage.open(path).convert("RGB"))
        high_res = pixels[: len(pixels) // 4 * 4, : pixels.shape[1] // 4 * 4]
        low_res = resized(high_res, 1 / 4, "bicubic", convention)
        for method, values in expected.items():
            planes = luma(resized(low_res, 4, method, "double")), luma(high_res)
            psnr = peak_signal_noise_ratio(*planes, data_range=255)
            options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
            values.append((psnr, structural_similarity(*planes, data_range=255, **options)))
    for method, values in expected.items():
        pairs = PairFolder(folder, 4, convention)  # type: ignore[arg-type]
        rows = benchmark(lambda low_res, method=method: imresize(low_res, 4, method), pairs, model=method)
        psnr, ssim = np.mean(values, axis=0)
        assert rows[0].mean == pytest.approx(psnr, abs=0.01)
        assert rows[1].mean == pytest.approx(ssim, abs=0.001)
        assert f"low-res: bicubic, {convention}" in str(rows)
        if (method, convention) == ("bicubic", "double"):
            assert rows[0].mean == pytest.approx(PUBLISHED[name][0], abs=0.01)
            assert rows[1].mean == pytest.approx(PUBLISHED[name][1], abs=0.001)
