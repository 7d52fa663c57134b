"""Scenes by windows on the command line: ended by signals, on a full disk, and how much memory they take."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import skimage
from numpy.typing import NDArray
from PIL import Image as Picture

from superscale.weights.checkpoint import Model, save_model

Array = NDArray[Any]
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


@pytest.fixture(scope="module")
def scene_model(small_net: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, small_net.generator, {})
    return path


def bands(side: int) -> Array:
    """Four bands of 12 bits, each the photograph turned otherwise."""
    photo = skimage.data.camera()[60 : 60 + side, 150 : 150 + side] / 255
    turned = [photo, photo[::-1], photo[:, ::-1], photo[::-1, ::-1]]
    return np.stack([100 + band * 3995 for band in turned]).astype(np.uint16)


def write(path: Path, samples: Array, **options: Any) -> Path:
    how = {"driver": "GTiff", "count": len(samples), "height": samples.shape[1], "width": samples.shape[2]}
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 4_000_000)
    with rasterio.open(path, "w", **how, dtype=samples.dtype, transform=place, crs="EPSG:32633", **options) as file:
        file.write(samples)
    return path


# The command, on a machine without free memory; at the end it prints the megabytes that it took at most.
RUN = """
import resource, sys
import superscale.inference.scenes as scenes
from superscale.cli.main import main
scenes.free_bytes = lambda: 0
sys.argv = ["superscale", "upscale", *sys.argv[1:]]
code = 0
try: main()
except SystemExit as stop: code = stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
raise SystemExit(code)
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(source: Path, target: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", RUN, str(source), "-o", str(target), "-s", "2", "--device", "cpu", "-v", *more]


def ended(line: list[str]) -> tuple[int, str, str]:
    run = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout, run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_ended_again_and_again_comes_to_the_same_bytes(
    stop: signal.Signals, scene_model: Path, tmp_path: Path
) -> None:
    samples = np.tile(bands(300), (1, 2, 2))
    samples[:, 200:350, 150:450] = 0
    source = write(tmp_path / "a.tif", samples, nodata=0, photometric="MINISBLACK", **TILED)
    how = ("--model", str(scene_model), "--tile", "64")
    target, done = tmp_path / "b.tif", tmp_path / "b.tif.unfinished" / "done"
    before = 0
    for _ in range(2):
        with subprocess.Popen(command(source, target, *how), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as run:
            while run.poll() is None and not (done.exists() and sum(done.read_bytes()) > before):
                time.sleep(0.02)
            run.send_signal(stop)
            assert run.wait() in (-stop, 128 + stop)
        assert not target.exists()
        before = sum(done.read_bytes())
        assert 0 < before < 100
    code, _, said = ended(command(source, target, *how))
    assert code == 0, said
    assert f"goes on with what is done: {before} of 100 tiles" in said
    assert "enlarged by windows: in memory it would take" in said
    assert ended(command(source, tmp_path / "c.tif", *how))[0] == 0
    assert target.read_bytes() == (tmp_path / "c.tif").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".") or "unfinished" in path.name]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(scene_model: Path, tmp_path: Path) -> None:
    taken: list[int] = []
    for side in (512, 5120):
        samples = np.tile(bands(256), (1, side // 256, side // 256))
        source = write(tmp_path / f"{side}.tif", samples, photometric="RGB", **TILED)
        line = command(source, tmp_path / f"{side}_x2.tif", "--model", str(scene_model))
        code, printed, said = ended(line)
        assert code == 0, said
        taken.append(int(printed))
    # The input has 210 MB and the output 839 MB; GDAL keeps up to 256 MB of blocks, at reading and at writing.
    assert taken[1] - taken[0] < 600


DISK = """
mount -t tmpfs -o size=3m none {disk} || exit 99
{command} 2> {folder}/first; echo $? >> {folder}/first
ls -A {disk} >> {folder}/first
mount -o remount,size=64m {disk} || exit 99
{command} 2> {folder}/second || exit 98
cp {disk}/b.tif {folder}/b.tif
"""


@pytest.mark.slow
def test_a_disk_that_is_full_is_an_error_and_with_room_the_same_command_comes_to_the_end(
    scene_model: Path, tmp_path: Path
) -> None:
    mounting = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("needs Linux, and leave to mount a file system in a user namespace")
    noise = np.random.default_rng(0).integers(0, 4000, (1, 500, 500)).astype(np.uint16)
    source = write(tmp_path / "a.tif", noise)
    (tmp_path / "disk").mkdir()
    line = command(source, tmp_path / "disk" / "b.tif", "--model", str(scene_model))
    script = DISK.format(disk=tmp_path / "disk", folder=tmp_path, command=shlex.join(line))
    run = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    result = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    first = (tmp_path / "first").read_text()
    assert result.returncode == 0, (result, first)
    # There is room for the samples, of 2 MB, and not for the compressed file besides.
    assert "failed: " in first
    assert first.split()[-2:] == ["1", "b.tif.unfinished"]
    assert "goes on with what is done" in (tmp_path / "second").read_text()
    assert ended(command(source, tmp_path / "c.tif", "--model", str(scene_model)))[0] == 0
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()


def test_what_workers_do_not_share_is_refused_at_once(tmp_path: Path, scene_model: Path) -> None:
    Picture.new("RGB", (8, 8)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "superscale", "upscale", str(tmp_path / "a.png"), "-m", str(scene_model), "--on", "ray"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "--on ray takes TIFFs that become TIFFs" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
