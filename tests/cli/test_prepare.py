from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image as PillowImage

from superscale.data.draws import DegradationConfig
from superscale.data.loader import load_batch, to_device
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.image.captions import BAND_PX
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize

Command = Callable[..., int]


def cells(sheet: Path, side: int) -> np.ndarray:
    """The patches of a sheet, (rows, columns, side, side, 3); they lie 4 pixels apart."""
    pixels = np.asarray(PillowImage.open(sheet).convert("RGB"))[BAND_PX:]
    pixels = np.pad(pixels, ((0, 4), (0, 4), (0, 0)))
    rows, columns = pixels.shape[0] // (side + 4), pixels.shape[1] // (side + 4)
    assert pixels.shape == (rows * (side + 4), columns * (side + 4), 3)
    return pixels.reshape(rows, side + 4, columns, side + 4, 3).swapaxes(1, 2)[:, :, :side, :side]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "real.toml"
    path.write_text(
        'generator = { name = "compact" }\n'
        'data = { patch_px = 64, low_res = "degraded", degradation = {} }\n'
        "stage = { psnr = { images = 4, pixel = {} } }\n"
    )
    return path


def test_the_preview_shows_patches_and_matlabs_reductions(photos: Path, tmp_path: Path, command: Command) -> None:
    assert command("prepare", photos, "-o", tmp_path / "pack", "--preview") == 0
    shown = cells(tmp_path / "pack" / "preview.png", 96)
    assert shown.shape[:2] == (6, 2)
    plan = PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=96, seed=0)
    for number, (high_res, low_res) in enumerate(shown):
        place = plan.place(number)
        truth = plan.pack.high_res(place.tile)
        left = 4 * place.left
        np.testing.assert_array_equal(high_res, truth[:96, left : left + 96])
        reduced = imresize(np.asarray(truth), 1 / 4)[:, place.left : place.left + 24]
        np.testing.assert_array_equal(low_res, np.kron(reduced, np.ones((4, 4, 1), np.uint8)))


def test_the_preview_of_a_recipe_shows_what_the_loader_will_give_and_later_draws_of_the_same_patch(
    photos: Path, recipe: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("prepare", photos, "-o", tmp_path / "pack", "--preview", "--recipe", recipe) == 0
    shown = cells(tmp_path / "pack" / "preview.png", 64)
    assert shown.shape[:2] == (6, 5)
    for row in shown:
        assert len({cell.tobytes() for cell in row}) == 5
        for low_res in row[1:]:
            np.testing.assert_array_equal(low_res, np.kron(low_res[::4, ::4], np.ones((4, 4, 1), np.uint8)))
    plan = PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=64, seed=0, augment=False, degradation=DegradationConfig())
    trained_on = to_device(load_batch(plan, tuple(range(6)), stored_low_res=False), torch.device("cpu"), 4, "double")
    for row, low_res, high_res in zip(shown, trained_on.low_res, trained_on.high_res, strict=True):
        np.testing.assert_array_equal(row[0], np.rint(255 * high_res.permute(1, 2, 0).numpy()))
        np.testing.assert_array_equal(row[1, ::4, ::4], np.rint(255 * low_res.permute(1, 2, 0).numpy()))
    capsys.readouterr()
    before = (tmp_path / "pack" / "manifest.json").stat().st_mtime_ns
    assert command("prepare", photos, "-o", tmp_path / "pack", "--preview") == 0
    assert "prepared already, only the preview" in capsys.readouterr().err
    assert (tmp_path / "pack" / "manifest.json").stat().st_mtime_ns == before
    assert cells(tmp_path / "pack" / "preview.png", 96).shape[1] == 2


def test_what_the_preview_cannot_show_is_an_error_before_anything_is_prepared(
    photos: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("prepare", photos, "-o", tmp_path / "pack", "--recipe", "real_x4") == 2
    assert "--preview" in capsys.readouterr().err
    assert command("prepare", photos, "-o", tmp_path / "pack", "--preview", "--recipe", "reel_x4") == 2
    assert "did you mean 'real_x4'" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()


def test_pairs_are_packed_reported_and_counted(tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    photo = skimage.data.astronaut()[100:356]
    for name, left in (("a", 100), ("b", 96)):
        write_image(tmp_path / "HR" / f"{name}.png", Image(np.ascontiguousarray(photo[:, 100:356])))
        write_image(tmp_path / "LR" / f"{name}.png", Image(imresize(np.ascontiguousarray(photo[:, left : left + 256]), 1 / 4)))
    assert command("prepare", tmp_path / "HR", "--low-res", tmp_path / "LR", "-o", tmp_path / "pack") == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'pack'}: 2 sub-images of 2 pairs, 0 skipped, 1 shifted\n"
    assert "shifted b.png: its low-res picture lies 0.00 low-res pixels too high and 1.00 too far right" in err
    assert command("prepare", tmp_path / "HR", "--low-res", "doubel", "-o", tmp_path / "other") == 2
    assert "none, double, uint8 or a folder" in capsys.readouterr().err
