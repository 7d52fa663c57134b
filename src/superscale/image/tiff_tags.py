"""What a TIFF's directory says besides its samples, as `Metadata` has it."""

from __future__ import annotations

import re
from typing import IO, Any

import numpy as np
from PIL import Image as PillowImage
from tifffile import TiffPage

from superscale.image import geo, metadata, ome

XMP = 700
SUB_IFDS = (metadata.EXIF_IFD, metadata.GPS_IFD)
RESOLUTION_UNIT, NO_UNIT = 296, 1
# Descriptions that programs have written of the old picture's size: tifffile's, and OME-XML.
STALE = re.compile(r'\{"shape": ?\[|\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*)?<OME', re.DOTALL)
# Where the least and the greatest value are stated: of any type (TIFF 6.0, SMinSampleValue), or of 16 bits.
STATED = ((340, 341), (280, 281))


def page_metadata(page: TiffPage, stream: IO[bytes], planes: int | None = None) -> dict[str, Any]:
    """What the directory says, as fields of `Metadata`, without colour profile and overviews; ``planes``: as in `page_image`."""
    tags = page.tags
    turned = int(tags[metadata.ORIENTATION].value) if metadata.ORIENTATION in tags else 1
    place = {code: tags[code].value for code in geo.TAGS if code in tags}
    tells = ome.describes(page.description, page.imagewidth, page.imagelength, planes or page.samplesperpixel)
    found = {
        "geo": {
            code: value if isinstance(value, str | bytes) else tuple(np.atleast_1d(value)) for code, value in place.items()
        },
        "xmp": metadata.xmp_bytes(bytes(tags[XMP].value)) if XMP in tags else None,
        "dpi": metadata.turned_pair(_dpi(page), turned),
        "calibrated": page.description.startswith("ImageJ=") or ome.is_ome(page.description),
        "per_unit": metadata.turned_pair(_per_unit(page), turned),
        "exif": _exif(page, stream),
        "ome": page.description if tells else None,
    }
    return {name: value for name, value in found.items() if value}


def _per_unit(page: TiffPage) -> tuple[float, float] | None:
    """Pixels in ImageJ's unit, which its description names; of others, pixels that are not square."""
    tags = page.tags
    if RESOLUTION_UNIT not in tags or int(tags[RESOLUTION_UNIT].value) != NO_UNIT:
        return None
    pair = _resolution(page, 1.0)
    tells = page.description.startswith("ImageJ=") or (pair is not None and pair[0] != pair[1])
    return pair if tells else None


def _dpi(page: TiffPage) -> tuple[float, float] | None:
    tags = page.tags
    per_inch = {2: 1.0, 3: 2.54}.get(int(tags[RESOLUTION_UNIT].value) if RESOLUTION_UNIT in tags else 2)
    return None if per_inch is None else _resolution(page, per_inch)


def _resolution(page: TiffPage, per_inch: float) -> tuple[float, float] | None:
    tags = page.tags
    if 282 not in tags or 283 not in tags:
        return None
    ratios = [tags[code].value for code in (282, 283)]
    return metadata.dpi_pair([above / below * per_inch if below else 0 for above, below in ratios])


def _exif(page: TiffPage, stream: IO[bytes]) -> bytes | None:
    """The photograph's EXIF: what the page's directory says of it, its EXIF and its GPS directory."""
    kept = PillowImage.Exif()
    try:
        found = PillowImage.Exif()
        found.endian, found.bigtiff = page.parent.byteorder, page.parent.is_bigtiff
        found.load_from_fp(stream, page.offset)
        for tag in metadata.DESCRIPTIVE:
            if tag in found and not STALE.match(str(found[tag])):
                kept[tag] = found[tag]
        for tag in SUB_IFDS:
            if tag in found:
                kept.get_ifd(tag).update(found.get_ifd(tag))
                kept[tag] = dict(kept.get_ifd(tag))
        return metadata.exif_bytes(kept)
    except Exception:  # a damaged directory can raise anything, and is no reason to refuse the picture
        return None


def stated_range(page: TiffPage) -> tuple[float, float] | None:
    """What the header calls the least and the greatest value."""
    for least, greatest in STATED:
        if least in page.tags and greatest in page.tags:
            low, high = min(_numbers(page, least)), max(_numbers(page, greatest))
            if np.isfinite([low, high]).all() and low < high:
                return low, high
    return None


def _numbers(page: TiffPage, code: int) -> list[float]:
    value: Any = page.tags[code].value  # bytes for numbers of 8 bits
    return [float(number) for number in (value if isinstance(value, bytes | tuple) else (value,))]
