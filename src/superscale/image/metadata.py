"""What travels with a picture besides its samples: colour profile, EXIF, XMP, dpi, a PNG's text; and which way up it is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any

from numpy.typing import NDArray
from PIL import ExifTags
from PIL import Image as PillowImage
from PIL.Image import Image as PillowPicture

from superscale.image.geo import GDAL_NODATA, Geo

Array = NDArray[Any]

ORIENTATION = int(ExifTags.Base.Orientation)
# Says that a file is an output, and of what: "superscale 0.1.0 source=...".
PROCESSING_SOFTWARE, MAKER = int(ExifTags.Base.ProcessingSoftware), "superscale "
EXIF_IFD, GPS_IFD = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
# What a TIFF's first directory says about the photograph; its other tags describe the old file.
DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)
CAMERA = (271, 272)
# Sizes and places in pixels that EXIF repeats (subject, pixels of the sensor): wrong once the picture is enlarged.
EXIF_SIZES = (40962, 40963, 37396, 41492, 41486, 41487, 41488)
FIRST_SIZES = (256, 257)
RESOLUTIONS = (282, 283)
# What XMP says of the old file: its sides, which way up it is, and pictures and films that lay behind the first.
XMP_NAMES = (
    rb"(?:tiff:(?:Orientation|ImageWidth|ImageLength)|exif:Pixel[XY]Dimension|hdrgm:\w+"
    rb"|xmpNote:HasExtendedXMP|GCamera:(?:MotionPhoto|MicroVideo)\w*|G?Container:Directory)"
)
XMP_STALE = re.compile(
    rb"""(?s)\s%s\s*=\s*(?:"[^"]*"|'[^']*')|<(%s)(?:\s[^<>]*)?(?:/>|(?<!/)>.{0,4000}?</\1\s*>)""" % (XMP_NAMES, XMP_NAMES)
)
# In a JPEG: what does not fit one segment of XMP (XMP specification part 3, 1.1.3.1), and captions as Photoshop's resource.
XMP_EXTENSION, IPTC_OF_PHOTOSHOP = b"http://ns.adobe.com/xmp/extension/", 0x0404
# A dataset of IPTC's application record, other than its version.
IPTC_SAYS = re.compile(rb"\x1c\x02[^\x00]")
NO_IPTC = "its IPTC data (captions, keywords, rights) was left out"
# 1/2.2, as a PNG writes it: what is assumed where nothing is said
SRGB_GAMMA = (45455).to_bytes(4, "big")
XMP_TEXT = "XML:com.adobe.xmp"
LONGEST_TEXT = 1_000_000
# Orientations whose rows are columns of the stored picture.
TRANSPOSED = (5, 6, 7, 8)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file says of its picture; None where it says nothing.

    ``exif`` without orientation, which has been applied, and without sizes in pixels; ``dpi``: across and down; ``text`` and
    ``png_colours`` (chunk -> body: gamma, chromaticities, code points) of a PNG. Of a TIFF: ``geo``, where it lies on the ground, and
    what GDAL says of it; ``leading_rgb``: the first three of its many bands are colours; ``grey_bands``: its three bands are none;
    ``per_unit``: pixels across and down in the unit of its description (ImageJ); ``stated_range``: what its header calls the least
    and the greatest value; ``tile_px``: rows and columns of its tiles; ``overviews``: how many smaller copies are beside it; ``ome``:
    its OME-XML. ``calibrated``: ``dpi`` says how large the things are that it shows. ``dicom``: the header of a DICOM file, a pydicom
    Dataset; ``anonymous``: without what tells the patient; ``derivation``: how the image was made of that file. Of a frame of an
    animation: ``frame_ms``, for how many milliseconds it is shown, and ``loops``, how often the animation runs, 0 for ever.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] | None = None
    png_colours: dict[bytes, bytes] | None = None
    geo: Geo | None = None
    leading_rgb: bool = False
    grey_bands: bool = False
    per_unit: tuple[float, float] | None = None
    stated_range: tuple[float, float] | None = None
    tile_px: tuple[int, int] | None = None
    overviews: int = 0
    ome: str | None = None
    calibrated: bool = False
    dicom: Any = None
    anonymous: bool = False
    derivation: str | None = None
    frame_ms: float | None = None
    loops: int | None = None

    def stripped(self) -> Metadata:
        """Only what the samples need: without it a picture would look different, and no data would be taken for data."""
        nodata = {code: value for code, value in (self.geo or {}).items() if code == GDAL_NODATA}
        told: Any = {"exif": None, "xmp": None, "dpi": None, "text": None, "per_unit": None, "ome": None}
        return replace(self, **told, geo=nodata or None, anonymous=self.dicom is not None)

    def only_in_png(self) -> str:
        """The chunks that say, of a PNG without profile, that its numbers are other colours than sRGB's; "" for none."""
        colours = self.png_colours or {}
        is_told = b"cICP" in colours or colours.get(b"gAMA", SRGB_GAMMA) != SRGB_GAMMA
        return ", ".join(kind.decode() for kind in colours) if is_told else ""

    def said(self, *names: str) -> dict[str, Any]:
        """The fields that say something, by name, of all or of the named ones: options as encoders take them."""
        wanted = names or tuple(field.name for field in fields(self) if field.name != "dicom")
        return {name: value for name in wanted if (value := getattr(self, name)) not in (None, False)}


