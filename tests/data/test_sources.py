"""LMDB folders, written here as BasicSR writes them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import imagecodecs
import lmdb
import numpy as np
import pytest

from superscale.data.pack import Pack
from superscale.data.prepare import prepare
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError, MissingExtraError, install_line


def database(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    """`basicsr.utils.lmdb_util.make_lmdb_from_imgs`: PNG bytes under names without suffix, and a line a picture."""
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for name, pixels in pictures.items():
            transaction.put(name.encode(), imagecodecs.png_encode(pixels))
    lines = [f"{name}.png ({','.join(map(str, pixels.shape))}) 1\n" for name, pixels in pictures.items()]
    (folder / "meta_info.txt").write_text("".join(lines))
    return folder


def test_an_lmdb_folder_of_basicsr_becomes_a_pack(tmp_path: Path) -> None:
    pictures = {f"000{number}_s001": synthetic_picture(number, 48) for number in range(3)}
    prepare(database(tmp_path / "hr.lmdb", pictures), tmp_path / "pack")
    pack = Pack(tmp_path / "pack")
    assert [tile.source for tile in pack.manifest.tiles] == [f"{name}.png" for name in pictures]
    for number, pixels in enumerate(pictures.values()):
        np.testing.assert_array_equal(pack.high_res(number), pixels)


def test_two_of_them_become_a_pack_of_pairs(tmp_path: Path, noise: np.random.Generator) -> None:
    high = {"a": synthetic_picture(0, 48), "b": synthetic_picture(1, 48)}
    low = {name: noise.integers(0, 256, (12, 12, 3), dtype=np.uint8) for name in high}
    hr, lr = database(tmp_path / "hr.lmdb", high), database(tmp_path / "lr.lmdb", low)
    prepare(hr, tmp_path / "pack", low_res=lr)
    np.testing.assert_array_equal(Pack(tmp_path / "pack").low_res(1), low["b"])


def test_a_picture_that_the_database_lacks_is_left_out_and_named(tmp_path: Path) -> None:
    folder = database(tmp_path / "hr.lmdb", {"a": synthetic_picture(0, 48)})
    with open(folder / "meta_info.txt", "a") as lines:
        lines.write("b.png (48,48,3) 1\n")
    manifest = prepare(folder, tmp_path / "pack")
    assert manifest.skipped[0][0] == "b.png"
    assert "data.mdb does not hold it" in manifest.skipped[0][1]


def test_what_is_no_such_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = database(tmp_path / "hr.lmdb", {"a": synthetic_picture(0, 48)})
    (folder / "meta_info.txt").write_text("a.png\n")
    with pytest.raises(DataError, match=r"expected lines like '0001\.png \(480,480,3\) 1', got 'a\.png'"):
        prepare(folder, tmp_path / "pack")
    (folder / "meta_info.txt").unlink()
    with pytest.raises(DataError, match=r"expected meta_info\.txt beside data\.mdb"):
        prepare(folder, tmp_path / "pack")
    database(tmp_path / "other.lmdb", {"a": synthetic_picture(0, 48)})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("lmdb"))):
        prepare(tmp_path / "other.lmdb", tmp_path / "pack")
