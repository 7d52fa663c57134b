"""TIFF: any depth, any number of bands, a GeoTIFF's place on the ground; 8-bit colour spaces other than RGB go to Pillow."""

from __future__ import annotations

import io
import logging
import struct
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import TiffImagePlugin
from tifffile import TiffFile, TiffPage, imwrite

from superscale.errors import Damaged, Unsupported
from superscale.image import geo, metadata, profile
from superscale.image.codecs import decode, open_picture
from superscale.image.metadata import Metadata
from superscale.image.picture import GREY, RGB, Image, checked_size, separated, with_alpha
from superscale.image.pixels import change_depth, stretch_bits, white
from superscale.image.strips import check_parts, readable_parts

Array = NDArray[Any]

# tifffile reports what is odd about a file to the log; what matters is raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB_COLOURS, CMYK, CIELAB = 0, 1, 2, 5, 8
# Lab is relative to D50 where nothing is said (Adobe Photoshop TIFF Technical Notes, 2002).
WHITE_POINT = 318
D50 = (0.3457, 0.3585)
UNSIGNED, FLOAT = 1, 3
# ExtraSamples: colours multiplied by alpha, or not
PREMULTIPLIED, STRAIGHT = 1, 2
ICC_PROFILE, XMP, PHOTOMETRIC = 34675, 700, 262
SUB_IFDS = (metadata.EXIF_IFD, metadata.GPS_IFD)
CLASSIC_HEADER = b"II*\0\x08\0\0\0"
LONG = 4
# tifffile writes no pointers to directories; the entry after each, which nobody uses, is held for it until its place is known.
HELD = 1


@dataclass(frozen=True)
class Layout:
    """What a page's header says: colour space, colour channels (or bands), alpha (0, PREMULTIPLIED or STRAIGHT), bits a sample."""

    space: int
    channels: int
    alpha: int
    bits: int
    for_pillow: bool
    notices: tuple[str, ...] = ()


