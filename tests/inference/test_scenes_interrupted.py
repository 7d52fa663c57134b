"""Scenes by windows that were ended, changed, or begun by two: whole or not at all, and gone on with."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from scene_files import (
    WIDTH,
    floats,
)
from superscale.errors import ImageError, OutOfMemoryError
from superscale.image import scene as scenes
from superscale.inference.backends.trial import Verdict, Way
from superscale.inference.scenes import upscale_scene
from superscale.inference.unfinished import Unfinished
from superscale.inference.upscaler import Upscaler
from superscale.weights.checkpoint import Model, save_model


@pytest.fixture(autouse=True)
def _small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "STRIP_BYTES", 1)  # a look at a scene goes through strips of 32 rows


def stopped(source: Path, target: Path, upscaler: Upscaler, tiles: int, why: BaseException) -> None:
    """A run that ends after some tiles."""
    done: list[int] = []

    class Stop:
        def is_set(self) -> bool:
            done.append(1)
            if len(done) > tiles:
                raise why
            return False

    with pytest.raises(type(why) if not isinstance(why, OSError) else ImageError):
        upscale_scene(upscaler, source, target, cancel=Stop())


@pytest.mark.parametrize(
    "why", [KeyboardInterrupt(), SystemExit(143), OSError(errno.ENOSPC, "No space left on device"), OutOfMemoryError("full")]
)
def test_a_run_that_was_ended_leaves_no_output_and_the_same_command_goes_on(
    why: BaseException, small_net: Model, tmp_path: Path
) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    upscaler = Upscaler(small_net, tile=32)
    stopped(source, target, upscaler, 5, why)
    assert not target.exists()
    said: list[str] = []
    upscale_scene(upscaler, source, target, say=said.append)
    assert said[0] == "goes on with what is done: 2 of 8 tiles"  # of two bands each, the third was half done
    upscale_scene(upscaler, source, tmp_path / "c.tif")
    assert target.read_bytes() == (tmp_path / "c.tif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif", "c.tif"]


def test_a_run_that_was_ended_while_it_wrote_the_file_writes_it_again(
    small_net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"

    def half(_: Path, result: Path, __: Any) -> None:
        for name in ("result", "result.ovr.tmp", "result.msk.ovr.tmp"):
            result.with_name(name).write_bytes(b"II*\0 half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("superscale.inference.scenes.write_cog", half)
        with pytest.raises(KeyboardInterrupt):
            upscale_scene(Upscaler(small_net), source, target)
    upscale_scene(Upscaler(small_net), source, target)
    upscale_scene(Upscaler(small_net), source, tmp_path / "c.tif")
    assert target.read_bytes() == (tmp_path / "c.tif").read_bytes()


def test_a_scene_that_is_changed_while_it_is_read_is_refused(small_net: Model, tmp_path: Path) -> None:
    source = floats(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif was changed while it was read"):
        upscale_scene(Upscaler(small_net), source, tmp_path / "b.tif", progress=lambda *_: os.utime(source, (1, 1)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_another_command_does_not_go_on_with_it_unless_told_to_begin_anew(small_net: Model, tmp_path: Path) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    stopped(source, target, Upscaler(small_net, tile=32), 5, KeyboardInterrupt())
    other = Upscaler(small_net, tile=32, scale=3)
    with pytest.raises(ImageError, match=r"b\.tif\.unfinished holds what another command has begun \(options differ\)"):
        upscale_scene(other, source, target)
    assert (tmp_path / "b.tif.unfinished" / "order.json").exists()
    upscale_scene(other, source, target, overwrite=True)
    with rasterio.open(target) as big:
        assert big.width == 3 * WIDTH


def test_a_command_that_overwrites_goes_on_with_its_own_work_too(small_net: Model, tmp_path: Path) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    stopped(source, target, Upscaler(small_net, tile=32), 5, KeyboardInterrupt())
    said: list[str] = []
    upscale_scene(Upscaler(small_net, tile=32), source, target, overwrite=True, say=said.append)
    assert said[0] == "goes on with what is done: 2 of 8 tiles"


def test_an_output_that_appears_meanwhile_is_not_replaced(small_net: Model, tmp_path: Path) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    said: list[str] = []
    for _ in range(2):  # while the file is written, and before anything
        with pytest.raises(ImageError, match=r"b\.tif exists; choose to overwrite it"):
            upscale_scene(
                Upscaler(small_net), source, target, say=lambda words: (said.append(words), target.write_text("mine"))[0]
            )
    assert target.read_text() == "mine"
    assert said == ["all tiles are done; writing the file and its overviews"]
    upscale_scene(Upscaler(small_net), source, target, overwrite=True, say=said.append)
    assert said[1] == "goes on with what is done: 1 of 1 tiles"


def test_the_library_that_has_begun_goes_on_although_another_is_found_faster_meanwhile(
    small_net: Model, tmp_path: Path
) -> None:
    save_model(tmp_path / "tiny.safetensors", small_net.generator, {})
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    upscaler, other = (Upscaler(tmp_path / "tiny.safetensors", tile=32, device="cpu") for _ in range(2))
    stopped(source, target, upscaler, 5, KeyboardInterrupt())
    assert upscaler.engine.computed_by() == ["onnx fp32"]
    other.engine.backend.looked_up = True
    other.engine.backend.verdicts = [Verdict(Way("torch", "fp32"), 0.0, 1e-9, np.inf, 0.0, 0.0)]
    upscale_scene(other, source, target)
    assert other.engine.computed_by() == ["onnx fp32"]
    order = tmp_path / "d.tif.unfinished" / "order.json"
    stopped(source, tmp_path / "d.tif", upscaler, 5, KeyboardInterrupt())
    order.write_text(order.read_text().replace("onnx fp32", "abacus fp32"))
    with pytest.raises(ImageError, match="was begun by abacus fp32, which is not here any more"):
        upscale_scene(upscaler, source, tmp_path / "d.tif")


def test_the_size_of_tiles_stays_when_the_free_memory_does_not(small_net: Model, tmp_path: Path) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    upscaler = Upscaler(small_net)
    upscaler.engine.tile_px = 32
    stopped(source, target, upscaler, 5, KeyboardInterrupt())
    said: list[str] = []
    upscale_scene(Upscaler(small_net), source, target, say=said.append)
    assert said[0] == "goes on with what is done: 2 of 8 tiles"


def test_two_processes_do_not_make_the_same_output(small_net: Model, tmp_path: Path) -> None:
    source, target = floats(tmp_path / "a.tif"), tmp_path / "b.tif"
    with Unfinished(target, {}, replaces=False), pytest.raises(ImageError, match="in use by another process"):
        upscale_scene(Upscaler(small_net), source, target)
    assert not (tmp_path / "b.tif.unfinished").exists()
