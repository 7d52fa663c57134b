"""Pictures that Pillow decodes and encodes, and 16-bit PNG, which it would squeeze to 8 bits; TIFF has its own file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import chain
from typing import IO, Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import PngImagePlugin
from PIL.Image import Image as PillowPicture

from superscale.errors import Damaged, Unsupported, install_line
from superscale.image import iso_media, png, profile
from superscale.image.formats import HEADER_BYTES, check_sides
from superscale.image.metadata import (
    XMP_TEXT,
    Metadata,
    maker_of,
    orientation_of,
    read_metadata,
    upright,
    upright_size,
    with_maker,
)
from superscale.image.picture import Image, checked_size, separated, with_alpha
from superscale.image.pixels import peak, stretch_bits

Array = NDArray[Any]

# Pillow's mode -> the one its samples are taken in; what holds transparency beside its samples gains an alpha channel.
TAKEN_AS = {
    **dict.fromkeys(("1", "L"), "L"),
    **dict.fromkeys(("LA", "La"), "LA"),
    **dict.fromkeys(("P", "RGB", "RGBX", "YCbCr", "HSV"), "RGB"),
    **dict.fromkeys(("PA", "RGBA", "RGBa"), "RGBA"),
}
# EXIF and XMP must each fit one segment of 64 KiB, with a heading.
JPEG_SEGMENT_BYTES = 65_000
# Chunks by which a PNG says what its numbers mean, and their lengths.
PNG_COLOURS = {b"gAMA": 4, b"cHRM": 32, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
# Of these, what Pillow does not write: the light of the display it was mastered on, and of the picture.
PNG_LIGHT = (b"mDCV", b"cLLI")
# Chunks by which it says its size, and which way up it is: EXIF and XMP, as they are or as text.
PNG_ORIENTATION = (b"IHDR", b"eXIf", b"tEXt", b"zTXt", b"iTXt")
# Signature and IHDR; as much as libpng's usual level packs.
PNG_BEGIN, PNG_LEVEL = 33, 6
# The marker of JPEG's first table.
DQT = 0xDB
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
DEEP = {"I;16": np.uint16, "I;16L": np.uint16, "I;16B": np.uint16, "I;16N": np.uint16, "F": np.float32}


def open_picture(stream: IO[bytes], form: str, name: str) -> PillowPicture:
    """A Pillow picture with its header read, by the one decoder of that format. Raises Unsupported when its extra is missing."""
    if form == "HEIC":
        _register_heic(name)
    PillowImage.init()
    # Not Image.open: it would try other formats, and hold the size against a limit that is ours to set.
    plugin = "HEIF" if form == "HEIC" else form
    if form == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        try:
            # The first picture of a multi-picture file: the others are depth and gain maps, or previews.
            return JpegImageFile(stream)
        except SyntaxError as error:
            if "-bit layers" not in str(error):
                raise
            raise Unsupported(
                f"{name}: cannot read JPEG of more than 8 bits a sample; convert it to PNG or TIFF first"
            ) from error
    opened: PillowPicture = PillowImage.OPEN[plugin][0](stream, "")
    return opened


def _register_heic(name: str) -> None:
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise Unsupported(f"{name}: reading HEIC needs an extra: {install_line('heic')}") from error


def decode(picture: PillowPicture, name: str = "<picture>", max_pixels: int | None = None) -> Image:
    """A Pillow picture -> Image, turned upright. Raises ImageError as `read_image` does, and for 16-bit colour PIL has squeezed."""
    check_header(picture, name, max_pixels)
    if _squeezed(picture):
        raise Unsupported(
            f"{name}: PIL reads its 16-bit samples as 8 bits; give the path instead of the PIL picture to keep them"
        )
    return _decoded(picture, name, None)


def read_pillow(form: str, stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """One still picture of a format that Pillow decodes as deep as it is. Raises ImageError."""
    with open_picture(stream, form, name) as picture:
        return decode(picture, name, max_pixels)


def rescue_bmp(data: bytes, name: str, max_pixels: int | None) -> Image:
    """What can be had of a BMP that is cut short; the rest is zero."""
    with open_picture(io.BytesIO(data), "BMP", name) as picture:
        check_header(picture, name, max_pixels)
        missing = bytes(picture.width * picture.height * 4)
    return read_pillow("BMP", io.BytesIO(data + missing), name, max_pixels)


def pillow_size(form: str, stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of the picture once it is upright, from the header. Raises ImageError when the format's extra is missing."""
    with open_picture(stream, form, name) as picture:
        return upright_size(*picture.size, orientation_of(picture))


