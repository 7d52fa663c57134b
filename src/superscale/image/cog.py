"""A picture that is written by windows: first its samples as they are, then, of these, a cloud-optimised GeoTIFF (COG) with overviews."""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import ImageError
from superscale.image.picture import Image
from superscale.image.pixels import white
from superscale.image.region import Region
from superscale.image.scene import GDAL, require_rasterio
from superscale.image.tiff_writer import begin_tiff, starts_of

Array = NDArray[Any]

BLOCK_PX = 512
SMALLEST_BLOCK_PX, LARGEST_BLOCK_PX = 64, 2048
# So often a waiting main thread looks for signals.
LOOK_SECONDS = 0.2


class Canvas:
    """The samples of a picture that is being made, in a file: an uncompressed, tiled TIFF of its final size, any part of which can be written.

    Tiled, since GDAL reads rows of a wide picture over and over when it makes tiles of them.

    To be used in a ``with`` statement. A killed process leaves a file in which all parts are whole that were put before the last
    `sync`. Raises OSError where the disk has no room for all of it.
    """

    def __init__(self, path: Path, header: Image, begun: bool = False) -> None:
        """``begun``: the file is there already, with parts of the same picture."""
        self._samples = header.channels + (header.alpha is not None)
        self._width = header.width
        self._dtype = header.pixels.dtype.newbyteorder("<")
        if not begun:
            begin_tiff(path, header, BLOCK_PX)
        self._starts = starts_of(path)
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        if not begun and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._file.fileno(), 0, os.fstat(self._file.fileno()).st_size)
            except OSError:
                self._file.close()
                raise

    def __enter__(self) -> Canvas:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def put(self, target: Region, samples: Array, mask: Array | None) -> None:
        """Write samples (h, w, C), alpha among them, and their mask, at a place."""
        self._put(self._starts[0], target, samples.astype(self._dtype, copy=False), self._samples)
        if mask is not None:
            self._put(self._starts[1], target, np.where(mask, white(np.uint8), 0).astype(np.uint8), 1)

    def _put(self, start: int, target: Region, samples: Array, count: int) -> None:
        pixel_bytes = samples.itemsize * count
        across = -(-self._width // BLOCK_PX)
        for top in range(target.top // BLOCK_PX * BLOCK_PX, target.bottom, BLOCK_PX):
            for left in range(target.left // BLOCK_PX * BLOCK_PX, target.right, BLOCK_PX):
                tile = start + (top // BLOCK_PX * across + left // BLOCK_PX) * BLOCK_PX**2 * pixel_bytes
                first, end = max(left, target.left), min(left + BLOCK_PX, target.right)
                for row in range(max(top, target.top), min(top + BLOCK_PX, target.bottom)):
                    self._file.seek(tile + ((row - top) * BLOCK_PX + first - left) * pixel_bytes)
                    self._write(samples[row - target.top, first - target.left : end - target.left].tobytes())

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        """Return when all that was put is on the disk."""
        os.fsync(self._file.fileno())


def write_cog(source: Path, target: Path, tile_px: tuple[int, int] | None) -> None:
    """Copy a TIFF to a cloud-optimised GeoTIFF: deflated tiles (as large as ``tile_px`` if they can be), overviews by averaging.

    In a thread of its own, so that a signal can end the process meanwhile; ``target`` is whole only when this returns. Raises
    ImageError when it cannot be written.
    """
    failures: list[Exception] = []

    def copy() -> None:
        try:
            _copied(source, target, tile_px)
        except Exception as error:  # handed to the caller, in whose thread it can be handled
            failures.append(error)

    copying = threading.Thread(target=copy, name="superscale-cog", daemon=True)
    copying.start()
    while copying.is_alive():
        copying.join(LOOK_SECONDS)
    for error in failures:
        raise ImageError(f"{target.name} cannot be written: {error.__cause__ or error}") from error


def _copied(source: Path, target: Path, tile_px: tuple[int, int] | None) -> None:
    rasterio = require_rasterio()
    options = {
        "COMPRESS": "DEFLATE",
        "PREDICTOR": "YES",
        "BLOCKSIZE": _block_px(tile_px),
        "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "NUM_THREADS": "ALL_CPUS",
        "STATISTICS": "NO",
    }
    with rasterio.Env(**GDAL), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it lies nowhere
        rasterio.shutil.copy(source, target, driver="COG", **options)
    with open(target, "rb") as stream:
        os.fsync(stream.fileno())


def _block_px(tile_px: tuple[int, int] | None) -> int:
    rows, columns = tile_px or (0, 1)
    fits = rows == columns and SMALLEST_BLOCK_PX <= rows <= LARGEST_BLOCK_PX and rows % 16 == 0
    return rows if fits else BLOCK_PX
