"""A folder of photographs -> a pack of sub-images, as EDSR's and ESRGAN's authors cut DIV2K, so that training reads only what it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superscale.data.layout import Layout
from superscale.data.matching import low_folders, split_folder
from superscale.data.pack import MANIFEST, PAIRED, ChecksummedFile, Manifest, Tile, high_res_file, low_res_file
from superscale.data.photos import Left, Photo, Photos, Wider, sha256
from superscale.data.sources import open_source
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError, UsageError
from superscale.files import new_folder, write_text
from superscale.image.region import Region, covering
from superscale.image.resize import imresize
from superscale.machine.ray_pool import Cluster

LowRes = Literal["none", "double", "uint8"]
Progress = Callable[[int, int], None]
DEFAULT_TILE_PX = 512


@dataclass(frozen=True)
class Piece:
    """A sub-image (height, width, C), and what is stored as its low-resolution counterpart; no samples for nothing."""

    tile: Tile
    high_res: NDArray[Any]
    low_res: NDArray[Any]


# The layout of a photo, and its sub-images.
Cut = tuple[Layout, Iterable[Piece]]


def prepare(
    source: Path | str,
    output: Path | str,
    *,
    tile_px: int = DEFAULT_TILE_PX,
    scale: int = 4,
    low_res: LowRes | Path | None = None,
    channels: int | None = None,
    bits: int | None = None,
    progress: Progress | None = None,
    cluster: Cluster | None = None,
) -> Manifest:
    """Cut every photo of ``source``, a folder or an LMDB folder, into sub-images of at most ``tile_px``; pack them into a new folder.

    Sides are cropped to a multiple of ``scale`` (upper left kept). ``low_res``: "double" or "uint8" also stores bicubic reductions, in
    that rounding; a folder holds real low-resolution pictures, which are stored instead, matched by name; by default LR_x{scale}/ of a
    source that holds it beside HR/, else nothing. ``channels`` of the pack, and ``bits`` of its samples (8 or 16): by default what
    the photos have; of a mixture RGB, and the deepest.

    A damaged photo is left out and listed in the manifest's ``skipped``. A pair whose two pictures lie more than half a low-res pixel
    apart is packed and listed in ``shifts``. Raises DataError when no photo is usable, or a pair does not match in name or size. The
    folder appears under its name only when it is whole. ``cluster``: Ray's workers, which see the same folders, read and cut.
    """
    if bits not in (None, 8, 16):
        raise UsageError(f"bits must be 8 or 16, got {bits}")
    high, low = _places(Path(source), low_res, scale)
    photos = Photos(open_source(high), open_source(low) if low else None, scale, channels, bits)
    stored = PAIRED if low else "none" if low_res in (None, "none") else str(low_res)
    pieces = partial(pieces_of, tile_px=tile_px, scale=scale, low_res=stored)
    layout: Layout | None = None
    while True:
        left = Left()
        if cluster is None:
            cuts: Iterator[Cut] = ((photo.layout, pieces(photo)) for photo in photos.read(layout, left, progress))
        else:
            from superscale.data.on_ray import cut_by_workers

            cuts = cut_by_workers(photos, layout, left, progress, pieces, cluster)
        try:
            return _pack(cuts, Path(output), tile_px, scale, stored, left, str(source))
        except Wider as found:
            layout = found.layout


def _places(source: Path, low_res: LowRes | Path | None, scale: int) -> tuple[Path, Path | None]:
    """The folders of high- and of real low-resolution pictures."""
    if isinstance(low_res, Path):
        if low_res.resolve() == source.resolve():
            raise DataError(f"{low_res}: the folder of the high-resolution pictures is not that of the low-resolution ones too")
        return source, low_res
    high, low = split_folder(source, scale)
    if low_res is None and low is None and (others := low_folders(source)):
        raise DataError(
            f"{source}: holds {', '.join(others)}, but no LR_x{scale}/; choose the scale of the pairs, or low_res none for HR/ alone"
        )
    return high, low if low_res is None else None


def prepare_synthetic(
    output: Path | str, *, count: int = 64, side_px: int = 128, scale: int = 4, channels: int = 3
) -> Manifest:
    """A pack of drawn pictures, for `smoke` and for tests; other channels than three repeat those."""
    drawn = (synthetic_picture(number, side_px)[..., np.arange(channels) % 3] for number in range(count))
    photos = (Photo(f"synthetic-{number}", sha256(pixels.tobytes()), pixels) for number, pixels in enumerate(drawn))
    cuts = ((photo.layout, pieces_of(photo, side_px, scale, "none")) for photo in photos)
    return _pack(cuts, Path(output), side_px, scale, "none", Left(), "synthetic")


def _pack(cuts: Iterator[Cut], output: Path, tile_px: int, scale: int, low_res: str, left: Left, source: str) -> Manifest:
    if tile_px < scale:
        raise DataError(f"tile_px must be at least the scale {scale}, got {tile_px}")
    if output.exists():
        raise DataError(f"{output}: exists already; remove it or choose another folder")
    with new_folder(output) as building:
        first = next(cuts, None)
        found = () if first is None else chain((first,), cuts)
        dtype, channels = ("uint8", 3) if first is None else (first[0].dtype, first[0].channels)
        high_path, low_path = building / high_res_file(dtype), building / low_res_file(dtype)
        tiles: list[Tile] = []
        files = [ChecksummedFile(path) for path in ((high_path,) if low_res == "none" else (high_path, low_path))]
        try:
            for _, pieces in found:
                for piece in pieces:
                    tiles.append(piece.tile)
                    for file, samples in zip(files, (piece.high_res, piece.low_res), strict=False):
                        file.write(samples)
        finally:
            checksums = {file.path.name: file.close() for file in files}
        if not tiles:
            reasons = "; ".join(f"{name}: {why}" for name, why in left.skipped[:3])
            raise DataError(f"{source}: not one usable photograph ({reasons or f'all smaller than {scale} pixels'})")
        manifest = Manifest(scale, low_res, tuple(tiles), tuple(left.skipped), dtype, channels, tuple(left.shifts), checksums)
        write_text(building / MANIFEST, manifest.to_json())
    return manifest


def pieces_of(photo: Photo, tile_px: int, scale: int, low_res: str) -> Iterator[Piece]:
    """A photo cut into sub-images, one after another."""
    for region in tile_regions(photo.pixels.shape[0], photo.pixels.shape[1], tile_px, scale):
        high_res = np.ascontiguousarray(region.of_pixels(photo.pixels))
        small = _low_res(photo, region, high_res, scale, low_res)
        yield Piece(_tile(photo, region), high_res, np.ascontiguousarray(small))


def _low_res(photo: Photo, region: Region, high_res: NDArray[Any], scale: int, low_res: str) -> NDArray[Any]:
    """What belongs to a sub-image: a piece of the given picture, its reduction, or nothing."""
    if low_res == "none":
        return high_res[:0]
    if photo.low_res is None:
        return imresize(high_res, 1 / scale, rounding=low_res)  # type: ignore[arg-type]
    small = Region(region.top // scale, region.left // scale, region.height // scale, region.width // scale)
    piece: NDArray[Any] = small.of_pixels(photo.low_res)
    return piece


def _tile(photo: Photo, region: Region) -> Tile:
    place = (region.top, region.left, region.height, region.width)
    return Tile(photo.name, photo.sha256, *place, low_res_sha256=photo.low_res_sha256)


def tile_regions(height: int, width: int, tile_px: int, scale: int) -> list[Region]:
    """Cover a photo with sub-images of at most ``tile_px``, nearly equal and without overlap, sides multiples of ``scale``."""
    return covering(height // scale * scale, width // scale * scale, tile_px, scale)
