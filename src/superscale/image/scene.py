"""`Scene`: a TIFF that is read by windows, with rasterio (GDAL), because it is too large for memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from superscale.errors import Damaged, ImageError, MissingExtraError, Unsupported
from superscale.image import geo, tiff
from superscale.image.fringe import CELL_PX
from superscale.image.picture import Image, checked_size
from superscale.image.region import Region
from superscale.image.strips import JPEG, check_directories, check_parts
from superscale.image.tiff_tags import page_metadata

Array = NDArray[Any]

# What GDAL may keep of blocks that it has read, and what is read at once to look at a whole scene.
CACHE_MEGABYTES = 256
STRIP_BYTES = 32_000_000
# Files beside it are no part of a picture. Nothing is kept between two runs.
GDAL = {"GDAL_CACHEMAX": CACHE_MEGABYTES, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": False}


def require_rasterio() -> Any:
    """The module rasterio. Raises MissingExtraError."""
    try:
        import rasterio
        import rasterio.shutil
    except ImportError as error:
        raise MissingExtraError("a scene that is too large for memory", "geo") from error
    return rasterio


def scene_size(path: Path) -> tuple[int, int, int, int] | None:
    """(height, width, samples a pixel, bytes a sample) of a TIFF, from its header; None for what is not read as one picture."""
    try:
        with TiffFile(path) as file:
            check_directories(file, str(path))
            page = tiff.only_page(file.pages, str(path))
            checked_size(page.imagewidth, page.imagelength, page.samplesperpixel, None, str(path))
            return page.imagelength, page.imagewidth, page.samplesperpixel, -(-int(page.bitspersample) // 8)
    except Exception:  # no TIFF, or a damaged one: whoever reads it says so
        return None


def hollow(image: Image, size: tuple[int, int], has_mask: bool) -> Image:
    """The image at another size (height, width), with zeros for samples, which take no memory; its metadata are not scaled."""
    nothing = np.zeros((), image.pixels.dtype)
    return replace(
        image,
        pixels=np.broadcast_to(nothing, (*size, image.channels)),
        alpha=None if image.alpha is None else np.broadcast_to(nothing, size),
        mask=np.broadcast_to(np.True_, size) if has_mask else None,
    )


class Scene:
    """An opened TIFF. ``header``: the image that it is, but for its samples, which are zeros that take no memory.

    To be used in a ``with`` statement. Raises ImageError as `read_image` does, Unsupported also for a few kinds of TIFF that are not
    read by windows, and MissingExtraError without rasterio.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rasterio = require_rasterio()
        self._open = ExitStack()
        try:
            self._begin()
        except (ImageError, OSError):
            self._open.close()
            raise
        except Exception as error:  # as in `read_image`
            self._open.close()
            raise Damaged(f"{path}: damaged picture ({error})") from error

    def _begin(self) -> None:
        name, enter = str(self.path), self._open.enter_context
        stream = enter(open(self.path, "rb"))  # noqa: SIM115
        file = enter(TiffFile(stream))
        check_directories(file, name)
        self._page = page = tiff.only_page(file.pages, name)
        layout = tiff.page_layout(page, name)
        extras = page_metadata(page, stream)
        self._geo = extras.get("geo")
        if (why := _unread(page, layout, self._geo)) is not None:
            raise Unsupported(f"{name}: {why}, which is not read by windows")
        check_parts(page, stream, name, unguarded=True)
        mask = tiff.mask_page(file.pages, page)
        if mask is not None:
            check_parts(mask, stream, name, unguarded=True)
        enter(self._rasterio.Env(**GDAL))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it lies nowhere
            self._dataset = enter(self._rasterio.open(self.path, sharing=False))
        self._layout, notices = self._decided(layout)
        probe = tiff.as_image(page, np.zeros((1, 1, page.samplesperpixel), page.dtype), self._layout, self._geo)
        icc, unfit = tiff.page_profile(page, probe)
        kept = replace(probe.metadata, **extras, icc_profile=icc)
        missed = tiff.left_out(list(file.pages), page, "ome" in extras)
        probe = replace(probe, metadata=kept, notices=(*probe.notices, *notices, *unfit, *missed))
        self.header = hollow(probe, (page.imagelength, page.imagewidth), mask is not None)

    def _decided(self, layout: tiff.Layout) -> tuple[tiff.Layout, tuple[str, ...]]:
        """The layout in which it is clear whether the last band is alpha."""
        if not layout.doubtful:
            return layout, ()
        for region in self._regions():
            image = tiff.as_image(self._page, self._samples(region), layout, self._geo)
            if image.alpha is None:
                return replace(layout, alpha=0, channels=layout.channels + 1, doubtful=False), image.notices
        return replace(layout, doubtful=False), ()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def part(self, region: Region) -> Image:
        """Some of its pixels, with the metadata of the whole."""
        image = tiff.as_image(self._page, self._samples(region), self._layout, self._geo)
        mask = None
        if self.header.mask is not None:
            mask = self._read(self._dataset.read_masks, 1, region) != 0
        return replace(image, mask=mask, metadata=self.header.metadata, notices=())

    def strips(self) -> Iterator[tuple[Region, Image]]:
        """All of it, in strips of whole rows that are aligned to cells."""
        for region in self._regions():
            yield region, self.part(region)

    def _regions(self) -> Iterator[Region]:
        page = self._page
        height, width = page.imagelength, page.imagewidth
        rows = max(STRIP_BYTES // (width * page.samplesperpixel * 8) // CELL_PX, 1) * CELL_PX
        for top in range(0, height, rows):
            yield Region(top, 0, rows, width).aligned(CELL_PX, height, width)

    def _samples(self, region: Region) -> Array:
        """(h, w, C) as the file holds them."""
        return np.ascontiguousarray(np.moveaxis(self._read(self._dataset.read, None, region), 0, -1))

    def _read(self, read: Any, bands: int | None, region: Region) -> Array:
        window = self._rasterio.windows.Window(region.left, region.top, region.width, region.height)
        try:
            samples: Array = read(bands, window=window)
        except self._rasterio.errors.RasterioError as error:
            raise Damaged(f"{self.path}: damaged picture ({error.__cause__ or error})") from error
        return samples


def _unread(page: TiffPage, layout: tiff.Layout, geotags: geo.Geo | None) -> str | None:
    """What about a TIFF keeps it from being read by windows."""
    if layout.for_pillow or layout.space == tiff.CMYK:
        return "it has a colour space other than grey and RGB"
    if int(page.compression) == JPEG:
        return "it is JPEG-compressed"
    if int(page.sampleformat) == tiff.FLOAT and layout.bits == 16:
        return "it has floats of 16 bits"
    if tiff.orientation(page) != 1 or page.index:
        return "it is turned" if not page.index else "it is not the first page of its file"
    if geo.GDAL_NODATA in (geotags or {}) and tiff.changes_samples(page, layout, geotags):
        return "it has a value of no data, and samples that are read as other values"
    return None
