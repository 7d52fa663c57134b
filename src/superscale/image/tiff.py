"""TIFF: any depth, any number of bands, a GeoTIFF's place on the ground; 8-bit colour spaces other than RGB go to Pillow."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tifffile import TiffFile, TiffPage

from superscale.errors import Damaged, Unsupported
from superscale.image import geo, metadata, ome, profile
from superscale.image.codecs import decode, open_picture
from superscale.image.holes import valid_samples
from superscale.image.metadata import Metadata
from superscale.image.picture import GREY, RGB, Image, checked_size, separated
from superscale.image.pixels import change_depth, stretch_bits, white
from superscale.image.strips import check_directories, check_parts, readable_parts
from superscale.image.tiff_tags import page_metadata, stated_range

Array = NDArray[Any]

# tifffile reports what is odd about a file to the log; what matters is raised.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB_COLOURS, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
KNOWN_SPACES = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB_COLOURS, PALETTE, CMYK, YCBCR, CIELAB)
# YCbCrCoefficients and ReferenceBlackWhite, and what Pillow takes them for (BT.601, all of the range); JPEG has its own.
COEFFICIENTS, REFERENCES = 529, 532
FULL = white(np.uint8)
AS_PILLOW_READS = {COEFFICIENTS: (0.299, 0.587, 0.114), REFERENCES: (0, FULL, 128, FULL, 128, FULL)}
JPEGS = (6, 7)
# Lab is relative to D50 where nothing is said (Adobe Photoshop TIFF Technical Notes, 2002).
WHITE_POINT = 318
D50 = (0.3457, 0.3585)
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
# ExtraSamples: colours multiplied by alpha, or not
PREMULTIPLIED, STRAIGHT = 1, 2
ICC_PROFILE, PHOTOMETRIC, IMAGEJ = 34675, 262, 50839
# IPTC's captions by themselves, and among Photoshop's resources.
IPTC = (33723, 34377)
# Where ImageJ and tifffile say that more pictures lie behind the samples of the one that has a directory.
MORE_IMAGES = re.compile(r'ImageJ=[^\0]*?\nimages=(\d+)|\{[^\0]*"truncated": ?true')


@dataclass(frozen=True)
class Layout:
    """What a page's header says: colour space, colour channels (or bands), alpha (0, PREMULTIPLIED or STRAIGHT), bits a sample.

    ``doubtful``: what is tagged as alpha is one only if its samples are all nothing or all there. GDAL tags the fourth of four
    bands as alpha by default, so that near infrared would be taken for transparency.
    """

    space: int
    channels: int
    alpha: int
    bits: int
    for_pillow: bool
    notices: tuple[str, ...] = ()
    doubtful: bool = False


def tiff_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of the picture once it is upright, from its directory. Raises Unsupported for several pages."""
    with TiffFile(stream) as file:
        check_directories(file, name)
        page = only_page(file.pages, name)
        return metadata.upright_size(page.imagewidth, page.imagelength, orientation(page))


def page_profile(page: TiffPage, image: Image) -> tuple[bytes | None, tuple[str, ...]]:
    """A page's colour profile, and notices where it does not fit the image."""
    icc = bytes(page.tags[ICC_PROFILE].value) if ICC_PROFILE in page.tags else None
    return profile.fitting(icc, image.channels) if image.channels in (GREY, RGB) else (None, ())


def orientation(page: TiffPage) -> int:
    """How a page is turned: EXIF's number, 1 for upright."""
    return int(page.tags[metadata.ORIENTATION].value) if metadata.ORIENTATION in page.tags else 1


