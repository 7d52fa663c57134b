from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log10
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from scipy.ndimage import convolve
from skimage import data
from torch import Tensor

from superscale.data.degrade import Canvas, blurred, chain, degrade, extended, gaussian_noise, noisy, poisson_noise, resized
from superscale.data.draws import FAMILIES, DegradationConfig, Draw, RoundConfig, SecondRoundConfig, draw
from superscale.data.jpeg import jpeg
from superscale.data.kernels import gaussian, pulse
from superscale.data.loader import load_batch, stream, to_device
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare
from superscale.errors import DataError, RecipeError

CPU = torch.device("cpu")
PUBLISHED = DegradationConfig()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(height: int, width: int, top: int = 60) -> Tensor:
    pixels = data.astronaut()[top : top + height, 150 : 150 + width]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def inner(canvas: Canvas, index: int) -> Tensor:
    height, width = canvas.sizes[index]
    return canvas.planes[index, :, 16 : 16 + height, 16 : 16 + width]


def draws(count: int, config: DegradationConfig = PUBLISHED) -> list[Draw]:
    return [draw(config, generator(seed)) for seed in range(count)]


def psnr(first: Tensor, second: Tensor) -> float:
    return -10 * log10(max((first - second).square().mean().item(), 1e-20))


def test_the_chain_gives_finite_pictures_of_exactly_the_low_size() -> None:
    pictures = torch.stack([photo(48, 80, top) for top in range(0, 120, 10)])
    for scale in (2, 4):
        low_res = degrade(pictures, draws(12), scale)
        assert low_res.shape == (12, 3, 48 // scale, 80 // scale)
        assert torch.isfinite(low_res).all()
        assert low_res.min() >= 0
        assert low_res.max() <= 1
        assert len({low.numpy().tobytes() for low in low_res}) == 12


def test_a_picture_is_degraded_bitwise_the_same_in_any_batch() -> None:
    pictures, all_draws = torch.stack([photo(64, 64, top) for top in range(0, 60, 10)]), draws(6)
    whole = degrade(pictures, all_draws, 4)
    assert torch.equal(whole, degrade(pictures, all_draws, 4))
    parts = [degrade(pictures[at : at + 2], all_draws[at : at + 2], 4) for at in (0, 2, 4)]
    assert torch.equal(whole, torch.cat(parts))


def test_on_one_canvas_pictures_do_not_disturb_each_other() -> None:
    """The way of a GPU: sums are rounded otherwise there, which JPEG's rounding can turn into a step in a few blocks."""
    pictures, all_draws = torch.stack([photo(64, 64, top) for top in range(0, 80, 10)]), draws(8)
    alone = degrade(pictures, all_draws, 4)
    together = chain(pictures, all_draws, 4)
    for index in range(8):
        assert psnr(alone[index], together[index]) > 45, index


def test_without_blur_noise_and_sinc_only_resizes_and_jpeg_at_its_best_are_left() -> None:
    step = {
        "blur_probability": 0.0,
        "resize_weights": {"keep": 1.0},
        "gaussian_probability": 1.0,
        "noise_sigma": (0.0, 0.0),
        "jpeg_quality": (100, 100),
    }
    config = DegradationConfig(
        first=RoundConfig(**step),  # type: ignore[arg-type]
        second=SecondRoundConfig(**step),  # type: ignore[arg-type]
        final_sinc_probability=0.0,
        jpeg_last_probability=1.0,
    )
    picture = photo(64, 96)[None]
    one = draw(config, generator())
    for method, mode in (("area", {"mode": "area"}), ("bilinear", {"mode": "bilinear"}), ("bicubic", {"mode": "bicubic"})):
        exact = replace(one, second=replace(one.second, method=method))  # type: ignore[arg-type]
        small = torch.nn.functional.interpolate(jpeg(picture, [100]), (16, 24), **mode)  # type: ignore[arg-type]
        expected = jpeg(small, [100])
        assert psnr(degrade(picture, [exact], 4), expected) > 50, method


def through_libjpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, 3) in [0, 1], by Pillow."""
    file = io.BytesIO()
    PillowImage.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(PillowImage.open(file)).astype(np.float32) / 255


def by_others(high_res: Tensor, one: Draw, scale: int) -> Tensor:
    """The whole chain without noise: scipy blurs, torch resizes, libjpeg compresses. (3, H, W) -> (3, H/scale, W/scale)."""

    def blur(pixels: np.ndarray, kernel: Tensor) -> np.ndarray:
        return np.stack([convolve(plane, kernel.numpy(), mode="reflect") for plane in np.moveaxis(pixels, 2, 0)], axis=2)

    def resize(pixels: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
        planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        return torch.nn.functional.interpolate(planes, size, mode=mode)[0].permute(1, 2, 0).numpy()

    height, width = high_res.shape[-2:]
    low = (height // scale, width // scale)
    pixels = high_res.permute(1, 2, 0).numpy()
    for step, (rows, columns) in ((one.first, (height, width)), (one.second, low)):
        pixels = resize(blur(pixels, step.kernel), (int(rows * step.factor), int(columns * step.factor)), step.method).clip(
            0, 1
        )
        pixels = through_libjpeg(pixels, step.quality) if step is one.first else pixels

    def shrink(pixels: np.ndarray) -> np.ndarray:
        return blur(resize(pixels, low, one.final_method), one.final_kernel).clip(0, 1)

    quality = one.second.quality
    pixels = through_libjpeg(shrink(pixels), quality) if one.jpeg_last else shrink(through_libjpeg(pixels, quality))
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("jpeg_last", [False, True])
def test_the_whole_chain_is_that_of_scipy_torch_and_libjpeg_in_either_order(jpeg_last: bool) -> None:
    """Noise aside, which has its own tests. Eight draws; the other order of JPEG and the last resize is farther away each time."""
    quiet = {"gaussian_probability": 1.0, "noise_sigma": (0.0, 0.0), "jpeg_quality": (30, 60)}
    config = DegradationConfig(
        first=RoundConfig(**quiet),  # type: ignore[arg-type]
        second=SecondRoundConfig(**quiet),  # type: ignore[arg-type]
        jpeg_last_probability=float(jpeg_last),
    )
    pictures = torch.stack([photo(160, 192, top) for top in range(0, 160, 20)])
    # libjpeg fills up the last blocks in its own way.
    inside = (..., slice(4, -4), slice(4, -4))
    all_draws = draws(8, config)
    for picture, one, got in zip(pictures, all_draws, degrade(pictures, all_draws, 4), strict=True):
        expected, swapped = (by_others(picture, replace(one, jpeg_last=last), 4) for last in (jpeg_last, not jpeg_last))
        assert psnr(got[inside], expected[inside]) > 37
        assert psnr(got[inside], expected[inside]) > psnr(got[inside], swapped[inside]) + 3


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_resizing_on_a_canvas_is_pytorchs_for_each_picture_by_itself(mode: str) -> None:
    pictures = torch.stack([photo(50, 37), photo(50, 37, 100), photo(50, 37, 200)])
    sizes = [(23, 61), (75, 37), (8, 9)]
    canvas = resized(extended(pictures), sizes, [mode] * 3)  # type: ignore[list-item]
    for index, size in enumerate(sizes):
        expected = torch.nn.functional.interpolate(pictures[index : index + 1], size, mode=mode)[0]
        torch.testing.assert_close(inner(canvas, index), expected, atol=2e-6, rtol=0)
    again = resized(canvas, [(30, 30)] * 3, [mode] * 3)  # type: ignore[list-item]
    for index, size in enumerate(sizes):
        expected = torch.nn.functional.interpolate(pictures[index : index + 1], size, mode=mode)
        expected = torch.nn.functional.interpolate(expected, (30, 30), mode=mode)[0]
        torch.testing.assert_close(inner(again, index), expected, atol=4e-6, rtol=0)


def test_blur_is_direct_convolution_with_mirrored_borders() -> None:
    pictures = torch.stack([photo(50, 37), photo(50, 37, 100)])
    kernels = [gaussian(21, (1.0, 4.0), 0.7).float(), pulse(21).float()]
    canvas = blurred(extended(pictures), kernels)
    mirrored = np.pad(pictures[0].numpy(), ((0, 0), (10, 10), (10, 10)), mode="symmetric")
    expected = torch.nn.functional.conv2d(torch.from_numpy(mirrored)[:, None], kernels[0][None, None])[:, 0]
    torch.testing.assert_close(inner(canvas, 0), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(inner(canvas, 1), pictures[1], atol=1e-5, rtol=0)
    by_scipy = np.stack([convolve(plane, kernels[0].numpy(), mode="reflect") for plane in pictures[0].numpy()])
    np.testing.assert_allclose(inner(canvas, 0).numpy(), by_scipy, atol=1e-5)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("sigma", [1.0, 12.5, 30.0])
def test_gaussian_noise_has_the_deviation_it_was_given(sigma: float, grey: bool) -> None:
    noise = gaussian_noise(torch.zeros(3, 300, 300), sigma, grey, generator()).expand(3, -1, -1)
    assert noise.std().item() * 255 == pytest.approx(sigma, rel=0.01)
    assert abs(noise.mean().item()) * 255 < 0.01 * sigma
    correlation = np.corrcoef(noise.reshape(3, -1).numpy())[0, 1]
    assert correlation == pytest.approx(1.0 if grey else 0.0, abs=0.01)


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_varies_with_the_signal_and_with_the_square_of_its_scale(grey: bool) -> None:
    for scale in (0.5, 3.0):
        for value in (0.05, 0.2, 0.8, 1.0):
            noise = poisson_noise(torch.full((3, 300, 300), value), scale, grey, generator())
            assert noise.var().item() == pytest.approx(scale**2 * value / 256, rel=0.03)
            assert noise.shape[0] == (1 if grey else 3)
    coloured = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 300, 300)
    variance = poisson_noise(coloured, 1.0, grey, generator()).var(dim=(1, 2))
    expected = [0.299 / 256] if grey else [1 / 256, 0, 0]
    np.testing.assert_allclose(variance, expected, rtol=0.03, atol=1e-9)


def test_noise_is_clipped_and_its_generator_is_the_pictures_own() -> None:
    steps = [replace(one.first, noise="gaussian", noise_level=80.0) for one in draws(2)]
    pictures = torch.stack([photo(32, 32)] * 2)
    both = noisy(extended(pictures), steps, [generator(1), generator(2)])
    second = noisy(extended(pictures[1:]), steps[1:], [generator(2)])
    assert torch.equal(inner(both, 1), inner(second, 0))
    assert not torch.equal(inner(both, 0), inner(both, 1))
    assert both.planes.min() == 0
    assert both.planes.max() == 1


def test_draws_keep_to_their_ranges_and_probabilities() -> None:
    """Figures of the published option file; the bounds on shares are four standard deviations."""
    count = 800
    seen = draws(count)
    first, second = [one.first for one in seen], [one.second for one in seen]
    shares: list[tuple[Callable[[Draw], bool], float]] = [
        (lambda one: one.first.factor > 1, 0.2),
        (lambda one: one.first.factor < 1, 0.7),
        (lambda one: one.second.factor > 1, 0.3),
        (lambda one: one.second.factor < 1, 0.4),
        (lambda one: one.first.noise == "gaussian", 0.5),
        (lambda one: one.second.grey_noise, 0.4),
        (lambda one: one.jpeg_last, 0.5),
        (lambda one: bool(one.second.kernel[10, 10] == 1), 0.2),
        (lambda one: bool(one.final_kernel[10, 10] == 1), 0.2),
        (lambda one: one.final_method == "area", 1 / 3),
    ]
    for happens, expected in shares:
        share = sum(happens(one) for one in seen) / count
        assert abs(share - expected) < 4 * (expected * (1 - expected) / count) ** 0.5
    for steps, factors, sigmas, scales in (
        (first, (0.15, 1.5), (1, 30), (0.05, 3)),
        (second, (0.3, 1.2), (1, 25), (0.05, 2.5)),
    ):
        for values, (low, high) in (
            ([step.factor for step in steps], factors),
            ([step.noise_level for step in steps if step.noise == "gaussian"], sigmas),
            ([step.noise_level for step in steps if step.noise == "poisson"], scales),
            ([step.quality for step in steps], (30, 95)),
        ):
            assert low <= min(values) < low + 0.05 * (high - low)
            assert high - 0.05 * (high - low) < max(values) <= high


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_kernels_can_be_asked_for_alone(family: str) -> None:
    first = RoundConfig(kernel_weights={family: 1.0}, sinc_probability=0.0, blur_sigma=(1.0, 2.0))
    kernels = [one.first.kernel for one in draws(20, DegradationConfig(first=first, kernel_px=(21, 21)))]
    turned = [bool(torch.allclose(kernel, kernel.rot90(), atol=1e-6)) for kernel in kernels]
    assert all(turned) == (not family.endswith("aniso"))
    for kernel in kernels:
        assert kernel.sum().item() == pytest.approx(1, abs=1e-5)


def test_kernels_have_all_odd_sides_of_their_range() -> None:
    first = RoundConfig(kernel_weights={"plateau_iso": 1.0}, sinc_probability=0.0)
    sides = {int((one.first.kernel > 0).any(dim=0).sum()) for one in draws(100, DegradationConfig(first=first))}
    assert sides == {7, 9, 11, 13, 15, 17, 19, 21}


@pytest.fixture
def plan(photos: Path, tmp_path: Path) -> PatchPlan:
    prepare(photos, tmp_path / "pack")
    return PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=32, seed=5, degradation=PUBLISHED)


def test_ranks_batches_and_resumes_degrade_alike(plan: PatchPlan) -> None:
    whole = to_device(next(stream(partial(load_batch, plan), start=12, batch=12)), CPU, 4, "double")
    for start, batch, rank, world_size in ((12, 12, 0, 1), (12, 6, 1, 2), (20, 4, 0, 1), (14, 3, 2, 3)):
        part = to_device(
            next(stream(partial(load_batch, plan), start=start, batch=batch, rank=rank, world_size=world_size)),
            CPU,
            4,
            "double",
        )
        for number, low_res, high_res in zip(part.numbers, part.low_res, part.high_res, strict=True):
            if number in whole.numbers:
                assert torch.equal(low_res, whole.low_res[number - 12])
                assert torch.equal(high_res, whole.high_res[number - 12])


def test_every_patch_has_a_draw_of_its_own_and_another_seed_has_others(plan: PatchPlan) -> None:
    noise_seeds = {one.noise_seed for number in range(50) if (one := plan.draw(number)) is not None}
    assert len(noise_seeds) == 50
    other = PatchPlan(plan.pack, scale=4, patch_px=32, seed=6, degradation=PUBLISHED)
    first, second = plan.draw(3), other.draw(3)
    assert first is not None
    assert second is not None
    assert first.noise_seed != second.noise_seed
    assert PatchPlan(plan.pack, scale=4, patch_px=32, seed=5).draw(3) is None


def test_high_res_is_the_patch_itself_and_low_res_lies_where_it_does(plan: PatchPlan) -> None:
    plain = PatchPlan(plan.pack, scale=4, patch_px=32, seed=5)
    degraded = to_device(next(stream(partial(load_batch, plan), start=0, batch=24)), CPU, 4, "double")
    bicubic = to_device(next(stream(partial(load_batch, plain), start=0, batch=24)), CPU, 4, "double")
    assert torch.equal(degraded.high_res, bicubic.high_res)
    levels = degraded.low_res * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)

    def distance(low_res: Tensor) -> Tensor:
        return (degraded.low_res - low_res).abs().mean(dim=(1, 2, 3))

    assert (distance(bicubic.low_res) < distance(bicubic.low_res.flip(-1))).float().mean() > 0.9
    assert (distance(bicubic.low_res) < distance(bicubic.low_res.roll(2, -1))).float().mean() > 0.9


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RoundConfig(blur_probability=1.5), r"blur_probability must be in \[0, 1\], got 1.5"),
        (lambda: RoundConfig(jpeg_quality=(95, 30)), r"jpeg_quality must be \[low, high\] within 1 to 100, got \[95, 30\]"),
        (lambda: RoundConfig(resize_weights={"dwon": 1.0}), r"'dwon' \(did you mean 'down'\?\)"),
        (lambda: RoundConfig(kernel_weights={"iso": 0.0}), "one must be positive"),
        (lambda: DegradationConfig(kernel_px=(8, 21)), r"kernel_px must be odd, got \[8, 21\]"),
        (lambda: DegradationConfig(kernel_px=(7, 41)), "kernel_px must be .* within 3 to 31"),
    ],
)
def test_ranges_that_cannot_be_are_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        make()


def test_sizes_and_draws_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="multiples of the scale 4, got 30x32"):
        degrade(torch.zeros(1, 3, 32, 30), draws(1), 4)
    with pytest.raises(DataError, match="a draw for each of 2 pictures, got 1"):
        degrade(torch.zeros(2, 3, 32, 32), draws(1), 4)
