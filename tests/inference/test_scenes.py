"""Scenes that are too large for memory: by windows they come out as in memory, whole or not at all, and as valid COGs."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.enums import MaskFlags
from rasterio.rpc import RPC
from rio_cogeo import cog_validate

from scene_files import (
    bands,
    floats,
    infrared,
    masked,
    measured,
    plain,
    transparent,
    write,
)
from superscale.errors import Damaged, ImageError, Unsupported
from superscale.image import scene as scenes
from superscale.image.profile import srgb
from superscale.inference import scenes_on_ray
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import Job
from superscale.inference.scenes import CAMERA_LEFT_OUT, RANGE_LEFT_OUT, Windows, upscale_scene
from superscale.inference.upscaler import Upscaler
from superscale.machine.ray_pool import Cluster
from superscale.weights.checkpoint import Model


@pytest.fixture(autouse=True)
def _small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "STRIP_BYTES", 1)  # a look at a scene goes through strips of 32 rows


KINDS = [plain, measured, floats, infrared, transparent, masked]


def both(source: Path, upscaler: Upscaler, folder: Path) -> tuple[Path, Path]:
    """The picture enlarged in memory, and by windows."""
    job = Job(source, folder / "memory.tif")
    (outcome,) = run_jobs([job], upscaler.enlarge, Settings(scale=upscaler.scale))
    assert outcome.error is None
    larger = upscale_scene(upscaler, source, folder / "windows.tif")
    assert larger.remarks == outcome.remarks
    assert larger.notices == outcome.notices
    assert larger.values is not None
    assert (larger.values.low, larger.values.high) == outcome.range
    assert not list(folder.glob("*.unfinished"))
    return folder / "memory.tif", folder / "windows.tif"


@pytest.mark.parametrize(
    ("kind", "scale"), [(kind, 2.0) for kind in KINDS] + [(measured, 4.0), (measured, 1.7), (transparent, 3.0), (masked, 0.6)]
)
def test_by_windows_every_sample_is_what_it_is_in_memory(kind: Any, scale: float, small_net: Model, tmp_path: Path) -> None:
    upscaler = Upscaler(small_net, scale=scale, tile=32)
    one, other = both(kind(tmp_path / "a.tif"), upscaler, tmp_path)
    with rasterio.open(one) as memory, rasterio.open(other) as windows:
        np.testing.assert_array_equal(windows.read(), memory.read())
        np.testing.assert_array_equal(windows.read_masks(), memory.read_masks())
        assert windows.dtypes == memory.dtypes
        assert windows.bounds == pytest.approx(memory.bounds)
        assert (windows.crs, windows.colorinterp) == (memory.crs, memory.colorinterp)
        assert windows.mask_flag_enums == memory.mask_flag_enums
        assert windows.nodata == memory.nodata


@pytest.mark.parametrize(
    "options",
    [{"bands": "all"}, {"bands": (4, 2, 1)}, {"value_range": "p1:p99"}, {"value_range": (0.0, 3000.0)}, {"tta": True}],
)
def test_options_hold_for_windows_too(options: dict[str, Any], small_net: Model, tmp_path: Path) -> None:
    one, other = both(infrared(tmp_path / "a.tif"), Upscaler(small_net, tile=64, **options), tmp_path)
    with rasterio.open(one) as memory, rasterio.open(other) as windows:
        np.testing.assert_array_equal(windows.read(), memory.read())
        assert windows.colorinterp == memory.colorinterp


def test_percentiles_are_those_of_the_whole_scene_also_where_few_samples_hold_data(small_net: Model, tmp_path: Path) -> None:
    samples = np.full((1, 1100, 1100), -9999, np.int16)
    samples[0, 701, 901:] = np.arange(199) * 11  # no sample of every second row and column
    source = write(tmp_path / "a.tif", samples, nodata=-9999)
    upscaler = Upscaler(small_net, scale=0.1, tile=600)
    larger = upscale_scene(upscaler, source, tmp_path / "b.tif")
    assert larger.network == upscaler.model.name
    assert larger.values is not None
    assert (larger.values.low, larger.values.high) == (0, 198 * 11)


def test_the_result_is_a_valid_cog_with_everything_that_the_scene_says(small_net: Model, tmp_path: Path) -> None:
    linear = [0.0] * 18
    rpcs = RPC(
        height_off=100, height_scale=500, lat_off=45, lat_scale=0.1, long_off=7, long_scale=0.1,
        line_off=12.5, line_scale=12, samp_off=15.5, samp_scale=16, err_bias=0.5, err_rand=0.25,
        line_num_coeff=[0, -1, *linear], line_den_coeff=[1, 0, *linear],
        samp_num_coeff=[0, 1, *linear], samp_den_coeff=[1, 0, *linear],
    )  # fmt: skip
    mask = np.full((300, 340), 255, np.uint8)
    mask[100:150, 30:170] = 0
    source = write(tmp_path / "a.tif", bands(3, np.uint8, 0, 255, 300, 340), mask, rpcs=rpcs, photometric="RGB")
    with rasterio.open(source, "r+") as file:
        file.scales, file.offsets = (0.5, 2.0, 1.0), (1.0, -3.0, 0.0)
        file.set_band_description(1, "red edge")
        file.update_tags(1, STATISTICS_MEAN="7", sun="low")
        file.update_tags(AREA_OR_POINT="Point", TIFFTAG_ARTIST="somebody", mine="yes")
    memory, windows = both(source, Upscaler(small_net, tile=128), tmp_path)
    is_valid, errors, remarks = cog_validate(windows, strict=True)
    assert (is_valid, errors, remarks) == (True, [], [])
    with rasterio.open(memory) as one, rasterio.open(windows) as other:
        np.testing.assert_array_equal(other.read(), one.read())
    with rasterio.open(source) as small, rasterio.open(windows) as big:
        assert big.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert big.overviews(1) == [2, 4]
        assert big.block_shapes[0] == (512, 512)
        assert (big.width, big.height, big.bounds, big.crs) == (1360, 1200, small.bounds, small.crs)
        assert (big.scales, big.offsets, big.descriptions) == (small.scales, small.offsets, small.descriptions)
        assert big.tags(1) == {"sun": "low"}
        assert big.tags().items() >= small.tags().items()
        assert big.colorinterp == small.colorinterp
        # The first pixel's centre, in pixels a quarter as large.
        assert big.rpcs.line_off == (12.5 + 0.5) * 4 - 0.5
        assert big.rpcs.line_scale == 48
        assert big.mask_flag_enums[0] == [MaskFlags.per_dataset]
        np.testing.assert_array_equal(big.dataset_mask(), np.kron(mask, np.ones((4, 4), np.uint8)))


def test_tiles_of_the_scene_are_those_of_the_result_and_its_profile_is_kept(small_net: Model, tmp_path: Path) -> None:
    pixels = np.moveaxis(bands(3, np.uint8, 0, 255, 128, 128), 0, -1)
    tags = [(340, "B", 3, (0, 0, 0), True), (341, "B", 3, (200, 200, 200), True), (271, "s", 0, "Maker", True)]
    how: Any = {"photometric": "rgb", "tile": (128, 128), "iccprofile": srgb(), "metadata": None, "extratags": tags}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    larger = upscale_scene(Upscaler(small_net), tmp_path / "a.tif", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages.first.tile == (128, 128)
        assert file.pages.first.iccprofile == srgb()
        assert 341 not in file.pages.first.tags
    assert larger.notices == (CAMERA_LEFT_OUT, RANGE_LEFT_OUT)


def test_a_scene_by_windows_tells_of_captions_and_previews_that_are_left_out(small_net: Model, tmp_path: Path) -> None:
    caption = b"\x1c\x02\x78\x00\x03Cat"
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((32, 32), np.uint16), photometric="minisblack", extratags=[(33723, 7, 8, caption, True)])
        writer.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", subfiletype=1)
    both(tmp_path / "a.tif", Upscaler(small_net), tmp_path)
    with scenes.Scene(tmp_path / "a.tif") as scene:
        assert len(scene.header.notices) == 2


def test_no_room_for_the_samples_is_said_before_anything_is_computed(
    small_net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ImageError, match="no room for its samples"):
        upscale_scene(Upscaler(small_net), plain(tmp_path / "a.tif"), tmp_path / "b.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_damaged_scene_is_refused_and_leaves_nothing(small_net: Model, tmp_path: Path) -> None:
    source = measured(tmp_path / "a.tif")
    with tifffile.TiffFile(source) as file:
        place = file.pages.first.dataoffsets[1]
    data = bytearray(source.read_bytes())
    data[place + 20 : place + 400] = bytes(380)
    source.write_bytes(data)
    with pytest.raises(Damaged, match=r"a\.tif: damaged picture"):
        upscale_scene(Upscaler(small_net), source, tmp_path / "b.tif")
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(Damaged):
        upscale_scene(Upscaler(small_net), source, tmp_path / "b.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_picture_without_a_size_is_left_to_those_who_say_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages.first.tags[256].overwrite(0)
    assert scenes.scene_size(tmp_path / "a.tif") is None


def wanted(source: Path, small_net: Model, monkeypatch: pytest.MonkeyPatch, free: int = 10**12, **settings: Any) -> list[str]:
    """What is said of a picture that is to be done by windows; nothing of another."""
    said: list[str] = []
    monkeypatch.setattr("superscale.inference.scenes.free_bytes", lambda: free)
    windows = Windows(Upscaler(small_net, consistent=settings.pop("consistent", False)), say=said.append)
    job = Job(source, source.with_name(settings.pop("output", "big.tif")))
    assert windows.wanted(job, Settings(scale=4, **settings)) == bool(said)
    return said


def test_windows_are_for_pictures_beyond_the_free_memory_or_a_limit_that_nobody_gave(
    small_net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = measured(tmp_path / "a.tif")
    assert wanted(source, small_net, monkeypatch) == []
    (said,) = wanted(source, small_net, monkeypatch, free=500_000)
    # Twice the input and the output, 61x97 pixels of 4 samples of 2 bytes and sixteen times as many; and the network's.
    assert "enlarged by windows: in memory it would take about 0.0 GB, and 0.0 GB are free" in said
    for limit in ("max_pixels", "max_output_pixels", "max_bytes"):
        assert wanted(source, small_net, monkeypatch, **{limit: 5000})
        assert not wanted(source, small_net, monkeypatch, **{limit: 5000}, limits_given=frozenset({limit}))
    for other in ({"output": "big.png"}, {"consistent": True}, {"lenient": True}):
        assert not wanted(source, small_net, monkeypatch, max_pixels=5000, **other)
    (tmp_path / "a.tif").write_bytes(b"II*\0 damaged")
    assert not wanted(source, small_net, monkeypatch, max_pixels=5000)


def test_kinds_of_tiff_that_are_not_read_by_windows_are_named(tmp_path: Path) -> None:
    samples = bands(3, np.uint8, 0, 255)
    for options, why in [
        ({"compress": "jpeg", "photometric": "YCBCR"}, "colour space"),
        ({"compress": "jpeg", "photometric": "RGB"}, "JPEG-compressed"),
    ]:
        with pytest.raises(Unsupported, match=f"{why}.*not read by windows"):
            scenes.Scene(write(tmp_path / "a.tif", samples, **options))
    tifffile.imwrite(tmp_path / "b.tif", samples[0].astype(np.float16), photometric="minisblack")
    with pytest.raises(Unsupported, match="floats of 16 bits"):
        scenes.Scene(tmp_path / "b.tif")


@pytest.mark.usefixtures("ray_backwards")
@pytest.mark.parametrize(("kind", "scale"), [(plain, 2.0), (measured, 1.7), (masked, 2.0)])
def test_a_scene_that_workers_compute_is_the_same_file(kind: Any, scale: float, small_net: Model, tmp_path: Path) -> None:
    upscaler = Upscaler(small_net, scale=scale, tile=32)
    source = kind(tmp_path / "a.tif")
    here = upscale_scene(upscaler, source, tmp_path / "here.tif")
    there = upscale_scene(upscaler, source, tmp_path / "there.tif", cluster=Cluster())
    assert (there.remarks, there.notices, there.values) == (here.remarks, here.notices, here.values)
    assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.usefixtures("ray_backwards")
def test_what_workers_have_begun_they_go_on_with_and_one_machine_does_not(
    small_net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler, source, target = Upscaler(small_net, scale=2, tile=32), measured(tmp_path / "a.tif"), tmp_path / "b.tif"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_scene(upscaler, source, target, progress=stop, cluster=Cluster())
    assert sum((tmp_path / "b.tif.unfinished" / "done").read_bytes()) == 3
    with pytest.raises(ImageError, match=r"another command has begun \(on"):
        upscale_scene(upscaler, source, target)
    plain = scenes_on_ray.Worker.do
    monkeypatch.setattr(
        scenes_on_ray.Worker, "do", lambda worker, number: replace(plain(worker, number), computed_by="another library")
    )
    with pytest.raises(ImageError, match="no two compute the same bits"):
        upscale_scene(upscaler, source, target, cluster=Cluster())
    monkeypatch.setattr(scenes_on_ray.Worker, "do", plain)
    told: list[str] = []
    upscale_scene(upscaler, source, target, cluster=Cluster(), say=told.append)
    assert told[0].startswith("goes on with what is done: 3 of ")
    upscale_scene(upscaler, source, tmp_path / "whole.tif")
    assert target.read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.usefixtures("ray_backwards")
def test_a_worker_that_sees_another_scene_or_a_damaged_one_ends_it(
    small_net: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler, source = Upscaler(small_net, scale=2, tile=32), plain(tmp_path / "a.tif")
    with monkeypatch.context() as patch:
        patch.setattr(scenes_on_ray, "fingerprint", lambda _path: "another")
        with pytest.raises(ImageError, match="a worker sees no such file or another"):
            upscale_scene(upscaler, source, tmp_path / "b.tif", cluster=Cluster())
    shutil.rmtree(tmp_path / "b.tif.unfinished")

    def damaged(*_: Any) -> Any:
        raise Damaged("cut short")

    monkeypatch.setattr("superscale.inference.scenes.enlarged_part", damaged)
    with pytest.raises(Damaged, match="cut short"):
        upscale_scene(upscaler, source, tmp_path / "b.tif", cluster=Cluster())
    assert not (tmp_path / "b.tif.unfinished").exists()
