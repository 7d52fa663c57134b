from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from superscale.data.pack import Pack
from superscale.data.prepare import prepare, prepare_synthetic, tile_regions
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError
from superscale.image.io import Image, read_image, write_image
from superscale.image.resize import imresize


def test_the_pack_holds_the_photos_sample_for_sample(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "pack", tile_px=64)
    pack = Pack(tmp_path / "pack")
    for index, tile in enumerate(pack.manifest.tiles):
        photo = read_image(photos / tile.source).pixels
        expected = photo[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        np.testing.assert_array_equal(pack.high_res(index), expected)
        assert tile.sha256 == hashlib.sha256((photos / tile.source).read_bytes()).hexdigest()


@pytest.mark.parametrize(("height", "width"), [(96, 112), (513, 1027), (40, 2000), (64, 64)])
def test_sub_images_cover_the_photo_once_but_for_the_last_few_pixels(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for region in tile_regions(height, width, 64, 4):
        region.of(covered)[...] += 1
        assert max(region.height, region.width) <= 64
        assert region.height % 4 == region.width % 4 == 0
    assert covered.max() == 1
    assert covered[: height // 4 * 4, : width // 4 * 4].min() == 1


@pytest.mark.parametrize("rounding", ["double", "uint8"])
def test_stored_low_res_is_matlabs_reduction_of_each_sub_image(rounding: str, photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "pack", tile_px=64, low_res=rounding)  # type: ignore[arg-type]
    pack = Pack(tmp_path / "pack")
    for index in range(len(pack)):
        expected = imresize(np.asarray(pack.high_res(index)), 1 / 4, rounding=rounding)  # type: ignore[arg-type]
        np.testing.assert_array_equal(pack.low_res(index), expected)


def test_a_damaged_photo_is_left_out_named_and_counted(photos: Path, tmp_path: Path) -> None:
    whole = (photos / "photo-2.png").read_bytes()
    (photos / "photo-2.png").write_bytes(whole[: len(whole) // 2])
    manifest = prepare(photos, tmp_path / "pack")
    assert [source for source, _ in manifest.skipped] == ["photo-2.png"]
    assert {tile.source for tile in manifest.tiles} == {f"photo-{number}.png" for number in (0, 1, 3, 4, 5)}


def test_grey_photos_become_rgb_where_rgb_is_asked_for_or_another_photo_is_rgb(tmp_path: Path) -> None:
    grey, rgb = synthetic_picture(0, 32)[..., :1], synthetic_picture(1, 32)
    write_image(tmp_path / "in" / "a-grey.png", Image(grey))
    prepare(tmp_path / "in", tmp_path / "alone")
    np.testing.assert_array_equal(Pack(tmp_path / "alone").high_res(0), grey)
    prepare(tmp_path / "in", tmp_path / "asked", channels=3)
    np.testing.assert_array_equal(Pack(tmp_path / "asked").high_res(0), np.repeat(grey, 3, axis=2))
    write_image(tmp_path / "in" / "b-rgb.png", Image(rgb))
    prepare(tmp_path / "in", tmp_path / "mixed")
    np.testing.assert_array_equal(Pack(tmp_path / "mixed").high_res(0), np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(Pack(tmp_path / "mixed").high_res(1), rgb)


def test_rgb_photos_become_grey_as_pillow_makes_them(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "pack", channels=1)
    pack = Pack(tmp_path / "pack")
    expected = np.asarray(PillowImage.open(photos / pack.manifest.tiles[0].source).convert("L"))
    # Pillow computes in fixed point
    assert np.abs(pack.high_res(0)[..., 0].astype(int) - expected).max() <= 1


def test_the_manifest_of_a_pack_of_8_bit_rgb_says_what_it_always_said_and_checksums(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "pack", low_res="double")
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == ["high_res.u8", "low_res.u8", "manifest.json"]
    manifest = json.loads((tmp_path / "pack" / "manifest.json").read_text())
    assert list(manifest) == ["version", "scale", "low_res", "tiles", "skipped", "checksums"]
    for name, sums in manifest["checksums"].items():
        assert sums == [zlib.crc32((tmp_path / "pack" / name).read_bytes())]
    assert list(manifest["tiles"][0]) == ["source", "sha256", "top", "left", "height", "width"]
    data = b"".join(np.asarray(PillowImage.open(path).convert("RGB")).tobytes() for path in sorted(photos.iterdir()))
    assert (tmp_path / "pack" / "high_res.u8").read_bytes() == data


def test_nothing_to_prepare_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photographs"):
        prepare(tmp_path / "empty", tmp_path / "pack")
    (tmp_path / "empty" / "bad.png").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"not one usable photograph.*bad\.png"):
        prepare(tmp_path / "empty", tmp_path / "pack")
    with pytest.raises(DataError, match="expected a folder"):
        prepare(tmp_path / "missing", tmp_path / "pack")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_an_existing_folder_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "pack")
    with pytest.raises(DataError, match="exists already"):
        prepare(photos, tmp_path / "pack")


def test_a_pack_cut_short_or_without_manifest_is_refused(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=2, side_px=32)
    samples = (tmp_path / "pack" / "high_res.u8").read_bytes()
    (tmp_path / "pack" / "high_res.u8").write_bytes(samples[:-1])
    with pytest.raises(DataError, match=f"expected {len(samples)} bytes"):
        Pack(tmp_path / "pack")
    (tmp_path / "pack" / "manifest.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(DataError, match="another version"):
        Pack(tmp_path / "pack")
    (tmp_path / "pack" / "manifest.json").unlink()
    with pytest.raises(DataError, match="superscale prepare"):
        Pack(tmp_path / "pack")
