"""Writing of TIFF: any type of samples, any number of bands, a mask page, a GeoTIFF's tags, and the photograph's EXIF."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import TiffImagePlugin
from tifffile import TiffFile, TiffPage, TiffWriter

from superscale.image import geo, metadata, ome
from superscale.image.overviews import overviews
from superscale.image.picture import GREY, RGB, Image, with_alpha
from superscale.image.tiff import PHOTOMETRIC
from superscale.image.tiff_tags import STATED, SUB_IFDS, XMP

Array = NDArray[Any]

SUBFILE_TYPE, DESCRIPTION = 254, 270
REDUCED_PAGE, MASK_PAGE = 1, 4
COMMON: dict[str, Any] = {"software": False, "metadata": None, "maxworkers": 1}
# A classic TIFF counts bytes in 32 bits; some are for directories.
CLASSIC_BYTES = 2**32 - 2**25
# sample type -> the type of a tag, as tifffile names it
STATED_KINDS = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "float16": "f",
    "float32": "f",
    "float64": "d",
}
CLASSIC_HEADER = b"II*\0\x08\0\0\0"
LONG = 4
# tifffile writes no pointers to directories; the entry after each, which nobody uses, is held for it until its place is known.
HELD = 1


def encode_tiff(image: Image, _quality: int) -> tuple[bytes, tuple[str, ...]]:
    """Samples of any type, any number of bands -> (the file, deflated; no notices); metadata in its tags, a mask as a second page,
    as many overviews as the picture had."""
    stream = io.BytesIO()
    writer = TiffPagesWriter(stream, 1)
    writer.add(image)
    writer.finish()
    return stream.getvalue(), ()


class TiffPagesWriter:
    """Writes ``count`` pages to a stream that can be read again, one after the other: a `StackWriter`."""

    def __init__(self, stream: IO[bytes], count: int) -> None:
        self._stream, self._count = stream, count
        self._writer: TiffWriter | None = None
        self._directories: dict[int, dict[int, Any]] = {}
        self.notices: tuple[str, ...] = ()

    def add(self, image: Image) -> None:
        """Write one more page, its mask and its overviews."""
        is_first = self._writer is None
        if image.metadata.frame_ms is not None:
            self.notices = ("TIFF holds pages and no animation: times and repeats were left out",)
        tags, directories = _written_tags(image, directories_too=is_first)
        if self._writer is None:
            self._directories = directories
            # Deflated samples may be as long as they were, and overviews take a third more.
            samples_bytes = image.pixels.nbytes + (0 if image.alpha is None else image.alpha.nbytes)
            is_big = samples_bytes * self._count * (4 / 3 if image.metadata.overviews else 1) > CLASSIC_BYTES
            self._writer = TiffWriter(self._stream, byteorder="<", bigtiff=is_big)
        _write_page(self._writer, image, tags)

    def finish(self) -> None:
        """Write the directories of EXIF behind the pages."""
        if self._writer is not None:
            self._writer.close()
        _append_directories(self._stream, self._directories)


def _write_page(writer: TiffWriter, image: Image, tags: list[tuple[Any, ...]]) -> None:
    how: dict[str, Any] = {"compression": "zlib", "tile": image.metadata.tile_px, **COMMON}
    predictor = 2 if image.pixels.dtype.kind in "iu" else None
    writer.write(_planes(with_alpha(image)), predictor=predictor, extratags=tags, **_page_options(image), **how)
    if image.mask is not None:
        writer.write(image.mask, photometric="mask", subfiletype=MASK_PAGE, **how)
    nodata = [tag for tag in tags if tag[0] == geo.GDAL_NODATA]
    for smaller in overviews(image):
        reduced = {"subfiletype": REDUCED_PAGE, "extratags": nodata, **_page_options(smaller), **how}
        writer.write(_planes(with_alpha(smaller)), predictor=predictor, **reduced)
        if smaller.mask is not None:
            writer.write(smaller.mask, photometric="mask", subfiletype=REDUCED_PAGE | MASK_PAGE, **how)


def begin_tiff(path: Path, header: Image, tile_px: int) -> None:
    """Make an uncompressed BigTIFF with the size, the type and the metadata of ``header`` (as far as `encode_tiff` puts it into tags),
    whose samples are all zero, in square tiles one after another; a mask, if ``header`` has one, has a byte for each pixel."""
    size = (header.height, header.width)
    count = header.channels + (header.alpha is not None)
    tags, _ = _written_tags(header, directories_too=False)
    how: dict[str, Any] = {"tile": (tile_px, tile_px), **COMMON}
    with TiffWriter(path, byteorder="<", bigtiff=True) as writer:
        shape = (*size, count) if count > 1 else size
        writer.write(shape=shape, dtype=header.pixels.dtype, extratags=tags, **_page_options(header), **how)
        if header.mask is not None:
            writer.write(shape=size, dtype=np.uint8, photometric="minisblack", subfiletype=REDUCED_PAGE, **how)
    with TiffFile(path, mode="r+") as file:
        for page in list(file.pages)[1:]:
            assert isinstance(page, TiffPage)
            # tifffile itself writes masks of one bit a pixel only.
            page.tags[SUBFILE_TYPE].overwrite(MASK_PAGE)
            page.tags[PHOTOMETRIC].overwrite(MASK_PAGE)


def starts_of(path: Path) -> list[int]:
    """Where the samples, and the mask, of a file of `begin_tiff` begin."""
    with TiffFile(path) as file:
        return [page.dataoffsets[0] for page in file.pages]


def _planes(samples: Array) -> Array:
    return samples[..., 0] if samples.shape[-1] == 1 else np.ascontiguousarray(samples)


def _page_options(image: Image) -> dict[str, Any]:
    """What the samples of a picture mean, as tifffile takes it."""
    kept = image.metadata
    colours = RGB if image.has_colours else GREY
    extra = ["unspecified"] * (image.channels - colours) + ["unassalpha"] * (image.alpha is not None)
    return {
        "photometric": "rgb" if colours == RGB else "minisblack",
        "planarconfig": "contig" if colours + len(extra) > 1 else None,
        "extrasamples": extra or None,
        "iccprofile": kept.icc_profile,
        "resolution": kept.dpi or kept.per_unit,
        "resolutionunit": "INCH" if kept.dpi is not None else "NONE" if kept.per_unit is not None else None,
    }


def _stated(values: tuple[float, float] | None, image: Image) -> list[tuple[Any, ...]]:
    """The tags of the least and the greatest value, one for each sample of a pixel, in the type of the samples."""
    if values is None:
        return []
    dtype: Any = image.pixels.dtype
    kind = STATED_KINDS[str(dtype)]
    count = image.channels + (image.alpha is not None)
    limits: Any = np.finfo(dtype) if kind in "fd" else np.iinfo(dtype)
    if values[0] < limits.min or values[1] > limits.max:
        return []  # no sample of this type has them
    numbers = [value if kind in "fd" else int(value) for value in values]
    return [(code, kind, count, (number,) * count, True) for code, number in zip(STATED[0], numbers, strict=True)]


def _written_tags(image: Image, directories_too: bool = True) -> tuple[list[tuple[Any, ...]], dict[int, dict[int, Any]]]:
    """(tags of the picture's directory as tifffile takes them, directories that are to be hung below it)."""
    kept = image.metadata
    tags = _stated(kept.stated_range, image)
    for code, value in (kept.geo or {}).items():
        kind = geo.TAGS[code]
        tags.append((code, kind, 0 if kind == "s" else len(value), value, True))
    if kept.xmp is not None:
        tags.append((XMP, "B", len(kept.xmp), kept.xmp, True))
    directories: dict[int, dict[int, Any]] = {}
    if kept.exif is not None:
        exif = PillowImage.Exif()
        exif.load(kept.exif)
        for tag in (metadata.PROCESSING_SOFTWARE, *metadata.DESCRIPTIVE):
            if isinstance(exif.get(tag), str) and not (tag == DESCRIPTION and kept.ome is not None):
                tags.append((tag, "s", 0, exif[tag].encode(), True))
        directories = {tag: dict(exif.get_ifd(tag)) for tag in SUB_IFDS if directories_too and exif.get_ifd(tag)}
        tags += [(tag + HELD, "I", 1, 0, True) for tag in directories]
    if kept.ome is not None:
        tags.append((DESCRIPTION, "s", 0, ome.scaled(kept.ome, image.width, image.height).encode(), True))
    return tags, directories


def _append_directories(stream: IO[bytes], directories: dict[int, dict[int, Any]]) -> None:
    """Write each directory behind the file and point to it from the entry that was held for it."""
    if not directories:
        return
    stream.seek(0)
    with TiffFile(stream) as file:
        # A file beyond 4 GB has another layout, and does without.
        entries = {} if file.is_bigtiff else {tag: file.pages.first.tags[tag + HELD].offset for tag in directories}
    for tag, entry in entries.items():
        place = stream.seek(0, io.SEEK_END)
        place += stream.write(b"\0" * (place % 2))
        directory = TiffImagePlugin.ImageFileDirectory_v2(CLASSIC_HEADER, group=tag)
        for code, value in directories[tag].items():
            directory[code] = value
        stream.write(directory.tobytes(place))
        stream.seek(entry)
        stream.write(struct.pack("<HHII", tag, LONG, 1, place))
