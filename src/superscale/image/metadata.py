"""What travels with a picture besides its samples and profile: EXIF, XMP, dpi, a PNG's text; and which way up it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from PIL import ExifTags
from PIL import Image as PillowImage
from PIL.Image import Image as PillowPicture

Array = NDArray[Any]

ORIENTATION = int(ExifTags.Base.Orientation)
EXIF_IFD, GPS_IFD = int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)
# What a TIFF's first directory says about the photograph; its other tags describe the old file.
DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)
# Sizes in pixels that EXIF repeats: wrong once the picture is enlarged.
EXIF_SIZES = (40962, 40963)
XMP_ORIENTATION = re.compile(rb'tiff:Orientation="[0-9]"|<tiff:Orientation>[0-9]</tiff:Orientation>')
XMP_TEXT = "XML:com.adobe.xmp"
LONGEST_TEXT = 1_000_000


def upright(samples: Array, orientation: int) -> Array:
    """Turn samples (H, W[, C]) the way their EXIF orientation, 1 to 8, asks for; any other number leaves them."""
    match orientation:
        case 2:
            return samples[:, ::-1]
        case 3:
            return samples[::-1, ::-1]
        case 4:
            return samples[::-1]
        case 5:
            return samples.swapaxes(0, 1)
        case 6:
            return samples[::-1].swapaxes(0, 1)
        case 7:
            return samples[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return samples[:, ::-1].swapaxes(0, 1)
    return samples


def read_metadata(picture: PillowPicture) -> tuple[dict[str, Any], int, tuple[str, ...]]:
    """(metadata without ICC profile, orientation, notices) of a loaded Pillow picture."""
    info = picture.info
    kept: dict[str, Any] = {}
    notices: tuple[str, ...] = ()
    orientation = 1
    try:
        orientation = int(picture.getexif().get(ORIENTATION, 1))
        # A copy: Pillow hands out the picture's own, and a second reading would find it changed.
        exif = PillowImage.Exif()
        exif.load(picture.getexif().tobytes())
        kept |= exif_entry(exif)
    except Exception:  # a damaged EXIF block can raise anything, and is no reason to refuse the picture
        notices = ("its EXIF data is damaged and was left out",)
    xmp = info.get("xmp") or info.get(XMP_TEXT)
    if xmp:
        kept["xmp"] = XMP_ORIENTATION.sub(b"", xmp.encode() if isinstance(xmp, str) else bytes(xmp))
    kept |= dpi_entry(info.get("dpi"))
    text = {key: str(value) for key, value in getattr(picture, "text", {}).items() if _is_plain(key)}
    if text and sum(map(len, text.values())) <= LONGEST_TEXT:
        kept["text"] = text
    return kept, orientation, notices


def _is_plain(key: str) -> bool:
    return key != XMP_TEXT and not key.startswith("Raw profile type")


def exif_entry(exif: PillowImage.Exif) -> dict[str, Any]:
    """EXIF as the bytes of a file, without orientation and sizes; empty if nothing is left."""
    exif.pop(ORIENTATION, None)
    details = exif.get_ifd(EXIF_IFD)
    for tag in EXIF_SIZES:
        details.pop(tag, None)
    return {"exif": exif.tobytes()} if len(exif) else {}


def dpi_entry(dpi: Any) -> dict[str, Any]:
    """Two finite, positive numbers, or nothing."""
    try:
        across, down = (float(number) for number in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return {}
    sane = all(math.isfinite(number) and 0 < number < 1e6 for number in (across, down))
    return {"dpi": (across, down)} if sane else {}


def stripped(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the colours need: without it a picture would look different."""
    return {key: metadata[key] for key in ("icc_profile", "png_colours", "leading_rgb") if key in metadata}
