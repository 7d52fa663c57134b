"""The resizer against MATLAB's own pictures, against Pillow inside the border, and against imresize's definition written out."""

from __future__ import annotations

from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from superscale.errors import UsageError
from superscale.image.region import Region, covering
from superscale.image.resize import Rounding, imresize, margin_px, resize_matrix, resize_part, resize_to


def read(path: Path) -> np.ndarray:
    return np.asarray(PillowImage.open(path).convert("RGB"))


def definition(row: np.ndarray, scale: float, method: str) -> np.ndarray:
    """MATLAB's imresize of one row, sample by sample: stretched kernel, normalised weights, mirrored border."""

    def kernel(x: float) -> float:
        x = abs(x)
        if method == "bilinear":
            return max(0.0, 1 - x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    stretch, out, n = min(scale, 1.0), [], len(row)
    width = (2 if method == "bilinear" else 4) / stretch
    for i in range(1, ceil(n * scale) + 1):
        u = i / scale + 0.5 * (1 - 1 / scale)
        taps = range(floor(u - width / 2), floor(u - width / 2) + ceil(width) + 2)
        weights = [stretch * kernel(stretch * (u - tap)) for tap in taps]
        mirror = [*range(1, n + 1), *range(n, 0, -1)]
        values = [row[mirror[(tap - 1) % (2 * n)] - 1] for tap in taps]
        out.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return np.array(out)


@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_uint8_rounding_equals_matlab_sample_for_sample(benchmarks: Path, name: str) -> None:
    expected = read(next((benchmarks / "Set5" / "LR_x4_uint8").glob(f"{name}*")))
    got = imresize(read(benchmarks / "Set5" / "HR" / f"{name}.png"), 1 / 4, rounding="uint8")
    assert got.shape == expected.shape
    assert np.count_nonzero(got != expected) == 0


@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_double_rounding_equals_matlab_but_for_ties(benchmarks: Path, name: str) -> None:
    high_res = read(benchmarks / "Set5" / "HR" / f"{name}.png")
    height, width = (side // 12 * 12 for side in high_res.shape[:2])
    expected = read(next((benchmarks / "Set5" / "LR_x4_double").glob(f"{name}*")))
    got = imresize(high_res[:height, :width], 1 / 4).astype(int)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1
    assert (got != expected).mean() <= 0.0006


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("scale", [4, 2, 1 / 4, 1 / 3, 0.3, 2.5, 1.0])
def test_every_scale_follows_imresizes_definition(method: str, scale: float, noise: np.random.Generator) -> None:
    row = noise.random(29)
    got = imresize(np.tile(row, (5, 1)), scale, method)[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(got, definition(row, scale, method), atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_pictures_smaller_than_the_kernel_are_mirrored_as_often_as_needed(length: int, noise: np.random.Generator) -> None:
    row = noise.random(length)
    got = imresize(row[None].repeat(length, 0), 1 / 4)[0]
    np.testing.assert_allclose(got, definition(row, 1 / 4, "bicubic"), atol=1e-12)


@pytest.mark.parametrize(("method", "pillow"), [("bicubic", PillowImage.BICUBIC), ("bilinear", PillowImage.BILINEAR)])
@pytest.mark.parametrize("factor", [4, 0.25])
def test_inside_the_border_it_agrees_with_pillow(method: str, pillow: int, factor: float, noise: np.random.Generator) -> None:
    plane = noise.random((64, 48)).astype(np.float32)
    size = (int(48 * factor), int(64 * factor))
    expected = np.asarray(PillowImage.fromarray(plane).resize(size, pillow))
    inside = (slice(12, -12),) * 2 if factor > 1 else (slice(3, -3),) * 2
    np.testing.assert_allclose(imresize(plane, factor, method)[inside], expected[inside], atol=2e-6)  # type: ignore[arg-type]


def test_integer_tensors_equal_arrays_in_both_roundings(noise: np.random.Generator) -> None:
    pixels = noise.integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for rounding in ("double", "uint8"):
        got = imresize(batch, 0.25, rounding=rounding).permute(0, 2, 3, 1)  # type: ignore[arg-type]
        assert got.dtype == torch.uint8
        for index in range(2):
            expected = imresize(pixels[index], 0.25, rounding=rounding)  # type: ignore[arg-type]
            np.testing.assert_array_equal(got[index].numpy(), expected)


@pytest.mark.parametrize("rounding", ["double", "uint8"])
@pytest.mark.parametrize("scale", [1 / 8, 1 / 4, 1 / 2, 2, 4])
def test_bytes_at_powers_of_two_lose_nothing_in_float32(scale: float, rounding: Rounding, noise: np.random.Generator) -> None:
    # Black and white make the largest sums, and half-way sums: the one lost bit would turn a rounding.
    pictures = noise.integers(0, 256, (8, 3, 160, 152), dtype=np.uint8)
    pictures[:4] = pictures[:4] // 128 * 255
    arrays = [imresize(np.moveaxis(each, 0, -1), scale, rounding=rounding) for each in pictures]
    expected = np.moveaxis(np.stack(arrays), -1, 1)
    np.testing.assert_array_equal(imresize(torch.from_numpy(pictures), scale, rounding=rounding).numpy(), expected)


def test_coarser_products_of_float32_leave_the_resize_of_bytes_alone(noise: np.random.Generator) -> None:
    pictures = torch.from_numpy(noise.integers(0, 256, (8, 3, 160, 152), dtype=np.uint8))
    expected = imresize(pictures, 1 / 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(imresize(pictures, 1 / 4), expected)
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    try:
        settings.fp32_precision = "bf16"
        assert torch.equal(imresize(pictures, 1 / 4), expected)
    finally:
        settings.fp32_precision = before


def test_floats_come_back_unrounded_and_unclipped() -> None:
    edge = np.zeros((16, 16))
    edge[:, 8:] = 1
    enlarged = imresize(edge, 4)
    assert enlarged.max() > 1.01
    assert enlarged.min() < -0.01
    assert imresize(torch.from_numpy(edge), 4, rounding="uint8").numpy() == pytest.approx(enlarged)


def test_large_pictures_resize_block_by_block_to_the_same_samples(noise: np.random.Generator) -> None:
    plane = noise.random((700, 9))
    matrix = resize_matrix(700, 350, 0.5, "bicubic")
    np.testing.assert_allclose(resize_to(plane, 350, 9), matrix @ plane, atol=1e-12)


def test_sizes_are_the_ceiling_of_length_times_scale() -> None:
    assert imresize(np.zeros((63, 10)), 1 / 4).shape == (16, 3)
    assert imresize(np.zeros((100, 10, 3), np.uint8), 0.07).shape == (7, 1, 3)
    assert resize_to(np.zeros((10, 10)), 3, 25).shape == (3, 25)


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="positive"):
        imresize(np.zeros((4, 4)), scale)


def test_unknown_methods_and_roundings_are_refused() -> None:
    with pytest.raises(UsageError, match="bicubic, bilinear"):
        imresize(np.zeros((4, 4)), 2, "lanczos")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="double"):
        imresize(np.zeros((4, 4)), 2, rounding="half")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"\(H, W\)"):
        imresize(np.zeros(4), 2)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("new_size", [(80, 120), (35, 50), (10, 15), (61, 44), (20, 90)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_part_is_what_the_whole_has_there_and_the_same_in_every_part(
    new_size: tuple[int, int], method: Any, dtype: Any
) -> None:
    pixels = np.random.default_rng(3).integers(0, 250, (20, 30, 2)).astype(dtype)
    size, all_of_it = (20, 30), Region(0, 0, 20, 30)
    expected = resize_to(pixels, *new_size, method)
    got = resize_part(pixels, all_of_it, size, Region(0, 0, *new_size), new_size, method)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_allclose(got.astype(float), expected, atol=1e-4 if dtype is np.float32 else method == "bilinear")
    margin = margin_px(min(new_size[0] / 20, new_size[1] / 30), method) + 1
    for region in covering(20, 30, 7):
        at_hand = region.grown(margin, 20, 30)
        top, bottom = (edge * new_size[0] // 20 for edge in (region.top, region.bottom))
        left, right = (edge * new_size[1] // 30 for edge in (region.left, region.right))
        target = Region(top, left, bottom - top, right - left)
        part = resize_part(at_hand.of_pixels(pixels), at_hand, size, target, new_size, method)
        np.testing.assert_array_equal(part, target.of_pixels(got))
