"""Packs of real low- and high-resolution pictures: which belong together, and whether they lie over one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage
from skimage.registration import phase_cross_correlation

from superscale.data.alignment import pair_shift, shift
from superscale.data.loader import load_batch
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize


def scene(left: int = 0, top: int = 0) -> np.ndarray:
    """A piece of a photograph, 256 pixels a side."""
    photo: np.ndarray = skimage.data.astronaut()
    return np.ascontiguousarray(photo[100 - top : 356 - top, 100 - left : 356 - left])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """HR/ and LR_x4/ of two pictures; the low-res ones are noise that no reduction makes."""
    noise = np.random.default_rng(0)
    for number, name in enumerate(("a", "b")):
        write_image(tmp_path / "set" / "HR" / f"{name}.png", Image(synthetic_picture(number, 102)))
        write_image(tmp_path / "set" / "LR_x4" / f"{name}x4.png", Image(noise.integers(0, 256, (25, 25, 3), dtype=np.uint8)))
    return tmp_path / "set"


def test_the_layout_of_evaluate_becomes_a_pack_of_pairs(pairs: Path, tmp_path: Path) -> None:
    from PIL import Image as Pillow

    manifest = prepare(pairs, tmp_path / "pack", tile_px=52)
    assert manifest.low_res == "paired"
    assert {tile.source for tile in manifest.tiles} == {"a.png", "b.png"}
    pack = Pack(tmp_path / "pack")
    for number, tile in enumerate(pack.manifest.tiles):
        high = np.asarray(Pillow.open(pairs / "HR" / tile.source))
        low = np.asarray(Pillow.open(pairs / "LR_x4" / tile.source.replace(".png", "x4.png")))
        top, left = tile.top // 4, tile.left // 4
        np.testing.assert_array_equal(pack.low_res(number), low[top : top + tile.height // 4, left : left + tile.width // 4])
        expected = high[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        np.testing.assert_array_equal(pack.high_res(number), expected)
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=0, augment=False)
    batch = load_batch(plan, (0,), stored_low_res=True)
    place = plan.place(0)
    assert batch.low_res is not None
    np.testing.assert_array_equal(batch.low_res[0], pack.low_res(place.tile)[place.top :, place.left :][:8, :8])


def test_another_folder_of_low_res_pictures_gives_the_same_pack(pairs: Path, tmp_path: Path) -> None:
    prepare(pairs, tmp_path / "one")
    prepare(pairs / "HR", tmp_path / "two", low_res=pairs / "LR_x4")
    for name in ("manifest.json", "high_res.u8", "low_res.u8"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_reduction_that_is_asked_for_is_made_of_the_high_res_pictures_alone(pairs: Path, tmp_path: Path) -> None:
    prepare(pairs, tmp_path / "pack", low_res="double")
    pack = Pack(tmp_path / "pack")
    assert len(pack) == 2
    np.testing.assert_array_equal(pack.low_res(0), imresize(np.asarray(pack.high_res(0)), 1 / 4))


def test_realsr_names_are_matched_and_extra_low_res_pictures_are_told(tmp_path: Path) -> None:
    write_image(tmp_path / "HR" / "Canon_001_HR.png", Image(synthetic_picture(0, 64)))
    for name in ("Canon_001_LR4", "Canon_002_LR4"):
        write_image(tmp_path / "LR" / f"{name}.png", Image(synthetic_picture(0, 16)))
    manifest = prepare(tmp_path / "HR", tmp_path / "pack", low_res=tmp_path / "LR")
    assert [tile.source for tile in manifest.tiles] == ["Canon_001_HR.png"]
    assert manifest.skipped == (("LR/Canon_002_LR4.png", "no high-resolution partner"),)


def test_pairs_that_do_not_fit_are_refused_and_leave_nothing(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds LR_x4, but no LR_x2/"):
        prepare(pairs, tmp_path / "pack", scale=2)
    write_image(pairs / "LR_x4" / "bx4.png", Image(synthetic_picture(1, 26)))
    with pytest.raises(DataError, match=r"1 pictures are not 1/4 of their partner: bx4\.png \(26x26\) of b\.png \(102x102\)"):
        prepare(pairs, tmp_path / "pack")
    (pairs / "LR_x4" / "bx4.png").unlink()
    with pytest.raises(DataError, match=r"no low-resolution partner for b\.png"):
        prepare(pairs, tmp_path / "pack")
    write_image(pairs / "LR_x4" / "a.tiff", Image(synthetic_picture(1, 25)))
    write_image(pairs / "LR_x4" / "a.png", Image(synthetic_picture(1, 25)))
    with pytest.raises(DataError, match="two pictures are called a"):
        prepare(pairs, tmp_path / "pack")
    (pairs / "HR").rename(pairs / "high")
    with pytest.raises(DataError, match="no HR/ beside it"):
        prepare(pairs, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_a_damaged_low_res_picture_leaves_its_pair_out(pairs: Path, tmp_path: Path) -> None:
    path = pairs / "LR_x4" / "ax4.png"
    path.write_bytes(path.read_bytes()[:200])
    manifest = prepare(pairs, tmp_path / "pack")
    assert [tile.source for tile in manifest.tiles] == ["b.png"]
    ((name, why),) = manifest.skipped
    assert name == "a.png"
    assert "LR_x4/ax4.png" in why


@pytest.mark.parametrize(("top", "left"), [(0, 0), (2, 0), (1, 3), (8, -6), (-20, 3)])
def test_the_shift_of_a_pair_is_found_to_a_twentieth_of_a_pixel(top: int, left: int) -> None:
    low_res = imresize(scene(left, top), 1 / 4)
    assert pair_shift(scene(), low_res, 4) == pytest.approx((top / 4, left / 4), abs=0.05)


def test_brightness_blur_and_noise_do_not_hide_a_shift() -> None:
    seen = np.clip(imresize(scene(3, -2), 1 / 4) * 0.7 + 20 + np.random.default_rng(0).normal(0, 5, (64, 64, 3)), 0, 255)
    assert pair_shift(scene(), seen, 4) == pytest.approx((-0.5, 0.75), abs=0.1)


def test_the_shift_is_scikit_images() -> None:
    first, second = (imresize(scene(left, top), 1 / 4).mean(axis=2) for left, top in ((0, 0), (7, 10)))
    expected, _, _ = phase_cross_correlation(second, first, upsample_factor=20, normalization=None)
    assert shift(first, second) == pytest.approx(tuple(expected), abs=0.15)


def test_of_a_flat_or_tiny_picture_no_shift_is_told() -> None:
    assert pair_shift(np.full((128, 128, 3), 7, np.uint8), np.full((32, 32, 3), 7, np.uint8), 4) == (0, 0)
    assert pair_shift(scene()[:32, :32], scene()[:8, :8], 4) == (0, 0)


def test_a_pair_that_lies_apart_is_packed_and_listed(tmp_path: Path) -> None:
    for name, left in (("straight", 1), ("shifted", 5)):
        write_image(tmp_path / "HR" / f"{name}.png", Image(scene()))
        write_image(tmp_path / "LR_x4" / f"{name}.png", Image(imresize(scene(left), 1 / 4)))
    manifest = prepare(tmp_path, tmp_path / "pack")
    assert len(manifest.tiles) == 2
    ((name, down, right),) = Pack(tmp_path / "pack").manifest.shifts
    assert name == "shifted.png"
    assert (down, right) == pytest.approx((0, 1.25), abs=0.05)
