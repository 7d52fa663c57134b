"""What an output says of itself, in its EXIF or DICOM's head: that this program made it, and of which file."""

from __future__ import annotations

from dataclasses import replace
from typing import IO

from PIL.Image import Image as PillowPicture
from tifffile import TiffFile

from superscale import __version__
from superscale.image.codecs import open_picture
from superscale.image.formats import SUFFIXES
from superscale.image.metadata import MAKER, PROCESSING_SOFTWARE, maker_of, with_maker
from superscale.image.picture import Image

MADE_FROM = " source="
SOFTWARE = 305


def made_from(image: Image, source: str, tag: int = PROCESSING_SOFTWARE) -> Image:
    """The picture with a note in its EXIF that this program made it of a file with this fingerprint.

    ``tag``: where the note stands; GDAL, which writes cloud-optimised GeoTIFFs, keeps only `SOFTWARE`.
    """
    tagged = with_maker(image.metadata.exif, f"{MAKER}{__version__}{MADE_FROM}{source}", tag)
    return replace(image, metadata=replace(image.metadata, exif=tagged))


def source_in(stream: IO[bytes], form: str, name: str) -> str | None:
    """The fingerprint in the note of a file of this format; None where there is none. Raises whatever a decoder does."""
    if form == "TIFF":
        with TiffFile(stream) as file:
            tags = file.pages.first.tags
            tag = tags.get(PROCESSING_SOFTWARE) or tags.get(SOFTWARE)
        maker = str(tag.value) if tag is not None else ""
    elif form == "DICOM":
        from superscale.image.dicom_writer import note_in  # an extra

        maker = note_in(stream)
    elif form in SUFFIXES.values():
        with open_picture(stream, form, name) as picture:
            maker = maker_of(PillowPicture.getexif(picture).tobytes()) or ""
    else:
        return None
    return maker.partition(MADE_FROM)[2] or None if maker.startswith(MAKER) else None
