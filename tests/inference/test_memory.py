"""Tiles sized by free memory, a device that is really full, and how much a large picture takes."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from superscale.data.synthetic import synthetic_picture
from superscale.inference.sizes import SIDES_PX, tile_that_fits
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model, save_model

CPU, GPU = "cpu", "cuda"
GIGABYTE = 10**9


def test_a_tile_and_its_overlap_take_no_more_than_half_of_what_is_free() -> None:
    # (side + 2 * 12)^2 pixels of 10 kB, twice: 152^2 -> 0.46 GB, 216^2 -> 0.93 GB, 536^2 -> 5.7 GB
    for free, side in ((0.46, 96), (0.47, 128), (0.93, 128), (0.94, 192)):
        assert tile_that_fits(10_000, 12, CPU, int(free * GIGABYTE)) == side
        assert tile_that_fits(10_000, 12, GPU, int(free * GIGABYTE)) == side
    assert tile_that_fits(10_000, 12, CPU, 100 * GIGABYTE) == 256, "where a CPU is fast enough"
    assert tile_that_fits(10_000, 12, GPU, 100 * GIGABYTE) == SIDES_PX[0]
    assert tile_that_fits(10_000, 64, CPU, 100 * GIGABYTE) == 384, "what a wide overlap adds is still small there"
    assert tile_that_fits(10_000, 12, CPU, 0) == SIDES_PX[-1], "a full device still gets a try"


def test_little_free_memory_makes_small_tiles_of_the_same_picture(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = synthetic_picture(2, 80)
    reach = tiny_model.generator.contract.receptive_field_px + 1
    whole = Upscaler(tiny_model, tile=0)(picture).astype(int)
    monkeypatch.setattr("superscale.machine.device.free_bytes", lambda device: 0)
    small = Upscaler(tiny_model, overlap=reach)
    assert small.engine.tile_px == SIDES_PX[-1]
    assert np.abs(small(picture).astype(int) - whole).max() <= 1
    assert Upscaler(tiny_model, tile=77).engine.tile_px == 77, "a size that was given stays"


# Address space is cut to a little more than what the process has: torch's own allocator then fails as on a full machine.
FULL = """
import resource, sys
import numpy as np
from superscale.data.synthetic import synthetic_picture
from superscale.errors import OutOfMemoryError
from superscale.inference.upscaler import Upscaler

picture = synthetic_picture(1, 160)[:64]
expected = Upscaler(sys.argv[1], tile=20, overlap=16, backend="torch")(picture)
model, how = sys.argv[1], {"overlap": 16, "backend": "torch"}
upscaler, given = Upscaler(model, **how), Upscaler(model, tile=160, **how)
upscaler(picture[:8, :8])
tried = []
engine = upscaler.engine
through = engine._through_network
engine._through_network = lambda pixels: (tried.append(max(pixels.shape)), through(pixels))[1]
engine.tile_px = 160
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
got = upscaler(picture)
assert np.abs(got.astype(int) - expected).max() <= 1
try:
    given(picture)
except OutOfMemoryError as error:
    print(tried[0], min(tried), str(error))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
def test_on_a_machine_that_is_full_tiles_are_halved_until_they_fit_and_a_given_size_is_an_error(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(
        tmp_path / "one.safetensors", build_generator("srresnet", {"blocks": 1, "features": 32, "batch_norm": False}), {}
    )
    line = [sys.executable, "-c", FULL, str(tmp_path / "one.safetensors"), "25000000"]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    first, smallest, error = ended.stdout.split(maxsplit=2)
    assert int(first) == 160
    assert int(smallest) < 160
    assert "160x64 pixels; choose a smaller tile" in error


PEAK = """
import resource, sys
from superscale.cli.main import main
sys.argv = ["superscale", "upscale", *sys.argv[1:], "--overwrite", "-q"]
try: main()
except SystemExit as stop: assert not stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_bytes(*arguments: str) -> int:
    ended = subprocess.run([sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True)
    return int(ended.stdout) * (1024 if sys.platform == "linux" else 1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="this system does not tell a process its peak")
@pytest.mark.parametrize(
    ("suffix", "deep"), [(".png", False), (".jpg", False), (".webp", False), (".tif", False), (".png", True)]
)
def test_a_hundred_megapixels_are_written_within_two_gibibytes(suffix: str, deep: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "fast.safetensors", build_generator("compact", {"features": 8, "convolutions": 1}), {})
    small = synthetic_picture(4, 625).repeat(4, 0).repeat(4, 1)
    source = tmp_path / ("in.tif" if deep else "in.png")
    if deep:
        import tifffile

        tifffile.imwrite(source, small.astype(np.uint16) * 257, photometric="rgb")
    else:
        PillowImage.fromarray(small).save(source)
    output = tmp_path / f"out{suffix}"
    assert peak_bytes(str(source), "-o", str(output), "--model", str(tmp_path / "fast.safetensors")) < 2 * 1024**3
    limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
    try:
        with PillowImage.open(output) as written:
            assert written.size == (10_000, 10_000)
    finally:
        PillowImage.MAX_IMAGE_PIXELS = limit
