"""Files <-> pictures, told apart by content; samples, alpha, profile and metadata as the file has them. Written whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as PillowPicture

from superscale.errors import Damaged, ImageError, Unsupported, install_line
from superscale.files import write_bytes
from superscale.image import holes
from superscale.image.animation import animated, read_gif
from superscale.image.codecs import (
    decode,
    encode_jpeg,
    encode_png,
    pillow_size,
    png_size,
    read_avif,
    read_heic,
    read_pillow,
    read_png,
    rescue_bmp,
    rescue_png,
)
from superscale.image.formats import ANIMATED_SUFFIXES, HEADER_BYTES, SUFFIXES, counted, is_taken, recognised
from superscale.image.jpeg import jpeg_size, read_jpeg, rescue_jpeg
from superscale.image.jxl import jxl_size, read_jxl
from superscale.image.metadata import Metadata
from superscale.image.picture import GREY, RGB, Image, KeepOrStrip, as_rgb8, at_depth, over_white, to_pillow
from superscale.image.pixels import PEAK
from superscale.image.provenance import made_from, source_in
from superscale.image.stack import Stack, StackWriter
from superscale.image.tiff import read_tiff, rescue_tiff, tiff_size
from superscale.image.tiff_pages import TiffPages
from superscale.image.tiff_writer import TiffPagesWriter, encode_tiff
from superscale.image.webp import encode_webp, read_webp
from superscale.reading import files_below, reason, twice

__all__ = [
    "MAX_PIXELS",
    "QUALITY",
    "SUFFIXES",
    "Image",
    "KeepOrStrip",
    "Metadata",
    "PillowPicture",
    "as_rgb8",
    "as_viewed",
    "decode",
    "encode",
    "encode_with_notices",
    "image_size",
    "left_out",
    "list_images",
    "made_from",
    "open_stack",
    "over_white",
    "read_image",
    "source_of",
    "stack_writer",
    "to_pillow",
    "write_image",
]

QUALITY = 95
# More than any full-frame camera takes (61 million); enlarged four times it is already 3 GB.
MAX_PIXELS = 64_000_000

Array = NDArray[Any]
Reader = Callable[[IO[bytes], str, int | None], Image]
Sizer = Callable[[IO[bytes], str], tuple[int, int]]
Rescuer = Callable[[bytes, str, int | None], Image]
Writer = Callable[[Image, int], tuple[bytes, tuple[str, ...]]]
Pages = Callable[[IO[bytes], str, int | None], Stack]
PagesWriter = Callable[[IO[bytes], int], StackWriter]


@dataclass(frozen=True)
class Codec:
    """One format: how a stream becomes a picture, how its size is told, and how a picture is written if it is.

    ``rescue``: what can be had of the bytes of a damaged file, where the format allows to have a part. ``pages`` and ``write_pages``:
    how several pictures in one file are read and written one at a time.
    """

    read: Reader
    size: Sizer
    write: Writer | None = None
    rescue: Rescuer | None = None
    pages: Pages | None = None
    write_pages: PagesWriter | None = None


def _by_extra(module: str, function: str) -> Callable[..., Any]:
    """A function of a module here that imports an extra."""

    def called(*arguments: Any) -> Any:
        try:
            return getattr(import_module(f"superscale.image.{module}"), function)(*arguments)
        except ModuleNotFoundError as error:
            raise Unsupported(f"DICOM needs an extra: {install_line('medical')}") from error

    return called


def _by_pillow(form: str, rescue: Rescuer | None = None) -> Codec:
    return Codec(partial(read_pillow, form), partial(pillow_size, form), rescue=rescue)


CODECS = {
    "PNG": Codec(read_png, png_size, encode_png, rescue_png, *animated("PNG", read_png)),
    "JPEG": Codec(read_jpeg, jpeg_size, encode_jpeg, rescue_jpeg),
    "WEBP": Codec(read_webp, partial(pillow_size, "WEBP"), encode_webp, None, *animated("WEBP", read_webp)),
    "TIFF": Codec(read_tiff, tiff_size, encode_tiff, rescue_tiff, TiffPages, TiffPagesWriter),
    "GIF": Codec(read_gif, partial(pillow_size, "GIF"), None, None, *animated("GIF", read_gif)),
    "BMP": _by_pillow("BMP", rescue_bmp),
    "AVIF": Codec(read_avif, partial(pillow_size, "AVIF")),
    "HEIC": Codec(read_heic, partial(pillow_size, "HEIC")),
    "JPEG XL": Codec(read_jxl, jxl_size),
    "DICOM": Codec(
        _by_extra("dicom", "read_dicom"),
        _by_extra("dicom", "dicom_size"),
        _by_extra("dicom_writer", "encode_dicom"),
        pages=_by_extra("dicom", "DicomPages"),
        write_pages=_by_extra("dicom_writer", "DicomWriter"),
    ),
}


def read_image(source: Path | str | bytes, max_pixels: int | None = MAX_PIXELS, name: str = "", lenient: bool = False) -> Image:
    """Decode one still picture from a file or from bytes: type and number of samples as its header says.

    CMYK and Lab become sRGB, by their profile. Raises ImageError, with ``name`` or the file's own: Unsupported when it is no
    picture, is animated or of several pages, Damaged when it is cut short or does not hold what its header says, and TooLarge
    when its header tells of more than ``max_pixels`` pixels (None: any number). ``lenient`` takes what there is of a damaged
    PNG, JPEG, TIFF or BMP; what is missing is black, grey or transparent, and `Image.damage` says what was wrong.
    """
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    try:
        return twice(partial(_decoded, source, name, max_pixels))
    except Damaged as error:
        rescued = _rescued(source, name, max_pixels) if lenient else None
        if rescued is None:
            raise
        damage = str(error).removeprefix(f"{name}: ")
        return replace(rescued.noted("a damaged file: what there is of it was read"), damage=damage)


def _decoded(source: Path | str | bytes, name: str, max_pixels: int | None) -> Image:
    with _reading(source, name) as (stream, codec):
        return codec.read(stream, name, max_pixels)


def _rescued(source: Path | str | bytes, name: str, max_pixels: int | None) -> Image | None:
    """What can be had of a damaged file; None for nothing."""
    with suppress(ImageError), _reading(source, name) as (stream, codec):
        return None if codec.rescue is None else codec.rescue(stream.read(), name, max_pixels)
    return None


def image_size(source: Path | bytes) -> tuple[int, int]:
    """(width, height) of the picture that `read_image` reads, upright, from its header. Raises ImageError when there is none."""
    return twice(partial(_size, source, "<bytes>" if isinstance(source, bytes) else str(source)))


def _size(source: Path | bytes, name: str) -> tuple[int, int]:
    with _reading(source, name) as (stream, codec):
        return codec.size(stream, name)


def source_of(path: Path) -> str | None:
    """The fingerprint of the file that an output of this program was made from; None for other files."""
    with suppress(ImageError):
        return twice(partial(_source, path))
    return None


def _source(path: Path) -> str | None:
    with _reading(path, str(path)) as (stream, codec):
        form = next(form for form, other in CODECS.items() if other is codec)
        return source_in(stream, form, str(path))


@contextmanager
def open_stack(source: Path | str | bytes, max_pixels: int | None = MAX_PIXELS, name: str = "") -> Iterator[Stack]:
    """The pictures of a file one at a time: the pages of a TIFF, the frames of a DICOM file, or the one of any other.

    Only one is in memory at a time, besides what the caller keeps. Raises ImageError as `read_image` does, here and for each page.
    """
    name = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    with _opened(source, name) as stream:
        with _explained(name):
            pages = _codec(stream, name).pages
            stack = None if pages is None else pages(stream, name, max_pixels)
        yield (
            _Pages(1, lambda _: read_image(source, max_pixels, name))
            if stack is None
            else _Pages(stack.count, stack.page, name)
        )


@dataclass(frozen=True)
class _Pages:
    """A `Stack` whose pages raise nothing but ImageError, which says which one."""

    count: int
    read: Callable[[int], Image]
    name: str = ""

    def page(self, number: int) -> Image:
        """The page ``number``, from 0."""
        with _explained(f"{self.name}: page {number + 1}" if self.count > 1 else self.name):
            return self.read(number)


def stack_writer(stream: IO[bytes], suffix: str, count: int) -> StackWriter:
    """What writes ``count`` pictures to a stream, one at a time, in the format that ``suffix`` names. Raises Unsupported where it holds one."""
    codec = CODECS.get(ANIMATED_SUFFIXES.get(suffix.lower(), ""))
    if codec is None or codec.write_pages is None:
        raise Unsupported(f"{suffix[1:]} holds one picture, and there are {count}; choose tiff, or dcm for DICOM")
    return codec.write_pages(stream, count)


@contextmanager
def _reading(source: Path | str | bytes, name: str) -> Iterator[tuple[IO[bytes], Codec]]:
    """A stream at its start and what reads it; whatever goes wrong with them is an ImageError."""
    with _opened(source, name) as stream, _explained(name):
        yield stream, _codec(stream, name)


def _codec(stream: IO[bytes], name: str) -> Codec:
    form = recognised(stream.read(HEADER_BYTES), name)
    stream.seek(0)
    return CODECS[form]


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Whatever a decoder raises is an ImageError."""
    try:
        with warnings.catch_warnings():
            # What Pillow and pydicom warn of is either an error here or of no consequence.
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name}: too large to decode in the memory there is") from error
    except OSError as error:
        if error.errno is None:  # what Pillow says of a damaged picture
            raise _damaged(name, error) from error
        raise ImageError(f"{name}: cannot be read ({reason(error)})") from error
    except Exception as error:  # a decoder given damaged bytes raises whatever it stumbles over
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> Damaged:
    why = " ".join(str(error).split())[:300] or type(error).__name__
    return Damaged(f"{name}: damaged picture ({why})")


