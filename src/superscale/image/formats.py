"""Which format a file is: told by its first bytes, never by its name; and which ones we read and write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from superscale.errors import Damaged, Unsupported, install_line

# file suffix -> the format it is written in, as Pillow calls it
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".dcm": "DICOM"}
# the same for several pictures in one file
ANIMATED_SUFFIXES = {**SUFFIXES, ".gif": "GIF"}
READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIC", "JPEG XL", "DICOM")
READ_ONLY_SUFFIXES = frozenset({".gif", ".bmp", ".avif", ".heic", ".heif", ".jxl"})
READ_SUFFIXES = READ_ONLY_SUFFIXES | SUFFIXES.keys()
# Pictures by their name that we do not write: as the end of an output they are meant as a file, not as a folder.
UNWRITTEN_SUFFIXES = READ_ONLY_SUFFIXES | {".jp2", ".psd", ".exr", ".ppm", ".tga", ".svg", ".pdf"}
# Pictures by their name that we do not read: a folder's summary mentions them.
UNREAD_SUFFIXES = frozenset({".svg", ".eps", ".psd", ".jp2", ".exr"})

# The longest side of a format; JPEG_MAX_DIMENSION of libjpeg, while imagecodecs' goes on to the format's own.
LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 2**16 - 1}

HEADER_BYTES = 1024
# Behind a preamble, which may hold anything (PS3.10, 7.1).
DICOM_PREFIX = slice(128, 132)
# (how a file starts, its format); a RIFF and an ISO media file say further in which one they are
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop (PSD)"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"\0\0\1\0", "icon (ICO)"),
    *((b"P%d" % kind + blank, "Netpbm (PBM, PGM, PPM)") for kind in range(1, 7) for blank in (b"\n", b" ", b"\r", b"\t")),
)
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


# suffix -> (the module that reads it, the extra that brings the module): without it, such files in a folder are passed over
EXTRAS = {".dcm": ("pydicom", "medical")}
# What is read as a video where it is named, by `superscale.video`; and of these, the ones that are written.
VIDEOS = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".ts",
        ".m2ts",
        ".mts",
        ".wmv",
        ".flv",
        ".ogv",
        ".3gp",
        ".mxf",
    }
)
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})
# A DICOM file that lists others, and holds no picture.
DICOM_LIST = "DICOMDIR"


def is_taken(path: Path) -> bool:
    """Whether a file in a folder is one of those that are read, by its name."""
    suffix = known_suffix(path)
    # ._name: what macOS keeps about a file beside it, by the same suffix.
    return suffix in READ_SUFFIXES and not path.name.startswith("._") and missing_extra(suffix) is None


def known_suffix(path: Path) -> str:
    """The suffix in small letters; .dcm for DICOM without one or with a number for it, as scanners name files: its start tells."""
    suffix = path.suffix.lower()
    if (suffix and not suffix[1:].isdecimal()) or path.name == DICOM_LIST:
        return suffix
    try:
        if path.is_file():
            with open(path, "rb") as stream:
                return ".dcm" if stream.read(DICOM_PREFIX.stop)[DICOM_PREFIX] == b"DICM" else suffix
    except OSError:
        pass
    return suffix


def missing_extra(suffix: str) -> str | None:
    """The extra without which files of a suffix are not read; None if none is missing."""
    module, extra = EXTRAS.get(suffix, ("", ""))
    return extra if module and find_spec(module) is None else None


def counted(paths: Iterable[Path]) -> str:
    """How many files of each suffix, the most first, with what would make them readable; hidden ones do not count. "" for none."""
    counts = Counter(known_suffix(path) for path in paths if not path.name.startswith("."))
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{number} {suffix or 'without suffix'}{_way_in(suffix)}" for suffix, number in ordered)


def _way_in(suffix: str) -> str:
    extra = missing_extra(suffix)
    return (
        f" ({install_line(extra)})"
        if extra
        else " (of videos, only those that are named are taken)"
        if suffix in VIDEOS
        else ""
    )


def recognised(header: bytes, name: str) -> str:
    """The format of a file that starts with ``header``. Raises Damaged for an empty file, and Unsupported for what we do not read."""
    form = format_of(header)
    if form in READABLE:
        return form
    expected = f"expected {', '.join(READABLE)}"
    if not header:
        raise Damaged(f"{name}: an empty file; {expected}")
    raise Unsupported(f"{name}: {f'{form} files are not read; convert it first' if form else 'not a picture'}; {expected}")


def suffix_of(header: bytes) -> str | None:
    """The suffix under which a file that starts with ``header`` is written again; None for a format that we do not write."""
    form = format_of(header)
    return next((suffix for suffix, written in SUFFIXES.items() if written == form), None)


def check_sides(form: str, width: int, height: int) -> None:
    """Raise Unsupported for a picture whose sides are too long for a format; "" for none in particular."""
    longest = LONGEST_SIDES.get(form)
    if longest is not None and max(width, height) > longest:
        raise Unsupported(
            f"cannot write {width}x{height} pixels as {form} (programs open sides of at most {longest} pixels; choose png or tiff)"
        )


def format_of(header: bytes) -> str | None:
    """The format of a file that starts with ``header``; None for what is not known as a picture."""
    if header[DICOM_PREFIX] == b"DICM":
        return "DICOM"
    for start, form in SIGNATURES:
        if header.startswith(start):
            return form
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "WEBP"
    if header[4:8] == b"ftyp":
        brands = header[8 : int.from_bytes(header[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIC" if any(brand in brands for brand in HEIC_BRANDS) else None
    return "SVG" if b"<svg" in header or b"<!DOCTYPE svg" in header else None