def read_tiff(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """One still picture of a TIFF stream. Raises ImageError for several pages, missing parts and sample types we do not know."""
    with TiffFile(stream) as file:
        check_directories(file, name)
        return page_image(only_page(file.pages, name), file.pages, stream, name, max_pixels)


def page_image(
    page: TiffPage, beside: Iterable[Any], stream: IO[bytes], name: str, max_pixels: int | None, planes: int | None = None
) -> Image:
    """The picture of a page; its mask is among the pages ``beside`` it. ``planes``: how many samples a pixel all pages have together,
    None for those of this one. Raises ImageError as `read_tiff` does."""
    checked_size(page.imagewidth, page.imagelength, page.samplesperpixel, max_pixels, name)
    layout = page_layout(page, name)
    check_parts(page, stream, name, unguarded=layout.for_pillow)
    if layout.for_pillow:
        stream.seek(0)
        image = decode(_alone(stream, page, name), name, max_pixels)
        image = replace(image, metadata=replace(image.metadata, exif=None))
    else:
        image = as_image(page, _fitting_samples(page, layout, name), layout, page_metadata(page, stream, planes).get("geo"))
    return _with_metadata(image, beside, page, layout, stream, name, planes)


def rescue_tiff(data: bytes, name: str, max_pixels: int | None) -> Image:
    """What can be had of a damaged TIFF: its whole strips or tiles; the others are zero. Raises Damaged for kinds left to Pillow."""
    stream = io.BytesIO(data)
    with TiffFile(stream) as file:
        try:
            check_directories(file, name)
            beside = list(file.pages)
        except Damaged:
            beside = [file.pages.first]
        page = only_page(beside, name)
        checked_size(page.imagewidth, page.imagelength, page.samplesperpixel, max_pixels, name)
        layout = page_layout(page, name)
        if layout.for_pillow:
            raise Damaged(f"{name}: damaged picture, of a kind of which no part can be had")
        samples = _laid_out(page, readable_parts(page, stream, name))
        image = as_image(page, samples, layout, page_metadata(page, stream).get("geo"))
        return _with_metadata(image, beside, page, layout, stream, name)


def _with_metadata(
    image: Image, beside: Iterable[Any], page: TiffPage, layout: Layout, stream: IO[bytes], name: str, planes: int | None = None
) -> Image:
    extras = page_metadata(page, stream, planes)
    beside = list(beside)
    mask = _mask(beside, page, stream, name)
    notices = left_out(beside, page, "ome" in extras)
    if geo.GDAL_NODATA in extras.get("geo", {}) and changes_samples(page, layout, extras["geo"]):
        mask = _mask_instead(page, layout, extras["geo"], mask)
    image = replace(image, mask=None if mask is None else metadata.upright(mask, orientation(page)))
    icc, unfit = page_profile(page, image)
    if layout.for_pillow or layout.space == CMYK:
        icc, unfit = profile.fitting(image.metadata.icc_profile, image.channels)
    extras["overviews"] = overviews_of(beside, page)
    return replace(image, metadata=replace(image.metadata, **extras, icc_profile=icc), notices=image.notices + unfit + notices)


def only_page(pages: Iterable[Any], name: str) -> TiffPage:
    """The page at full size; previews and masks beside it are not pictures of their own."""
    found: Any = None
    for page in pages:
        if not is_picture(page):
            continue
        if found is not None:
            raise Unsupported(f"{name}: several pages; expected one still picture (`open_stack` reads them one by one)")
        found = page
    return checked_page(found, 1, name)


def is_picture(page: Any) -> bool:
    """Whether a page is a picture of its own; the first always is."""
    return isinstance(page, TiffPage) and not (page.index and (page.is_reduced or page.is_mask))


def checked_page(first: Any, count: int, name: str) -> TiffPage:
    """The first of so many pages. Raises Unsupported where there is none, or more pictures than pages."""
    if first is None or first.imagedepth != 1:
        raise Unsupported(f"{name}: no flat picture in this TIFF")
    if first.is_reduced and first.subifds:
        raise Unsupported(
            f"{name}: a preview, with the picture itself behind it, as in raw files of cameras (DNG, NEF, ARW); develop it to TIFF first"
        )
    told = MORE_IMAGES.match(first.description)
    if told is not None and (told[1] is None or int(told[1]) > count):
        raise Unsupported(
            f"{name}: holds more pictures than pages (ImageJ and tifffile write so beyond 4 GB); save it as OME-TIFF first"
        )
    page: TiffPage = first
    return page


def _alone(stream: IO[bytes], page: TiffPage, name: str) -> PillowImage.Image:
    """The page as Pillow opens it, to which others beside it would be an animation."""
    picture = open_picture(stream, "TIFF", name)
    picture.seek(page.index)
    picture.is_animated = False  # type: ignore[attr-defined]
    return picture


def _mask(beside: Iterable[Any], page: TiffPage, stream: IO[bytes], name: str) -> Array | None:
    """The mask that belongs to a picture (TIFF 6.0, NewSubfileType 4): (H, W), true where there are data."""
    if (found := mask_page(beside, page)) is None:
        return None
    check_parts(found, stream, name)
    mask: Array = np.asarray(found.asarray(maxworkers=1)).reshape(page.imagelength, page.imagewidth) != 0
    return mask


def mask_page(beside: Iterable[Any], page: TiffPage) -> TiffPage | None:
    """The page among those ``beside`` a picture that is its mask."""
    for other in beside:
        if not isinstance(other, TiffPage) or not other.is_mask or other.is_reduced:
            continue
        if (other.imagelength, other.imagewidth, other.samplesperpixel) == (page.imagelength, page.imagewidth, 1):
            return other
    return None


def overviews_of(beside: Iterable[Any], page: TiffPage) -> int:
    """How many smaller copies of a page there are, of the same kind."""
    kind = (page.dtype, page.samplesperpixel, page.photometric)
    return sum((other.dtype, other.samplesperpixel, other.photometric) == kind for other in _reduced(beside, page))


def _reduced(beside: Iterable[Any], page: TiffPage) -> list[TiffPage]:
    others = (other for other in beside if isinstance(other, TiffPage) and other is not page)
    return [other for other in others if other.is_reduced and not other.is_mask]


def left_out(beside: Sequence[Any], page: TiffPage, keeps_ome: bool) -> tuple[str, ...]:
    """What of a file is not kept, a notice each."""
    notices: tuple[str, ...] = ()
    if len(_reduced(beside, page)) > overviews_of(beside, page) or page.subifds:
        notices = ("its previews were left out",)
    if any(metadata.holds_iptc(page.tags[code].value) for code in IPTC if code in page.tags):
        notices += (metadata.NO_IPTC,)
    if IMAGEJ in page.tags:
        notices += ("what ImageJ keeps beside its description (labels, display ranges, colours, regions) was left out",)
    if keeps_ome and ome.draws_regions(page.description):
        notices += ("its regions of interest, which are drawn in pixels of the old size, were left out",)
    if not keeps_ome and ome.is_ome(page.description):
        notices += ("its OME-XML description, which tells of other pages than those of this file, was left out",)
    return notices


def _keeps_values(geotags: geo.Geo | None) -> bool:
    """Whether samples are measurements, whose values mean something whatever their bits."""
    return geo.lies_on_ground(geotags) or geo.GDAL_NODATA in (geotags or {})


def changes_samples(page: TiffPage, layout: Layout, geotags: geo.Geo | None) -> bool:
    """Whether samples have other values once they are read."""
    stretched = int(page.sampleformat) == UNSIGNED and (
        layout.bits < 8 or (8 < layout.bits < 16 and not _keeps_values(geotags))
    )
    return layout.for_pillow or int(page.photometric) in (WHITE_IS_ZERO, CMYK) or stretched


def _mask_instead(page: TiffPage, layout: Layout, geotags: geo.Geo, mask: Array | None) -> Array | None:
    """The mask of samples that have the value of no data, which is taken from the tags: once read, they have it no more."""
    valid = valid_samples(_raw(page)[..., : layout.channels], geotags, mask, layout.channels == RGB)
    del geotags[geo.GDAL_NODATA]
    return None if valid is None else np.asarray(valid.all(axis=-1))


def page_layout(page: TiffPage, name: str) -> Layout:
    """What the header says of the samples. Raises Unsupported, and Damaged for a header that contradicts itself."""
    bits = int(page.bitspersample)
    kind = int(page.sampleformat)
    samples = int(page.samplesperpixel)
    photometric, notices = _space(page, name)
    extra = tuple(int(sample) for sample in page.extrasamples)
    numbers = {UNSIGNED: bits <= 16 or bits == 32, SIGNED: bits in (8, 16, 32), FLOAT: bits in (16, 32, 64)}
    if not numbers.get(kind):
        raise Unsupported(
            f"{name}: cannot read TIFF samples of {bits} bits in format {kind}; expected integers up to 32 bits, or floats"
        )
    colours = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB_COLOURS: 3, CMYK: 4}.get(photometric)
    if photometric == CIELAB and WHITE_POINT in page.tags and not _is_d50(page.tags[WHITE_POINT].value):
        raise Unsupported(
            f"{name}: cannot read Lab colours that are relative to another white than D50; convert it to RGB first"
        )
    if colours is None or (bits < 8 and samples == 1) or (colours == samples == 4 and bits == 8):
        if bits > 8 or kind != UNSIGNED or photometric not in KNOWN_SPACES:
            raise Unsupported(f"{name}: cannot read {bits}-bit TIFF in colour space {photometric}; convert it to RGB first")
        if photometric == YCBCR and not _is_usual(page):
            raise Unsupported(f"{name}: cannot read YCbCr of other ranges or coefficients than JPEG's; convert it to RGB first")
        return Layout(photometric, samples, 0, bits, for_pillow=True)
    is_photograph = (kind == UNSIGNED and bits <= 16) or kind == FLOAT
    if photometric in (WHITE_IS_ZERO, CMYK) and not is_photograph:
        raise Unsupported(f"{name}: cannot read {bits}-bit integers whose colour space is {photometric}; convert it first")
    if photometric == WHITE_IS_ZERO and kind == FLOAT:
        raise Unsupported(
            f"{name}: cannot read floats of which 0 is white: turned over, they would be other values; convert it first"
        )
    if samples < colours:
        raise Damaged(f"{name}: {samples} samples a pixel cannot hold its colours")
    tagged = samples > colours and len(extra) == samples - colours and extra[-1] in (PREMULTIPLIED, STRAIGHT)
    alpha = extra[-1] if tagged and is_photograph else 0
    if colours == 4 and samples > 4 and (alpha != STRAIGHT or samples > 5):
        raise Unsupported(
            f"{name}: cannot read CMYK with {samples - 4} more inks or premultiplied alpha; convert it to RGB first"
        )
    doubtful = samples > colours + 1 or any(code in page.tags for code in geo.PLACING)
    channels = samples - bool(alpha)
    return Layout(photometric, channels, alpha, bits, False, notices, doubtful=bool(alpha) and doubtful and colours != 4)


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


