"""Scenes as files, of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import skimage
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

Array = NDArray[Any]
PLACE = rasterio.Affine(10, 0, 500_000, 0, -10, 4_000_000)
HEIGHT, WIDTH = 61, 97
DEFLATED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


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
