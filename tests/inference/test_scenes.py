"""Scenes that are too large for memory: by windows they come out as in memory, whole or not at all, and as valid COGs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import skimage
import torch
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from superscale.image import scene as scenes
from superscale.inference.jobs import Settings, run_jobs
from superscale.inference.plan import Job
from superscale.inference.scenes import upscale_scene
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model

Array = NDArray[Any]
PLACE = rasterio.Affine(10, 0, 500_000, 0, -10, 4_000_000)
HEIGHT, WIDTH = 61, 97
DEFLATED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(7)
    generator = build_generator("compact", {"features": 4, "convolutions": 2})
    with torch.no_grad():
        for weights in generator.parameters():
            weights.add_(torch.randn_like(weights) * 0.05)
    return Model("tiny", generator.eval(), {})


@pytest.fixture(autouse=True)
def _small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "STRIP_BYTES", 1)  # a look at a scene goes through strips of 32 rows


def bands(count: int, dtype: Any, low: float, high: float, height: int = HEIGHT, width: int = WIDTH) -> Array:
    photo = skimage.data.camera()[60 : 60 + height, 150 : 150 + width] / 255
    turned = [photo, photo[::-1], photo[:, ::-1], photo[::-1, ::-1]]
    return np.stack([low + turned[band % 4] * (high - low) for band in range(count)]).astype(dtype)


def write(path: Path, samples: Array, mask: Array | None = None, **options: Any) -> Path:
    how = {"driver": "GTiff", "count": len(samples), "height": samples.shape[1], "width": samples.shape[2]}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **how, dtype=samples.dtype, transform=PLACE, crs="EPSG:32633", **options) as file,
    ):
        file.write(samples)
        if mask is not None:
            file.write_mask(mask)
    return path


def plain(path: Path) -> Path:
    return write(path, bands(3, np.uint8, 0, 255), photometric="RGB")


def measured(path: Path) -> Path:
    samples = bands(4, np.uint16, 100, 4095)
    samples[:, 20:40, 30:80] = 0
    samples[2, 3:9, 3:9] = 0
    samples[1, 50, 50] = 60000
    return write(path, samples, nodata=0, photometric="MINISBLACK", **DEFLATED)


def floats(path: Path) -> Path:
    samples = bands(2, np.float32, -300, 2000)
    samples[:, :40, :50] = -9999
    samples[1, 45:50, 60:] = np.nan
    return write(path, samples, nodata=-9999)


def infrared(path: Path) -> Path:
    """Of four bands that GDAL calls RGB, the last is tagged as alpha."""
    write(path, bands(4, np.uint16, 0, 65535), photometric="RGB", alpha="unspecified")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    return path


def transparent(path: Path) -> Path:
    samples = bands(4, np.uint16, 1, 65535)
    samples[3] = 65535
    samples[3, 10:45, 20:60] = 0
    write(path, samples, photometric="RGB", alpha="unassociated")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    return path


def masked(path: Path) -> Path:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[5:44, 11:70] = 0
    return write(path, bands(3, np.int16, -1000, 3000), mask)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [4, 2, 1.7])
def test_by_windows_every_sample_is_what_it_is_in_memory(kind: Any, scale: float, model: Model, tmp_path: Path) -> None:
    upscaler = Upscaler(model, scale=scale, tile=20)
    one, other = both(kind(tmp_path / "a.tif"), upscaler, tmp_path)
    with rasterio.open(one) as memory, rasterio.open(other) as windows:
        np.testing.assert_array_equal(windows.read(), memory.read())
        np.testing.assert_array_equal(windows.read_masks(), memory.read_masks())
        assert windows.dtypes == memory.dtypes
        assert windows.bounds == pytest.approx(memory.bounds)
        assert (windows.crs, windows.colorinterp) == (memory.crs, memory.colorinterp)
        assert windows.mask_flag_enums == memory.mask_flag_enums
        assert windows.nodata == memory.nodata