def tiff_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of the picture once it is upright, from its directory. Raises Unsupported for several pages."""
    with TiffFile(stream) as file:
        page = _only_page(file, name)
        return metadata.upright_size(page.imagewidth, page.imagelength, _orientation(page))


def _orientation(page: TiffPage) -> int:
    return int(page.tags[metadata.ORIENTATION].value) if metadata.ORIENTATION in page.tags else 1


def read_tiff(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """One still picture of a TIFF stream. Raises ImageError for several pages, missing parts and sample types we do not know."""
    with TiffFile(stream) as file:
        page = _only_page(file, name)
        checked_size(page.imagewidth, page.imagelength, page.samplesperpixel, max_pixels, name)
        layout = _layout(page, name)
        check_parts(page, stream, name)
        if layout.for_pillow:
            stream.seek(0)
            image = decode(open_picture(stream, "TIFF", name), name, max_pixels)
        else:
            image = _image(page, np.asarray(page.asarray(maxworkers=1)), layout, name)
        return _with_metadata(image, page, layout, stream)


def rescue_tiff(data: bytes, name: str, max_pixels: int | None) -> Image:
    """What can be had of a damaged TIFF: its whole strips or tiles; the others are zero. Raises Damaged for kinds left to Pillow."""
    stream = io.BytesIO(data)
    with TiffFile(stream) as file:
        page = _only_page(file, name)
        checked_size(page.imagewidth, page.imagelength, page.samplesperpixel, max_pixels, name)
        layout = _layout(page, name)
        if layout.for_pillow:
            raise Damaged(f"{name}: damaged picture, of a kind of which no part can be had")
        return _with_metadata(_image(page, readable_parts(page, stream, name), layout, name), page, layout, stream)


def _with_metadata(image: Image, page: TiffPage, layout: Layout, stream: IO[bytes]) -> Image:
    extras = _metadata(page, stream)
    icc = bytes(page.tags[ICC_PROFILE].value) if ICC_PROFILE in page.tags else None
    if layout.for_pillow or layout.space == CMYK:
        icc = image.metadata.icc_profile
    icc, unfit = profile.fitting(icc, image.channels) if image.channels in (GREY, RGB) else (None, ())
    return replace(image, metadata=replace(image.metadata, **extras, icc_profile=icc), notices=image.notices + unfit)


def _only_page(file: TiffFile, name: str) -> TiffPage:
    """The page at full size; previews and masks beside it are not pictures of their own."""
    found: TiffPage | None = None
    for number, page in enumerate(file.pages):
        if number > 64:
            raise Unsupported(f"{name}: more than 64 pages; expected one still picture")
        if not isinstance(page, TiffPage) or (number and (page.is_reduced or page.is_mask)):
            continue
        if found is not None:
            raise Unsupported(f"{name}: several pages; expected one still picture (take them apart first)")
        found = page
    if found is None or found.imagedepth != 1:
        raise Unsupported(f"{name}: no flat picture in this TIFF")
    return found


def _layout(page: TiffPage, name: str) -> Layout:
    bits = int(page.bitspersample)
    kind = int(page.sampleformat)
    samples = int(page.samplesperpixel)
    photometric, notices = _space(page, name)
    extra = tuple(int(sample) for sample in page.extrasamples)
    numbers = (kind == UNSIGNED and bits <= 16) or (kind == FLOAT and bits in (16, 32, 64))
    if not numbers:
        raise Unsupported(
            f"{name}: cannot read TIFF samples of {bits} bits in format {kind}; expected unsigned up to 16, or float"
        )
    colours = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB_COLOURS: 3, CMYK: 4}.get(photometric)
    if photometric == CIELAB and WHITE_POINT in page.tags and not _is_d50(page.tags[WHITE_POINT].value):
        raise Unsupported(
            f"{name}: cannot read Lab colours that are relative to another white than D50; convert it to RGB first"
        )
    if colours is None or (bits < 8 and samples == 1) or (colours == samples == 4 and bits == 8):
        if bits > 8:
            raise Unsupported(f"{name}: cannot read {bits}-bit TIFF in colour space {photometric}; convert it to RGB first")
        return Layout(photometric, samples, 0, bits, for_pillow=True)
    alpha = extra[0] if samples == colours + 1 and extra and extra[0] in (PREMULTIPLIED, STRAIGHT) else 0
    if samples < colours:
        raise Damaged(f"{name}: {samples} samples a pixel cannot hold its colours")
    if colours == 4 and samples > 4 and alpha != STRAIGHT:
        raise Unsupported(
            f"{name}: cannot read CMYK with {samples - 4} more inks or premultiplied alpha; convert it to RGB first"
        )
    return Layout(photometric, samples - bool(alpha), alpha, bits, for_pillow=False, notices=notices)


def _space(page: TiffPage, name: str) -> tuple[int, tuple[str, ...]]:
    """The colour space, and a notice where the file leaves it out and all readers take its samples for the same.

    libtiff takes one sample for grey with black 0, Pillow takes it for grey with white 0 unless it has 16 bits; three are RGB.
    """
    if PHOTOMETRIC in page.tags:
        return int(page.photometric), ()
    samples = int(page.samplesperpixel)
    if samples == RGB:
        return RGB_COLOURS, ("it does not say its colour space: three samples a pixel were read as RGB",)
    if samples == GREY and int(page.bitspersample) > 8:
        return BLACK_IS_ZERO, ("it does not say its colour space: one sample a pixel was read as grey, 0 as black",)
    raise Unsupported(
        f"{name}: does not say what its {samples} samples a pixel mean (no PhotometricInterpretation), and programs differ; "
        "expected that tag"
    )


def _is_d50(ratios: Any) -> bool:
    numbers = np.asarray(ratios, dtype=np.float64).ravel()
    return numbers.size == 4 and bool(np.allclose(numbers[::2] / np.maximum(numbers[1::2], 1), D50, atol=0.002))


def _image(page: TiffPage, samples: Array, layout: Layout, name: str) -> Image:
    if int(page.planarconfig) == 2 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    samples = samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    notices = layout.notices
    if samples.dtype.kind == "f":
        notices += ("its 64-bit floats were read at 32 bits",) if samples.dtype.itemsize == 8 else ()
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32)
    else:
        samples = stretch_bits(samples.astype(np.uint8 if layout.bits <= 8 else np.uint16), layout.bits)
    if layout.space == WHITE_IS_ZERO:
        colours = samples[..., : layout.channels]
        samples = np.concatenate((white(samples.dtype) - colours, samples[..., layout.channels :]), axis=-1).astype(
            samples.dtype
        )
    samples = metadata.upright(samples, _orientation(page))
    if layout.space == CMYK:
        return _from_cmyk(samples, page, notices)
    pixels, alpha = separated(samples, name, bool(layout.alpha))
    leading_rgb = layout.space == RGB_COLOURS and pixels.shape[2] > RGB
    if layout.alpha == PREMULTIPLIED and alpha is not None:
        pixels = _divided(pixels, alpha)
    return Image(pixels, alpha, Metadata(leading_rgb=leading_rgb), notices)


def _from_cmyk(samples: Array, page: TiffPage, notices: tuple[str, ...]) -> Image:
    """Inks of 16 bits (floats are brought to that), with or without alpha, as sRGB of 16 bits; 8 bits only with alpha come here."""
    depth = np.uint8 if samples.dtype == np.uint8 else np.uint16
    samples = change_depth(samples, depth)
    icc = bytes(page.tags[ICC_PROFILE].value) if ICC_PROFILE in page.tags else None
    pixels, changed = profile.inks_to_srgb(np.ascontiguousarray(samples[..., :4]), icc)
    alpha = np.ascontiguousarray(samples[..., 4]) if samples.shape[-1] > 4 else None
    return Image(pixels, alpha, Metadata(icc_profile=profile.srgb()), (*notices, *changed))


def _divided(pixels: Array, alpha: Array) -> Array:
    """Colours as they were before they were multiplied by alpha; black where nothing is left of them."""
    largest = white(pixels.dtype)
    share = np.maximum(alpha[..., None].astype(np.float32) / largest, 1e-6)
    colours = np.where(alpha[..., None] > 0, pixels.astype(np.float32) / largest / share, 0)
    return change_depth(colours, pixels.dtype) if pixels.dtype.kind == "u" else colours.astype(np.float32)


def _metadata(page: TiffPage, stream: IO[bytes]) -> dict[str, Any]:
    """What the directory says, as fields of `Metadata`."""
    tags = page.tags
    place = {code: tags[code].value for code in geo.TAGS if code in tags}
    found = {
        "geo": {
            code: value if isinstance(value, str | bytes) else tuple(np.atleast_1d(value)) for code, value in place.items()
        },
        "xmp": metadata.xmp_bytes(bytes(tags[XMP].value)) if XMP in tags else None,
        "dpi": _dpi(page),
        "exif": _exif(stream),
    }
    return {name: value for name, value in found.items() if value}


def _dpi(page: TiffPage) -> tuple[float, float] | None:
    tags = page.tags
    per_inch = {2: 1.0, 3: 2.54}.get(int(tags[296].value) if 296 in tags else 2)
    if per_inch is None or 282 not in tags or 283 not in tags:
        return None
    ratios = [tags[code].value for code in (282, 283)]
    return metadata.dpi_pair([above / below * per_inch if below else 0 for above, below in ratios])


def _exif(stream: IO[bytes]) -> bytes | None:
    """The photograph's EXIF: what the first directory says of it, its EXIF and its GPS directory."""
    kept = PillowImage.Exif()
    try:
        stream.seek(0)
        found = PillowImage.Exif()
        found.load_from_fp(stream)
        for tag in metadata.DESCRIPTIVE:
            if tag in found:
                kept[tag] = found[tag]
        for tag in SUB_IFDS:
            if tag in found:
                kept.get_ifd(tag).update(found.get_ifd(tag))
                kept[tag] = dict(kept.get_ifd(tag))
        return metadata.exif_bytes(kept)
    except Exception:  # a damaged directory can raise anything, and is no reason to refuse the picture
        return None