def read_avif(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """One still picture of an AVIF file, at 8 bits; a notice says so where it has more. Raises ImageError."""
    data = stream.read()
    bits = avif_bits(data[:HEADER_BYTES])
    stream.seek(0)
    with open_picture(stream, "AVIF", name) as picture:
        picture.info["avif_bits"] = bits
        image = decode(picture, name, max_pixels)
    iso_media.check_coded(data, name)
    return image


def read_heic(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """The main picture of a HEIC file; a notice tells of others. Raises ImageError."""
    data = stream.read()
    stream.seek(0)
    with open_picture(stream, "HEIC", name) as picture:
        maps = [*picture.info.get("depth_images", ()), *chain(*picture.info.get("aux", {}).values())]
        others = getattr(picture, "n_frames", 1) - 1 + len(maps)
        image = decode(picture, name, max_pixels)
    iso_media.check_coded(data, name)
    told = f"{others} other{'s' if others > 1 else ''} (of a series, depth or gain maps)"
    return image.noted(f"it holds several pictures: the main one was read, {told} not") if others else image


def read_png(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """A PNG of any depth: libpng reads the 16-bit ones that Pillow squeezes. Raises ImageError."""
    data = stream.read()
    stream.seek(0)
    with open_picture(stream, "PNG", name) as picture:
        check_header(picture, name, max_pixels)
        png.check_chunks(data, name)
        colours = png_colours(data)
        png.check_promise(png.header(data), len(data), name)
        has_palette = png.header(data).kind == png.PALETTE
        if has_palette:
            _check_palette(data, 0, name)
        # Pillow reads the file in any case: for the chunks behind the samples.
        image = _decoded(picture, name, data if _squeezed(picture) else None)
        png.check_rows(data, name)
        if has_palette:
            greatest: Any = picture.getextrema()
            _check_palette(data, greatest[1], name)
    return replace(image, metadata=with_colours(image.metadata, colours))


def with_colours(metadata: Metadata, colours: dict[bytes, bytes]) -> Metadata:
    """With what a PNG's chunks say of its colours, where no profile stands above it."""
    if metadata.icc_profile is not None:
        colours = {kind: body for kind, body in colours.items() if kind == b"cICP" or kind in PNG_LIGHT}
    return replace(metadata, png_colours=colours or None)


def _check_palette(data: bytes, sample: int, name: str) -> None:
    """Raise Damaged where the palette has no colour for a sample, which decoders take for black."""
    colours = next((len(chunk) - png.CHUNK_BYTES for _, chunk in png.chunks(io.BytesIO(data), (b"PLTE",))), 0) // 3
    if sample >= colours:
        raise Damaged(f"{name}: damaged picture (a palette of {colours} colours, and a sample of number {sample})")


def rescue_png(data: bytes, name: str, max_pixels: int | None) -> Image:
    """What can be had of a damaged PNG; the rest is zero: black, or transparent."""
    said = png.header(data)
    checked_size(said.width, said.height, 1, max_pixels, name)
    return read_png(io.BytesIO(png.mended(data)), name, max_pixels)


def png_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of the picture once it is upright; its samples, behind which its orientation may stand, are left out."""
    signature = stream.read(8)
    kept = [chunk for _, chunk in png.chunks(stream, PNG_ORIENTATION)]
    png.check_promise(png.header(b"".join((signature, *kept))), stream.seek(0, io.SEEK_END), name)
    return pillow_size("PNG", io.BytesIO(b"".join((signature, *kept, png.chunk(b"IEND", b"")))), name)


def png_colours(data: bytes) -> dict[bytes, bytes]:
    """The chunks that say what the numbers mean: gamma, chromaticities, code points and light of a video's."""
    found = png.chunks(io.BytesIO(data), PNG_COLOURS)
    return {kind: chunk[8:-4] for kind, chunk in found if PNG_COLOURS[kind] == len(chunk) - png.CHUNK_BYTES}


def check_header(picture: PillowPicture, name: str, max_pixels: int | None) -> None:
    """Raise ImageError for a picture that is empty, larger than allowed or animated, before a sample is decoded."""
    checked_size(*picture.size, 1, max_pixels, name)
    # Several pictures in a HEIC file are a burst or previews; the one that opens is the one meant to be seen.
    if picture.format != "HEIF" and getattr(picture, "is_animated", False):
        raise Unsupported(f"{name}: an animation; expected one still picture (take its frames apart first)")


def _squeezed(picture: PillowPicture) -> bool:
    tile: Any = getattr(picture, "tile", None)
    if picture.format == "PNG":
        return bool(tile) and "16" in str(tile[0].args) and picture.mode not in DEEP
    tags = getattr(picture, "tag_v2", None)
    return tags is not None and max(tags.get(258, (8,))) > 8 and picture.mode not in DEEP


def _decoded(picture: PillowPicture, name: str, deep_png: bytes | None) -> Image:
    key_bits = _grey_bits(picture)
    picture.load()
    metadata, orientation, notices = read_metadata(picture)
    if deep_png is None:
        samples, has_alpha, icc, changed = _samples(picture, name)
        notices += changed + _shallow(picture)
    else:
        # libpng turns a transparent key colour into alpha itself, at full depth.
        samples = imagecodecs.png_decode(deep_png)
        has_alpha = samples.shape[-1] in (2, 4)
        icc = picture.info.get("icc_profile")
    if not has_alpha and picture.mode != "P" and "transparency" in picture.info:
        samples = _keyed(samples, picture.info["transparency"], key_bits)
        has_alpha = True
    pixels, alpha = separated(upright(samples, orientation), has_alpha)
    icc, unfit = profile.fitting(icc, pixels.shape[2])
    return Image(pixels, alpha, replace(metadata, icc_profile=icc), notices + unfit)


def _samples(picture: PillowPicture, name: str) -> tuple[Array, bool, bytes | None, tuple[str, ...]]:
    """(samples, whether the last channel is alpha, ICC profile, notices)."""
    icc = picture.info.get("icc_profile")
    if picture.mode in ("CMYK", "LAB"):
        converted, notices = profile.to_srgb(picture, icc)
        return np.asarray(converted), False, profile.srgb(), notices
    if picture.mode in DEEP:
        return np.asarray(picture).astype(DEEP[picture.mode]), False, icc, ()
    if picture.mode not in TAKEN_AS:
        raise Unsupported(f"{name}: cannot read PIL's mode {picture.mode!r}; convert it to L, RGB, RGBA, I;16 or F first")
    if picture.format == "BMP" and picture.palette is not None and _is_grey(picture.palette.getdata()[1]):
        return np.asarray(picture.convert("L")), False, icc, ()
    mode = TAKEN_AS[picture.mode]
    if picture.mode == "P" and (picture.has_transparency_data or (picture.palette and picture.palette.mode == "RGBA")):
        mode = "RGBA"
    return np.asarray(_without_key(picture).convert(mode)), mode in ("LA", "RGBA"), icc, ()


def _is_grey(palette: bytes) -> bool:
    """Whether all colours of a palette, three bytes each, are grey: a drawing of 1 bit, from white to black or back."""
    return palette[::3] == palette[1::3] == palette[2::3]


def _without_key(picture: PillowPicture) -> PillowPicture:
    # Pillow's own conversion would look at a key that we turn into alpha ourselves, at full depth.
    if picture.mode == "P" or "transparency" not in picture.info:
        return picture
    plain = picture.copy()
    del plain.info["transparency"]
    return plain


def _grey_bits(picture: PillowPicture) -> int:
    """Bits a sample in the file, where Pillow unpacks fewer than 8 to a grey byte."""
    tile: Any = getattr(picture, "tile", None)
    raw = str(tile[0].args) if tile else ""
    return 1 if picture.mode == "1" else next((bits for bits in (2, 4) if f"L;{bits}" in raw), 8)


def _keyed(samples: Array, key: Any, bits: int) -> Array:
    """Samples with an alpha channel behind them: nothing where the sample is the key, everything elsewhere."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    wanted = np.atleast_1d(np.asarray(key)).astype(samples.dtype)
    if bits < 8:
        wanted = stretch_bits(wanted, bits)
    opaque = peak(samples.dtype)
    alpha = np.where((samples == wanted).all(axis=-1, keepdims=True), 0, opaque).astype(samples.dtype)
    return np.concatenate((samples, alpha), axis=-1)


def _shallow(picture: PillowPicture) -> tuple[str, ...]:
    """A notice where the decoder hands out 8 bits of a deeper file."""
    bits = picture.info.get("bit_depth", 8)
    if picture.format == "AVIF":
        bits = picture.info.get("avif_bits", 8)
    return (f"its {bits}-bit samples were read at 8 bits",) if isinstance(bits, int) and bits > 8 else ()


def avif_bits(header: bytes) -> int:
    """Bits a sample of an AVIF file, from its AV1 configuration box; 8 when there is none in ``header``."""
    start = header.find(b"av1C")
    if start < 0 or len(header) < start + 7:
        return 8
    flags = header[start + 6]
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def encode_png(image: Image, _quality: int) -> tuple[bytes, tuple[str, ...]]:
    """uint8 or uint16, grey or RGB, with or without alpha -> (the file, no notices)."""
    # Pillow writes what is said of the samples, around a picture of one pixel. For the samples it would take a copy of four thirds of
    # their size, and it cannot write 16-bit colour.
    samples = with_alpha(image)
    frame = _saved_png(PillowImage.new(MODES[samples.shape[-1]], (1, 1)), image.metadata)
    # What may stand before or after the samples stands before them in Pillow's files.
    around = [chunk for kind, chunk in png.chunks(io.BytesIO(frame)) if kind not in (b"IHDR", b"IDAT", b"IEND")]
    around += [png.chunk(kind, body) for kind, body in (image.metadata.png_colours or {}).items() if kind in PNG_LIGHT]
    data = _packed(samples, "PNG", imagecodecs.png_encode, PNG_LEVEL, filter=imagecodecs.PNG.FILTER.ALL)
    return b"".join((data[:PNG_BEGIN], *around, data[PNG_BEGIN:])), ()


def _saved_png(picture: PillowPicture, metadata: Metadata) -> bytes:
    return _saved(picture, "PNG", metadata.said("icc_profile", "exif", "dpi") | {"pnginfo": png_text(metadata)})


def png_text(metadata: Metadata) -> PngImagePlugin.PngInfo:
    """What a PNG says in text and of its colours, as Pillow writes it."""
    text = PngImagePlugin.PngInfo()
    for kind, body in (metadata.png_colours or {}).items():
        text.add(kind, body)
    if metadata.xmp is not None:
        text.add_itxt(XMP_TEXT, metadata.xmp.decode("utf-8", "replace"))
    for key, value in (metadata.text or {}).items():
        with suppress(UnicodeError, ValueError):  # a keyword that no longer fits the standard
            text.add_text(key, value)
    return text


def encode_jpeg(image: Image, quality: int) -> tuple[bytes, tuple[str, ...]]:
    """uint8 without alpha -> (the file, 4:4:4; notices of what it could not hold). Raises Unsupported for what few programs can open."""
    check_sides("JPEG", image.width, image.height)
    options = image.metadata.said("icc_profile", "exif", "dpi", "xmp")
    too_long = [key for key in ("exif", "xmp") if len(options.get(key, b"")) > JPEG_SEGMENT_BYTES]
    for key in too_long:
        maker = maker_of(options.pop(key)) if key == "exif" else None
        if maker is not None:
            options[key] = with_maker(None, maker)
    notices = tuple(f"its {key.upper()} is too long for JPEG and was left out" for key in too_long)
    # As in `encode_png`: Pillow writes what stands before the samples.
    frame = _saved(PillowImage.new(MODES[image.channels], (1, 1)), "JPEG", options)
    data = _packed(image.pixels, "JPEG", imagecodecs.jpeg8_encode, quality, subsampling="444")
    return b"".join((frame[: _tables(frame)], data[_tables(data) :])), notices


def _tables(data: bytes | memoryview) -> int:
    """Where the tables of an encoder's JPEG begin, behind what it says of itself."""
    place = 2
    while data[place + 1] != DQT:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def _packed(samples: Array, form: str, encode: Callable[..., Any], *given: Any, **options: Any) -> memoryview:
    height, width, channels = samples.shape
    try:
        return memoryview(encode(np.ascontiguousarray(samples[..., 0] if channels == 1 else samples), *given, **options))
    except (RuntimeError, ValueError) as error:
        raise _refusal(width, height, form, error) from error


def _refusal(width: int, height: int, form: str, error: object) -> Unsupported:
    return Unsupported(f"cannot write {width}x{height} pixels as {form} ({error})")


def _saved(picture: PillowPicture, form: str, options: dict[str, Any]) -> bytes:
    picture.info.clear()
    buffer = io.BytesIO()
    try:
        picture.save(buffer, form, **options)
    except (OSError, ValueError, struct.error) as error:
        raise _refusal(picture.width, picture.height, form, error) from error
    return buffer.getvalue()