@contextmanager
def _opened(source: Path | str | bytes, name: str) -> Iterator[IO[bytes]]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        mode = os.stat(source).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{name}: expected a picture, got a folder")
        if not stat.S_ISREG(mode):
            # Opening a pipe would wait for somebody to write into it.
            raise ImageError(f"{name}: expected a picture, got something that is not a regular file")
        stream = open(source, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    with stream:
        yield stream


def encode(image: Image, suffix: str, quality: int = QUALITY, metadata: KeepOrStrip = "keep") -> bytes:
    """The bytes of a file of the format that ``suffix`` names (".png", ".jpg", ".webp", ".tiff").

    PNG holds up to 16 bits a sample, TIFF anything, JPEG (written 4:4:4) and WebP 8 bits; JPEG holds no alpha, and what is
    transparent is laid over white. DICOM (".dcm") holds what was read from it, which PNG, JPEG and WebP show as a viewer does.
    ``metadata="strip"`` leaves out everything but the colour profile, which the colours need.
    Raises Unsupported for any other suffix, and for bands outside a TIFF.
    """
    return encode_with_notices(image, suffix, quality, metadata)[0]


def encode_with_notices(
    image: Image, suffix: str, quality: int = QUALITY, metadata: KeepOrStrip = "keep", source: str | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """`encode`, and the image's notices with those of what this format could not hold.

    ``source``: the fingerprint of the file that it was made from, kept in the file's EXIF, where `source_of` finds it.
    """
    form = SUFFIXES.get(suffix.lower(), "")
    write = CODECS[form].write if form else None
    if write is None:
        raise Unsupported(f"cannot write {suffix or 'a file without suffix'!r}; expected one of {', '.join(SUFFIXES)}")
    if metadata == "strip":
        image = replace(image, metadata=image.metadata.stripped())
    if source is not None:
        image = made_from(image, source)
    image = _fitted(image, form)
    data, notices = write(image, quality)
    return data, image.noted(*notices).notices


def _fitted(image: Image, form: str) -> Image:
    """The picture reduced to what the format holds, with a notice for each loss."""
    if form != "PNG" and (chunks := image.metadata.only_in_png()):
        image = image.noted(f"only PNG holds what its colours are said to mean ({chunks}); as {form} they may look different")
    if form == "TIFF" and "ModalityLUTSequence" in (image.metadata.dicom or ()):
        return image.noted(
            "TIFF holds no table from stored to measured values (ModalityLUTSequence): the samples are the stored ones"
        )
    if form in ("TIFF", "DICOM"):
        return image
    image = as_viewed(image)
    if image.channels not in (GREY, RGB):
        raise Unsupported(f"a picture of {image.channels} bands can only be written as TIFF")
    if image.pixels.dtype.kind != "f" and str(image.pixels.dtype) not in PEAK:
        raise Unsupported(f"samples of {image.pixels.dtype} can only be written as TIFF")
    if (valid := image.valid()) is not None:
        image = _see_through(image, valid).noted(f"{form} holds no value of no data: such pixels are transparent")
    if form == "JPEG" and image.alpha is not None:
        image = over_white(image).noted("JPEG holds no transparency: the picture was laid over white")
    dtype: Any = image.pixels.dtype
    if form == "PNG" and dtype.kind == "f":
        return at_depth(image, np.uint16).noted("PNG holds no floats: samples were clipped to 0..1 and written at 16 bits")
    if form != "PNG" and dtype != np.uint8:
        return at_depth(image, np.uint8).noted(f"{form} holds 8 bits a sample: {dtype} was reduced")
    return image


def as_viewed(image: Image) -> Image:
    """What was read from DICOM as a viewer shows it, uint8; any other picture as it is."""
    viewed: Image = image if image.metadata.dicom is None else _by_extra("dicom", "viewed")(image)
    return viewed


def _see_through(image: Image, valid: Array) -> Image:
    """The picture with alpha 0, and black, where there are no data."""
    alpha = holes.as_alpha(valid, image.pixels.dtype)
    if image.alpha is not None:
        alpha = np.minimum(alpha, image.alpha)
    return replace(image, pixels=np.where(valid, image.pixels, image.pixels.dtype.type(0)), alpha=alpha, mask=None)


def write_image(path: Path | str, image: Image, quality: int = QUALITY, metadata: KeepOrStrip = "keep") -> tuple[str, ...]:
    """Encode by the suffix of ``path`` and replace it in one step: another reader sees the old file or the new one.

    Returns the notices of reading and writing: what had to be changed.
    """
    path = Path(path)
    data, notices = encode_with_notices(image, path.suffix, quality, metadata)
    write_bytes(path, data)
    return notices


def list_images(folder: Path | str) -> list[Path]:
    """The files below a folder whose suffix is one of a format we read, in the order of their relative paths.

    Raises ImageError when a folder on the way cannot be listed: pictures would be missing, and nobody knew.
    """
    folder = Path(folder)
    try:
        return sorted(files_below(folder, is_taken), key=lambda path: path.relative_to(folder).as_posix())
    except OSError as error:
        raise ImageError(
            f"{error.filename}: cannot be listed or looked at ({reason(error)}); make it readable, or move it away"
        ) from error


def left_out(folder: Path | str) -> str:
    """How many files below a folder `list_images` leaves out, by suffix, and why: "3 .dcm (pip install ...), 1 .mp4"; "" for none."""
    return counted(path for path in Path(folder).rglob("*") if not is_taken(path) and path.is_file())