def encode_tiff(image: Image, _quality: int) -> tuple[bytes, tuple[str, ...]]:
    """uint8, uint16 or float32, any number of bands -> (the file, deflated; no notices); metadata in its tags."""
    samples = with_alpha(image)
    kept = image.metadata
    colours = RGB if image.channels == RGB or kept.leading_rgb else GREY
    extra = ["unspecified"] * (image.channels - colours) + ["unassalpha"] * (image.alpha is not None)
    tags, directories = _written_tags(kept)
    whole = samples.dtype.kind == "u"
    stream = io.BytesIO()
    imwrite(
        stream,
        samples[..., 0] if samples.shape[-1] == 1 else np.ascontiguousarray(samples),
        photometric="rgb" if colours == RGB else "minisblack",
        planarconfig="contig" if samples.shape[-1] > 1 else None,
        extrasamples=extra or None,
        compression="zlib",
        predictor=2 if whole else None,
        iccprofile=kept.icc_profile,
        resolution=kept.dpi,
        resolutionunit="INCH" if kept.dpi is not None else None,
        software=False,
        byteorder="<",
        metadata=None,
        extratags=tags,
        maxworkers=1,
    )
    _append_directories(stream, directories)
    return stream.getvalue(), ()


def _written_tags(kept: Metadata) -> tuple[list[tuple[Any, ...]], dict[int, dict[int, Any]]]:
    """(tags of the picture's directory as tifffile takes them, directories that are to be hung below it)."""
    tags: list[tuple[Any, ...]] = []
    for code, value in (kept.geo or {}).items():
        kind = geo.TAGS[code]
        tags.append((code, kind, 0 if kind == "s" else len(value), value, True))
    if kept.xmp is not None:
        tags.append((XMP, "B", len(kept.xmp), kept.xmp, True))
    directories: dict[int, dict[int, Any]] = {}
    if kept.exif is not None:
        exif = PillowImage.Exif()
        exif.load(kept.exif)
        for tag in metadata.DESCRIPTIVE:
            if isinstance(exif.get(tag), str):
                tags.append((tag, "s", 0, exif[tag].encode(), True))
        directories = {tag: dict(exif.get_ifd(tag)) for tag in SUB_IFDS if exif.get_ifd(tag)}
        tags += [(tag + HELD, "I", 1, 0, True) for tag in directories]
    return tags, directories


def _append_directories(stream: io.BytesIO, directories: dict[int, dict[int, Any]]) -> None:
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
