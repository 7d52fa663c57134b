"""Packs and pairs have the depth and channels of their files, whatever the files hold."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from superscale.data.pack import Pack
from superscale.data.pairs import PairFolder
from superscale.data.prepare import prepare
from superscale.errors import DataError


def deep_folder(folder: Path) -> Path:
    folder.mkdir()
    deep = np.full((16, 16, 3), (33100, 0, 65535), np.uint16)
    (folder / "a-deep.png").write_bytes(imagecodecs.png_encode(deep))
    see_through = np.full((16, 16, 4), (65535, 0, 0, 0), np.uint16)
    (folder / "b-clear.png").write_bytes(imagecodecs.png_encode(see_through))
    tifffile.imwrite(folder / "c-float.tif", np.full((16, 16), 0.5, np.float32), photometric="minisblack")
    return folder


# 33100 / 257 = 128.8; transparent is white; 0.5 * 255 = 127.5, half up
IN_8_BITS = [(129, 0, 255), (255, 255, 255), (128, 128, 128)]
# 0.5 * 65535 = 32767.5, half up
IN_16_BITS = [(33100, 0, 65535), (65535, 65535, 65535), (32768, 32768, 32768)]


def test_deep_photos_keep_their_depth_and_transparency_is_laid_over_white(tmp_path: Path) -> None:
    prepare(deep_folder(tmp_path / "photos"), tmp_path / "pack", tile_px=16)
    pack = Pack(tmp_path / "pack")
    assert (pack.manifest.dtype, pack.manifest.channels) == ("uint16", 3)
    assert [tuple(pack.high_res(number)[3, 5]) for number in range(3)] == IN_16_BITS
    assert (tmp_path / "pack" / "high_res.u16").read_bytes()[:6] == np.array((33100, 0, 65535), "<u2").tobytes()


def test_8_bits_are_rounded_to_where_they_are_asked_for(tmp_path: Path) -> None:
    prepare(deep_folder(tmp_path / "photos"), tmp_path / "pack", tile_px=16, bits=8)
    pack = Pack(tmp_path / "pack")
    assert [tuple(pack.high_res(number)[3, 5]) for number in range(3)] == IN_8_BITS


def test_a_ct_of_12_bits_keeps_its_levels(tmp_path: Path) -> None:
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    (tmp_path / "photos").mkdir()
    tifffile.imwrite(tmp_path / "photos" / "ct.tif", levels, photometric="minisblack")
    prepare(tmp_path / "photos", tmp_path / "pack", low_res="double")
    pack = Pack(tmp_path / "pack")
    np.testing.assert_array_equal(pack.high_res(0)[..., 0], levels)
    assert len(np.unique(np.asarray(pack.low_res(0)))) == 256


def test_8_bit_photos_among_deep_ones_keep_their_white(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(imagecodecs.png_encode(np.full((16, 16), 200, np.uint8)))
    (folder / "b.png").write_bytes(imagecodecs.png_encode(np.full((16, 16), 1, np.uint16)))
    prepare(folder, tmp_path / "pack", tile_px=16)
    assert [int(Pack(tmp_path / "pack").high_res(number)[0, 0, 0]) for number in range(2)] == [200 * 257, 1]


def test_pairs_are_read_at_the_depth_of_their_files(tmp_path: Path) -> None:
    pairs = list(PairFolder(deep_folder(tmp_path / "photos"), 4))
    assert [tuple(pair.high_res[3, 5]) for pair in pairs] == IN_16_BITS
    assert [tuple(pair.low_res[1, 1]) for pair in pairs] == IN_16_BITS


def test_an_8_bit_low_res_picture_is_brought_to_the_depth_of_its_partner(tmp_path: Path) -> None:
    for name, pixels in (("HR", np.full((16, 16), 1000, np.uint16)), ("LR_x4", np.full((4, 4), 4, np.uint8))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    (pair,) = PairFolder(tmp_path, 4)
    assert (pair.low_res[0, 0, 0], pair.high_res[0, 0, 0], pair.one_channel) == (4 * 257, 1000, True)


def test_bands_are_packed_alone_and_left_out_by_name_among_others(tmp_path: Path) -> None:
    bands = np.arange(16 * 16 * 5, dtype=np.uint16).reshape(16, 16, 5)
    folder = deep_folder(tmp_path / "photos")
    tifffile.imwrite(folder / "field.tif", bands, photometric="minisblack", planarconfig="contig")
    manifest = prepare(folder, tmp_path / "mixed", tile_px=16)
    assert manifest.skipped == (("field.tif", "expected RGB (3 channels), got 5 bands"),)
    manifest = prepare(folder, tmp_path / "asked", tile_px=16, channels=5)
    assert [tile.source for tile in manifest.tiles] == ["field.tif"]
    np.testing.assert_array_equal(Pack(tmp_path / "asked").high_res(0), bands)
    with pytest.raises(DataError, match="expected 4 bands, got RGB"):
        prepare(folder, tmp_path / "none", tile_px=16, channels=4)
