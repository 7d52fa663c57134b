"""The folder in which a large scene or a clip is made: what lies there is gone on with, or named, and nobody else's files are deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytest.importorskip("rasterio", reason="the extra 'geo' is not installed")

from superscale.errors import Damaged, ImageError
from superscale.image.scene import Scene
from superscale.inference.scenes import upscale_scene
from superscale.inference.unfinished import Begun
from superscale.inference.upscaler import Upscaler
from superscale.weights.checkpoint import Model


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), photometric="minisblack")
    return path


@pytest.fixture
def upscaler(tiny_model: Model) -> Upscaler:
    return Upscaler(tiny_model, tile=32, device="cpu")


class Stop:
    """Asked for the third time, it ends the run."""

    asked = 0

    def is_set(self) -> bool:
        self.asked += 1
        if self.asked > 2:
            raise KeyboardInterrupt
        return False


def test_a_folder_of_other_files_is_named_and_kept(upscaler: Upscaler, scene: Path, tmp_path: Path) -> None:
    mine = tmp_path / "b.tif.unfinished" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ImageError, match=r"b\.tif\.unfinished: expected a folder that this program has begun"):
            upscale_scene(upscaler, scene, tmp_path / "b.tif", overwrite=overwrite)
    assert mine.read_text() == "precious"


def test_a_file_in_the_place_of_the_folder_is_named(upscaler: Upscaler, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tif.unfinished").write_text("mine")
    with pytest.raises(ImageError, match=r"b\.tif\.unfinished: expected a folder to make"):
        upscale_scene(upscaler, scene, tmp_path / "b.tif")


@pytest.mark.parametrize("order", ["[]", "null", "{", "3", ""])
def test_an_order_that_is_none_is_begun_anew(order: str, tmp_path: Path) -> None:
    begun = Begun(tmp_path / "b.tif", {"input": 1}, replaces=False)
    begun.close()
    (begun.folder / "order.json").write_text(order)
    again = Begun(tmp_path / "b.tif", {"input": 1}, replaces=False)
    assert again.found is None
    again.close()


@pytest.mark.parametrize("name", ["samples", "done"])
def test_what_was_cut_short_is_not_taken_for_done(name: str, upscaler: Upscaler, scene: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        upscale_scene(upscaler, scene, tmp_path / "b.tif", cancel=Stop())
    file = tmp_path / "b.tif.unfinished" / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ImageError, match=r"b\.tif\.unfinished is damaged: .*; delete it to begin anew"):
        upscale_scene(upscaler, scene, tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()


@pytest.mark.parametrize("compression", ["packbits", "deflate"])
def test_a_strip_that_holds_more_than_its_tags_say_is_damaged_by_windows_as_in_memory(
    compression: str, scene: Path, tmp_path: Path
) -> None:
    samples = tifffile.imread(scene)
    tifffile.imwrite(tmp_path / "b.tif", samples, photometric="minisblack", compression=compression, rowsperstrip=64)
    with tifffile.TiffFile(tmp_path / "b.tif", mode="r+") as file:
        file.pages.first.tags["ImageLength"].overwrite(60)
        file.pages.first.tags["RowsPerStrip"].overwrite(60)
    with pytest.raises(Damaged, match="damaged picture"), Scene(tmp_path / "b.tif"):
        pass


def test_a_folder_that_is_deleted_meanwhile_ends_the_work_and_does_not_come_back(
    upscaler: Upscaler, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superscale.inference.unfinished.SYNC_SECONDS", 0.0)
    out, asked = tmp_path / "out", iter(range(100))

    class Delete:
        def is_set(self) -> bool:
            if next(asked) == 1:
                shutil.rmtree(out)
            return False

    with pytest.raises(ImageError, match=r"b\.tif cannot be written: No such file or directory"):
        upscale_scene(upscaler, scene, out / "b.tif", cancel=Delete())
    assert next(asked) < 4  # of four tiles
    assert not out.exists()


def test_what_gdal_cannot_write_is_told_with_a_way_out(
    upscaler: Upscaler, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("ZSTDDecode:Not enough data at scanline 0")

    with monkeypatch.context() as patch:
        patch.setattr("superscale.image.cog._copied", full)
        with pytest.raises(ImageError, match=r"b\.tif: .*if the disk is full, make room .*; the same command goes on"):
            upscale_scene(upscaler, scene, tmp_path / "b.tif")
    upscale_scene(upscaler, scene, tmp_path / "b.tif")