def upright(samples: Array, orientation: int) -> Array:
    """Turn samples (H, W[, C]) the way their EXIF orientation, 1 to 8, asks for; any other number leaves them."""
    if orientation in (3, 4, 6, 7):
        samples = samples[::-1]
    if orientation in (2, 3, 7, 8):
        samples = samples[:, ::-1]
    return samples.swapaxes(0, 1) if orientation in TRANSPOSED else samples


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) of a picture stored as ``width`` x ``height`` once it is turned as `upright` turns it."""
    return (height, width) if orientation in TRANSPOSED else (width, height)


def orientation_of(picture: PillowPicture) -> int:
    """The orientation that the header of an opened Pillow picture states; 1 when it states none, or is damaged."""
    try:
        # Not the picture's own method: a PNG's decodes the samples to look behind them.
        return int(PillowImage.Image.getexif(picture).get(ORIENTATION, 1))
    except Exception:  # as in `read_metadata`
        return 1


def read_metadata(picture: PillowPicture) -> tuple[Metadata, int, tuple[str, ...]]:
    """(metadata without ICC profile, orientation, notices) of a loaded Pillow picture."""
    exif: bytes | None = None
    notices: tuple[str, ...] = ()
    orientation = 1
    try:
        orientation = int(picture.getexif().get(ORIENTATION, 1))
        # A copy: Pillow hands out the picture's own, and a second reading would find it changed.
        copy = PillowImage.Exif()
        copy.load(picture.getexif().tobytes())
        exif = exif_bytes(copy)
    except Exception:  # a damaged EXIF block can raise anything, and is no reason to refuse the picture
        notices = ("its EXIF data is damaged and was left out",)
    info = picture.info
    if (shape := _unlike(info)) is not None:
        notices += (f"its pixels are not square ({shape[0]} across for {shape[1]} down, without a unit): that was left out",)
    if holds_iptc((info.get("photoshop") or {}).get(IPTC_OF_PHOTOSHOP)):
        notices += (NO_IPTC,)
    if any(part.startswith(XMP_EXTENSION) for _, part in getattr(picture, "applist", ())):
        notices += ("its XMP is too long for one part: the first was kept, the others were left out",)
    dpi = turned_pair(dpi_pair(info.get("dpi")), orientation)
    kept = Metadata(exif=exif, xmp=xmp_bytes(info.get("xmp") or info.get(XMP_TEXT)), dpi=dpi, text=_text(picture))
    return kept, orientation, notices


def turned_pair(across_down: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    """Numbers for across and down, once the picture is upright."""
    return across_down[::-1] if across_down is not None and orientation in TRANSPOSED else across_down


def holds_iptc(data: Any) -> bool:
    """Whether bytes of IPTC, alone or among Photoshop's, say anything."""
    return isinstance(data, bytes) and IPTC_SAYS.search(data) is not None


def _unlike(info: dict[Any, Any]) -> tuple[int, int] | None:
    """The pixels across and down that take the same length, of a PNG or a JPEG that tells only that; None where they are as many."""
    told = info.get("aspect") or (info.get("jfif_density") if info.get("jfif_unit") == 0 and "exif" not in info else None)
    return told if told is not None and len(set(told)) > 1 and all(told) else None


def _text(picture: PillowPicture) -> dict[str, str] | None:
    found = getattr(picture, "text", {}).items()
    text = {key: str(value) for key, value in found if key != XMP_TEXT and not key.startswith("Raw profile type")}
    return text if text and sum(map(len, text.values())) <= LONGEST_TEXT else None


def xmp_bytes(xmp: Any) -> bytes | None:
    """XMP without what it says of the old file; None for none."""
    return XMP_STALE.sub(b"", xmp.encode() if isinstance(xmp, str) else bytes(xmp)) if xmp else None


def with_maker(exif: bytes | None, maker: str, tag: int = PROCESSING_SOFTWARE) -> bytes:
    """EXIF that says which program made the file, beside what it said before."""
    block = PillowImage.Exif()
    if exif is not None:
        block.load(exif)
    block[tag] = maker
    return block.tobytes()


def maker_of(exif: bytes | None) -> str | None:
    """The program that made a file, as its EXIF says; None when it is not this one."""
    if exif is None:
        return None
    block = PillowImage.Exif()
    block.load(exif)
    maker = str(block.get(PROCESSING_SOFTWARE, "")).rstrip("\0")
    return maker if maker.startswith(MAKER) else None


def exif_bytes(exif: PillowImage.Exif) -> bytes | None:
    """EXIF as it stands in a file, without orientation and sizes; None if nothing is left."""
    if exif.pop(ORIENTATION, 1) in TRANSPOSED and all(tag in exif for tag in RESOLUTIONS):
        exif[282], exif[283] = exif[283], exif[282]
    for tag in FIRST_SIZES:
        exif.pop(tag, None)
    if str(exif.get(PROCESSING_SOFTWARE, "")).startswith(MAKER):
        del exif[PROCESSING_SOFTWARE]  # of this file, not of the photograph
    details = exif.get_ifd(EXIF_IFD)
    for tag in EXIF_SIZES:
        details.pop(tag, None)
    return exif.tobytes() if len(exif) else None


def says_of_camera(exif: bytes) -> bool:
    """Whether EXIF has more than GDAL keeps of it: names a camera, or has details of the photograph."""
    found = PillowImage.Exif()
    found.load(exif)
    return any(tag in found for tag in CAMERA) or any(found.get_ifd(tag) for tag in (EXIF_IFD, GPS_IFD))


def dpi_pair(dpi: Any) -> tuple[float, float] | None:
    """Two finite, positive numbers, or None."""
    try:
        across, down = (float(number) for number in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(math.isfinite(number) and 0 < number < 1e6 for number in (across, down)) else None
