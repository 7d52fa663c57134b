"""Training and measuring see 8-bit RGB, whatever the files hold."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from superscale.data.pairs import PairFolder
from superscale.errors import ImageError


def deep_folder(folder: Path) -> Path:
    folder.mkdir()
    deep = np.full((16, 16, 3), (33100, 0, 65535), np.uint16)
    (folder / "a-deep.png").write_bytes(imagecodecs.png_encode(deep))
    see_through = np.full((16, 16, 4), (65535, 0, 0, 0), np.uint16)
    (folder / "b-clear.png").write_bytes(imagecodecs.png_encode(see_through))
    tifffile.imwrite(folder / "c-float.tif", np.full((16, 16), 0.5, np.float32), photometric="minisblack")
    return folder


# 33100 / 257 = 128.8; transparent is white; 0.5 * 255 = 127.5, half up
EXPECTED = [(129, 0, 255), (255, 255, 255), (128, 128, 128)]


def test_pairs_do_the_same(tmp_path: Path) -> None:
    pairs = list(PairFolder(deep_folder(tmp_path / "photos"), 4))
    assert [tuple(pair.high_res[3, 5]) for pair in pairs] == EXPECTED
    assert [tuple(pair.low_res[1, 1]) for pair in pairs] == EXPECTED


def test_bands_are_refused_with_the_name_of_their_file(tmp_path: Path) -> None:
    folder = deep_folder(tmp_path / "photos")
    tifffile.imwrite(folder / "field.tif", np.zeros((16, 16, 5), np.uint16), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match=r"field\.tif: expected grey or RGB, got 5 bands"):
        list(PairFolder(folder, 4))
