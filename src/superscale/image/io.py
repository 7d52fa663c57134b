"""Files <-> pictures, told apart by content; samples, alpha, profile and metadata as the file has them. Written whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL.Image import Image as PillowPicture

from superscale.errors import ImageError
from superscale.files import write_bytes
from superscale.image.codecs import avif_bits, decode, decode_png, encode_jpeg, encode_png, open_picture
from superscale.image.formats import HEADER_BYTES, READ_SUFFIXES, SUFFIXES, recognised
from superscale.image.jxl import read_jxl
from superscale.image.metadata import stripped
from superscale.image.picture import GREY, RGB, Image, Metadata, as_rgb8, at_depth, over_white, to_pillow
from superscale.image.tiff import encode_tiff, read_tiff
from superscale.image.webp import encode_webp

__all__ = [
    "MAX_PIXELS",
    "QUALITY",
    "SUFFIXES",
    "Image",
    "Metadata",
    "PillowPicture",
    "as_rgb8",
    "decode",
    "encode",
    "encode_with_notices",
    "image_size",
    "list_images",
    "over_white",
    "read_image",
    "to_pillow",
    "write_image",
]

QUALITY = 95
# 1/2.2, as a PNG writes it: what is assumed where nothing is said
SRGB_GAMMA = (45455).to_bytes(4, "big")
# More than any full-frame camera takes (61 million); enlarged four times it is already 3 GB.
MAX_PIXELS = 64_000_000


def read_image(source: Path | str | bytes, max_pixels: int | None = MAX_PIXELS) -> Image:
    """Decode one still picture from a file or from bytes: type and number of samples as its header says.

    CMYK and Lab become sRGB, by their profile. Raises ImageError when it is no picture, is damaged or cut short, is animated
    or of several pages, or has more than ``max_pixels`` pixels (None: any number), which its header tells.
    """
    name = "<bytes>" if isinstance(source, bytes) else str(source)
    try:
        with _opened(source, name) as stream, warnings.catch_warnings():
            # What Pillow warns of is either an error here or of no consequence.
            warnings.simplefilter("ignore")
            return _decoded(stream, name, max_pixels)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name}: too large to decode in the memory there is") from error
    except Exception as error:  # a decoder given damaged bytes raises whatever it stumbles over
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise ImageError(f"{name}: damaged picture ({why})") from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) as stored in a picture's header. Raises ImageError when there is no such header.

    A TIFF or JPEG XL, which Pillow does not open here, is decoded for it.
    """
    with _opened(path, str(path)) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        form = recognised(stream.read(HEADER_BYTES), str(path))
        stream.seek(0)
        if form in ("TIFF", "JPEG XL"):
            image = read_image(path, max_pixels=None)
            return image.width, image.height
        try:
            with open_picture(stream, form, str(path)) as picture:
                return picture.size
        except ImageError:
            raise
        except Exception as error:  # as in `read_image`
            raise ImageError(f"{path}: damaged picture ({error})") from error


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


def _decoded(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    header = stream.read(HEADER_BYTES)
    form = recognised(header, name)
    stream.seek(0)
    if form == "TIFF":
        return read_tiff(stream, name, max_pixels)
    if form == "JPEG XL":
        return read_jxl(stream.read(), name, max_pixels)
    with open_picture(stream, form, name) as picture:
        if form == "PNG":
            place = stream.tell()
            stream.seek(0)
            data = stream.read()
            stream.seek(place)
            return decode_png(picture, data, name, max_pixels)
        if form == "AVIF":
            picture.info["avif_bits"] = avif_bits(header)
        return decode(picture, name, max_pixels)


def encode(image: Image, suffix: str, quality: int = QUALITY, metadata: Metadata = "keep") -> bytes:
    """The bytes of a file of the format that ``suffix`` names (".png", ".jpg", ".webp", ".tiff").

    PNG holds up to 16 bits a sample, TIFF anything, JPEG (written 4:4:4) and WebP 8 bits; JPEG holds no alpha, and what is
    transparent is laid over white. ``metadata="strip"`` leaves out everything but the colour profile, which the colours need.
    Raises ImageError for any other suffix, and for bands outside a TIFF.
    """
    return encode_with_notices(image, suffix, quality, metadata)[0]


def encode_with_notices(
    image: Image, suffix: str, quality: int = QUALITY, metadata: Metadata = "keep"
) -> tuple[bytes, tuple[str, ...]]:
    """`encode`, and the image's notices with those of what this format could not hold."""
    if suffix.lower() not in SUFFIXES:
        raise ImageError(f"cannot write {suffix or 'a file without suffix'!r}; expected one of {', '.join(SUFFIXES)}")
    form = SUFFIXES[suffix.lower()]
    if metadata == "strip":
        image = replace(image, metadata=stripped(image.metadata))
    image = _fitted(image, form)
    data, notices = _encoded(image, form, quality)
    return data, image.noted(*notices).notices


def _fitted(image: Image, form: str) -> Image:
    """The picture reduced to what the format holds, with a notice for each loss."""
    colours = image.metadata.get("png_colours", {})
    if form != "PNG" and (b"cICP" in colours or colours.get(b"gAMA", SRGB_GAMMA) != SRGB_GAMMA):
        chunks = ", ".join(kind.decode() for kind in colours)
        image = image.noted(f"only PNG holds what its colours are said to mean ({chunks}); as {form} they may look different")
    if form == "TIFF":
        return image
    if image.channels not in (GREY, RGB):
        raise ImageError(f"a picture of {image.channels} bands can only be written as TIFF")
    if form == "JPEG" and image.alpha is not None:
        image = over_white(image).noted("JPEG holds no transparency: the picture was laid over white")
    dtype: Any = image.pixels.dtype
    if form == "PNG" and dtype.kind == "f":
        return at_depth(image, np.uint16).noted("PNG holds no floats: samples were clipped to 0..1 and written at 16 bits")
    if form != "PNG" and dtype != np.uint8:
        return at_depth(image, np.uint8).noted(f"{form} holds 8 bits a sample: {dtype} was reduced")
    return image


def _encoded(image: Image, form: str, quality: int) -> tuple[bytes, tuple[str, ...]]:
    match form:
        case "PNG":
            return encode_png(image), ()
        case "JPEG":
            return encode_jpeg(image, quality)
        case "WEBP":
            return encode_webp(image, quality)
    return encode_tiff(image), ()


def write_image(path: Path | str, image: Image, quality: int = QUALITY, metadata: Metadata = "keep") -> tuple[str, ...]:
    """Encode by the suffix of ``path`` and replace it in one step: another reader sees the old file or the new one.

    Returns the notices of reading and writing: what had to be changed.
    """
    path = Path(path)
    data, notices = encode_with_notices(image, path.suffix, quality, metadata)
    write_bytes(path, data)
    return notices


def list_images(folder: Path | str) -> list[Path]:
    """The files below a folder whose suffix is one of a format we read, in the order of their relative paths."""
    folder = Path(folder)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in READ_SUFFIXES and path.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
