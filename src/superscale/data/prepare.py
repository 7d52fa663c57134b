"""A folder of photographs -> a pack of sub-images, as EDSR's and ESRGAN's authors cut DIV2K, so that training reads only what it uses."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superscale.data.pack import HIGH_RES, LOW_RES, MANIFEST, Manifest, Tile
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError, ImageError
from superscale.files import new_folder, write_text
from superscale.image.io import as_rgb8, list_images, read_image
from superscale.image.region import Region, covering
from superscale.image.resize import imresize

LowRes = Literal["none", "double", "uint8"]
Progress = Callable[[int, int], None]
DEFAULT_TILE_PX = 512
Photo = tuple[str, str, NDArray[np.uint8]]


def prepare(
    source: Path | str,
    output: Path | str,
    *,
    tile_px: int = DEFAULT_TILE_PX,
    scale: int = 4,
    low_res: LowRes = "none",
    progress: Progress | None = None,
) -> Manifest:
    """Cut every photo below ``source`` into sub-images of at most ``tile_px`` and pack them into the new folder ``output``.

    Sides are cropped to a multiple of ``scale`` (upper left kept). ``low_res`` also stores their bicubic reductions, in that
    rounding. A damaged photo is left out and listed in the manifest's ``skipped``; no usable photo at all is a DataError.
    The folder appears under its name only when it is whole.
    """
    source = Path(source)
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder of photographs")
    paths = list_images(source)
    if not paths:
        raise DataError(f"{source}: no photographs (.png, .jpg, .webp, .tiff) in this folder or below it")
    skipped: list[tuple[str, str]] = []
    photos = _read_all(paths, source, skipped, progress)
    return _pack(photos, Path(output), tile_px, scale, low_res, skipped, str(source))


def prepare_synthetic(output: Path | str, *, count: int = 64, side_px: int = 128, scale: int = 4) -> Manifest:
    """A pack of drawn pictures, for `smoke` and for tests."""
    pictures = (synthetic_picture(number, side_px) for number in range(count))
    photos = ((f"synthetic-{number}", _sha256(pixels.tobytes()), pixels) for number, pixels in enumerate(pictures))
    return _pack(photos, Path(output), side_px, scale, "none", [], "synthetic")


def _read_all(paths: list[Path], source: Path, skipped: list[tuple[str, str]], progress: Progress | None) -> Iterator[Photo]:
    for number, path in enumerate(paths, start=1):
        name = path.relative_to(source).as_posix()
        try:
            data = path.read_bytes()
            pixels = as_rgb8(read_image(data), name)
        except (ImageError, OSError) as error:
            skipped.append((name, str(error).removeprefix("<bytes>: ").removeprefix(f"{name}: ")))
        else:
            yield name, _sha256(data), pixels
        if progress is not None:
            progress(number, len(paths))


def _pack(
    photos: Iterable[Photo],
    output: Path,
    tile_px: int,
    scale: int,
    low_res: LowRes,
    skipped: list[tuple[str, str]],
    source: str,
) -> Manifest:
    if tile_px < scale:
        raise DataError(f"tile_px must be at least the scale {scale}, got {tile_px}")
    if output.exists():
        raise DataError(f"{output}: exists already; remove it or choose another folder")
    with new_folder(output) as building:
        tiles: list[Tile] = []
        with open(building / HIGH_RES, "wb") as high_file, open(building / LOW_RES, "wb") as low_file:
            for name, digest, pixels in photos:
                for region in tile_regions(pixels.shape[0], pixels.shape[1], tile_px, scale):
                    high_res = np.ascontiguousarray(region.of_pixels(pixels))
                    high_file.write(high_res.data)
                    if low_res != "none":
                        low_file.write(np.ascontiguousarray(imresize(high_res, 1 / scale, rounding=low_res)).data)
                    tiles.append(Tile(name, digest, region.top, region.left, region.height, region.width))
            for file in (high_file, low_file):
                file.flush()
                os.fsync(file.fileno())
        if low_res == "none":
            (building / LOW_RES).unlink()
        if not tiles:
            reasons = "; ".join(f"{name}: {why}" for name, why in skipped[:3])
            raise DataError(f"{source}: not one usable photograph ({reasons or f'all smaller than {scale} pixels'})")
        manifest = Manifest(scale, low_res, tuple(tiles), tuple(skipped))
        write_text(building / MANIFEST, manifest.to_json())
    return manifest


def tile_regions(height: int, width: int, tile_px: int, scale: int) -> list[Region]:
    """Cover a photo with sub-images of at most ``tile_px``, nearly equal and without overlap, sides multiples of ``scale``."""
    return covering(height // scale * scale, width // scale * scale, tile_px, scale)


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()
