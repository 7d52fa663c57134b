"""Each step of a photograph's damage against another program's: scipy, Pillow, libjpeg."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter

from superscale.data.patches import PatchPlan
from superscale.data.photograph import PhotographConfig, PhotographDraw, draw_photograph, photographed
from superscale.data.prepare import prepare_synthetic
from superscale.data.synthetic import synthetic_picture
from superscale.errors import RecipeError
from superscale.image.resize import imresize

NOTHING = PhotographDraw(0.0, "bicubic", 0.0, 1.0, 0.0, False, None, 7)
PICTURE = synthetic_picture(2, 128)
PLANES = torch.from_numpy(PICTURE).permute(2, 0, 1)[None].float() / 255


def damaged(**changes: object) -> np.ndarray:
    low_res = photographed(PLANES, [replace(NOTHING, **changes)], 4)  # type: ignore[arg-type]
    return low_res[0].permute(1, 2, 0).numpy()


def test_without_damage_it_is_matlabs_bicubic() -> None:
    np.testing.assert_allclose(damaged(), imresize(PICTURE / 255, 0.25).clip(0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "pillow"), [("lanczos3", PillowImage.Resampling.LANCZOS), ("box", PillowImage.Resampling.BOX)]
)
def test_reductions_are_pillows_away_from_the_border(method: str, pillow: PillowImage.Resampling) -> None:
    plane = PillowImage.fromarray(np.ascontiguousarray(PICTURE[..., 1], np.float32) / 255)
    expected = np.asarray(plane.resize((32, 32), pillow)).clip(0, 1)
    np.testing.assert_allclose(damaged(method=method)[3:-3, 3:-3, 1], expected[3:-3, 3:-3], atol=2e-6)


def test_blur_and_unsharp_mask_are_scipys() -> None:
    blurred = gaussian_filter(PICTURE / 255, (1.7, 1.7, 0), mode="reflect", truncate=3)
    np.testing.assert_allclose(damaged(blur_sigma=1.7), imresize(blurred, 0.25).clip(0, 1), atol=1e-5)
    low_res = imresize(PICTURE / 255, 0.25)
    sharp = low_res + 0.8 * (low_res - gaussian_filter(low_res, (0.9, 0.9, 0), mode="reflect", truncate=3))
    np.testing.assert_allclose(damaged(sharpen_amount=0.8, sharpen_sigma=0.9), sharp.clip(0, 1), atol=1e-5)


def test_noise_has_its_deviation_and_grey_noise_is_alike_in_all_channels() -> None:
    grey = torch.full((1, 3, 800, 800), 0.5)
    noise = photographed(grey, [replace(NOTHING, noise_sigma=8.0)], 4) - 0.5
    assert noise.std().item() * 255 == pytest.approx(8, rel=0.02)
    assert abs(np.corrcoef(noise[0, 0].flatten(), noise[0, 1].flatten())[0, 1]) < 0.03
    alike = photographed(grey, [replace(NOTHING, noise_sigma=8.0, grey_noise=True)], 4)
    torch.testing.assert_close(alike[0, 0], alike[0, 1])


def test_jpeg_is_libjpegs_but_for_rounding() -> None:
    plain = (damaged() * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(plain).save(buffer, "JPEG", quality=50, subsampling=2)
    expected = np.asarray(PillowImage.open(buffer)).astype(int)
    error = np.mean((damaged(jpeg_quality=50) * 255 - expected) ** 2)
    assert error < 2, "rounding alone, on saturated edges; the damage itself is tens of times as large"
    assert np.mean((plain.astype(int) - expected) ** 2) > 30


def test_draws_stay_in_their_ranges_and_a_step_happens_as_often_as_said() -> None:
    config = PhotographConfig()
    generator = torch.Generator().manual_seed(1)
    draws = [draw_photograph(config, generator) for _ in range(2000)]
    assert np.mean([bool(draw.blur_sigma) for draw in draws]) == pytest.approx(config.blur_probability, abs=0.04)
    assert np.mean([draw.jpeg_quality is not None for draw in draws]) == pytest.approx(config.jpeg_probability, abs=0.03)
    assert {draw.jpeg_quality for draw in draws} - {None} == set(range(40, 96))
    assert max(draw.noise_sigma for draw in draws) <= 10
    shares = {name: np.mean([draw.method == name for draw in draws]) for name in config.reduction_weights}
    assert shares == pytest.approx(config.reduction_weights, abs=0.04)


def test_a_patchs_damage_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=3)
    from superscale.data.pack import Pack

    plans = [
        PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=64, seed=seed, degradation=PhotographConfig())
        for seed in (1, 1, 2)
    ]
    first, again, other = ([plan.draw(number) for number in range(5)] for plan in plans)
    assert first == again != other


def test_ranges_that_cannot_be_are_refused() -> None:
    for wrong in ({"jpeg_quality": (0, 50)}, {"noise_probability": 1.5}, {"reduction_weights": {"nearest": 1.0}}):
        with pytest.raises(RecipeError):
            PhotographConfig(**wrong)  # type: ignore[arg-type]
