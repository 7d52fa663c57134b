from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from superscale.data.pack import Pack
from superscale.data.pairs import PairFolder
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare, prepare_synthetic
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError
from superscale.image.io import Image, read_image, write_image
from superscale.image.resize import imresize


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    prepare_synthetic(tmp_path / "pack", count=10, side_px=64)
    return Pack(tmp_path / "pack")


def test_every_sub_image_comes_once_before_any_comes_again(pack: Pack) -> None:
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=3)
    for epoch in range(3):
        seen = [plan.place(number).tile for number in range(10 * epoch, 10 * epoch + 10)]
        assert sorted(seen) == list(range(10))
    assert [plan.place(n).tile for n in range(10)] != [plan.place(n).tile for n in range(10, 20)]


def test_the_order_is_a_function_of_seed_and_number_alone(pack: Pack) -> None:
    first = [PatchPlan(pack, scale=4, patch_px=32, seed=3).place(number) for number in range(50)]
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=3)
    assert [plan.place(number) for number in reversed(range(50))] == first[::-1]
    other = PatchPlan(pack, scale=4, patch_px=32, seed=4)
    assert [other.place(number) for number in range(50)] != first


def test_all_symmetries_and_corners_occur(pack: Pack) -> None:
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=0)
    places = [plan.place(number) for number in range(2000)]
    assert set(Counter(place.symmetry for place in places)) == set(range(8))
    assert {place.top for place in places} == {place.left for place in places} == set(range(9))
    still = PatchPlan(pack, scale=4, patch_px=32, seed=0, augment=False)
    assert {still.place(number).symmetry for number in range(50)} == {0}


def test_photos_smaller_than_the_patch_are_an_error_that_names_one(pack: Pack) -> None:
    with pytest.raises(DataError, match=r"smaller than the patch of 128 pixels.*synthetic-0 \(64x64\)"):
        PatchPlan(pack, scale=4, patch_px=128, seed=0)
    with pytest.raises(DataError, match="multiple of the scale"):
        PatchPlan(pack, scale=4, patch_px=30, seed=0)
    with pytest.raises(DataError, match="prepared for scale 4"):
        PatchPlan(pack, scale=8, patch_px=32, seed=0)


def test_a_folder_of_pictures_is_cropped_and_reduced(tmp_path: Path) -> None:
    picture = synthetic_picture(1, 50)
    write_image(tmp_path / "set" / "a.png", Image(picture))
    (pair,) = PairFolder(tmp_path / "set", 4)
    np.testing.assert_array_equal(pair.high_res, picture[:48, :48])
    np.testing.assert_array_equal(pair.low_res, imresize(picture[:48, :48], 1 / 4))


def test_ready_made_low_res_is_taken_as_it_is(tmp_path: Path, noise: np.random.Generator) -> None:
    picture, small = synthetic_picture(1, 48), noise.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    write_image(tmp_path / "set" / "HR" / "a.png", Image(picture))
    write_image(tmp_path / "set" / "LR_x4" / "ax4.png", Image(small))
    folder = PairFolder(tmp_path / "set", 4)
    np.testing.assert_array_equal(folder[0].low_res, small)
    assert "LR_x4" in folder.low_res_source


def test_grey_truth_is_read_as_rgb(tmp_path: Path) -> None:
    grey = synthetic_picture(1, 16)[..., :1]
    write_image(tmp_path / "a.png", Image(grey))
    np.testing.assert_array_equal(PairFolder(tmp_path, 4)[0].high_res, np.repeat(grey, 3, axis=2))


def test_missing_partners_and_other_sizes_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "HR" / f"{name}.png", Image(synthetic_picture(1, 48)))
    write_image(tmp_path / "LR_x4" / "a.png", Image(synthetic_picture(1, 13)))
    with pytest.raises(DataError, match=r"no low-resolution partner for b\.png"):
        PairFolder(tmp_path, 4)
    write_image(tmp_path / "LR_x4" / "b.png", Image(synthetic_picture(1, 12)))
    with pytest.raises(DataError, match=r"13x13 times 4 is not 48x48"):
        PairFolder(tmp_path, 4)


def test_empty_and_missing_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        PairFolder(tmp_path, 4)
    with pytest.raises(DataError, match="expected a folder"):
        PairFolder(tmp_path / "none", 4)


def test_a_stored_pair_is_aligned(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "stored", low_res="double")
    plan = PatchPlan(Pack(tmp_path / "stored"), scale=4, patch_px=32, seed=0)
    for number in range(12):
        place = plan.place(number)
        low_res, high_res = plan.stored_pair(place)
        photo = read_image(photos / plan.pack.manifest.tiles[place.tile].source).pixels
        top, left = place.top, place.left
        np.testing.assert_array_equal(high_res, photo[4 * top : 4 * top + 32, 4 * left : 4 * left + 32])
        np.testing.assert_array_equal(low_res, imresize(photo, 1 / 4)[top : top + 8, left : left + 8])


def test_a_picture_smaller_than_the_scale_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "dot.png", Image(synthetic_picture(1, 16)[:3, :3]))
    with pytest.raises(DataError, match=r"dot\.png.*3x3 is smaller than 4x4"):
        PairFolder(tmp_path, 4)[0]