def _is_usual(page: TiffPage) -> bool:
    """Whether YCbCr is what JPEG has, as Pillow takes it."""
    told = {code: np.asarray(page.tags[code].value, np.float64).ravel() for code in AS_PILLOW_READS if code in page.tags}
    numbers = {code: found[::2] / np.maximum(found[1::2], 1) for code, found in told.items()}
    usual = (
        len(numbers[code]) == len(AS_PILLOW_READS[code]) and np.allclose(numbers[code], AS_PILLOW_READS[code], atol=0.002)
        for code in numbers
    )
    return int(page.compression) in JPEGS or all(usual)


def _raw(page: TiffPage) -> Array:
    """(H, W, C) as the file holds them."""
    return _laid_out(page, np.asarray(page.asarray(maxworkers=1)))


def _fitting_samples(page: TiffPage, layout: Layout, name: str) -> Array:
    samples = _raw(page)
    if samples.dtype.kind == "u" and layout.bits < 8 * samples.itemsize and samples.max(initial=0) >> layout.bits:
        raise Damaged(f"{name}: damaged picture (samples of more than the {layout.bits} bits that its tags say)")
    return samples


def _laid_out(page: TiffPage, samples: Array) -> Array:
    if int(page.planarconfig) == 2 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def as_image(page: TiffPage, samples: Array, layout: Layout, geotags: geo.Geo | None) -> Image:
    """The image that a page's samples (H, W, C) are, as the file holds them."""
    if int(page.sampleformat) == UNSIGNED and layout.bits <= 16:
        samples = samples.astype(np.uint8 if layout.bits <= 8 else np.uint16)
        if layout.bits <= 8 or not _keeps_values(geotags):
            samples = stretch_bits(samples, layout.bits)
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if layout.space == WHITE_IS_ZERO:
        colours = white(samples.dtype) - samples[..., : layout.channels]
        samples = np.concatenate((colours, samples[..., layout.channels :]), axis=-1).astype(samples.dtype)
    samples = metadata.upright(samples, orientation(page))
    notices = layout.notices
    if layout.space == CMYK:
        return _from_cmyk(samples, page, notices)
    is_band = layout.doubtful and _holds_measurements(samples[..., -1])
    if is_band:
        notices += ("its last band is tagged as alpha, but holds other values than nothing and all: taken for a band",)
    pixels, alpha = separated(samples, bool(layout.alpha) and not is_band)
    leading_rgb = layout.space == RGB_COLOURS and pixels.shape[2] > RGB
    if layout.alpha == PREMULTIPLIED and alpha is not None:
        pixels = _divided(pixels, alpha)
    stated = stated_range(page) or ((0.0, 2.0**layout.bits - 1) if 8 < layout.bits < 16 and _keeps_values(geotags) else None)
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
    grey_bands = layout.space != RGB_COLOURS and pixels.shape[2] == RGB
    kept = Metadata(leading_rgb=leading_rgb, grey_bands=grey_bands, stated_range=stated, tile_px=tile)
    return Image(pixels, alpha, kept, notices)


def _holds_measurements(samples: Array) -> bool:
    return bool(((samples != 0) & (samples != white(samples.dtype))).any())


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
    return change_depth(colours, pixels.dtype) if pixels.dtype.kind == "u" else colours.astype(pixels.dtype)
