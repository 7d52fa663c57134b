"""JPEG (ITU-T T.81): decoded by libjpeg inside libtiff, which passes on libjpeg's warnings; a warning of damage is an error here.

Pillow, and imagecodecs' own JPEG decoder, keep those warnings to themselves and fill what is missing with grey.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as PillowPicture

from superscale.errors import Damaged, Unsupported
from superscale.image import profile
from superscale.image.codecs import check_header, decode, open_picture
from superscale.image.metadata import orientation_of, read_metadata, upright, upright_size
from superscale.image.picture import Image, separated

Array = NDArray[Any]

# imagecodecs hands libtiff's and libjpeg's warnings to this log.
LOG = logging.getLogger("imagecodecs")
LOG.setLevel(logging.WARNING)
# What was said, for the thread that listens.
HEARD = threading.local()
# How libjpeg's warnings of damage begin (jerror.h), and libtiff's that a strip is smaller than its tags say, or of fax codes (tif_fax3.c).
DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression", "Improper JPEG strip")
FAX_DAMAGE = ("Premature EO", "Line length mismatch", "Bad code word", "Uncompressed data")
# What libtiff refuses in good files: chroma sampled otherwise than 1x1, and progressive pictures beyond its limit of memory.
UNUSUAL = ("Improper JPEG sampling", "require libjpeg to allocate")

SOI, EOI, SOS, DHT = 0xD8, 0xD9, 0xDA, 0xC4
STANDALONE = (0x01, *range(0xD0, 0xD8))
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
COEFFICIENTS = 64
# In entropy-coded data a byte of ones is followed by a zero; restart markers stand inside it.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# So many zero bits would be a whole block of 63 equal coefficients, of two bits of code and one of value each, or more.
ZEROS = bytes(24)
# Bits of all kinds, none of which is taken for a marker.
BEHIND = bytes(range(1, 0xFE)[::-1])
# A JPEG wrapped in a TIFF: type numbers, compression 7, colour spaces.
SHORT, LONG = 3, 4
NEW_JPEG = 7
GREY_SPACE, INKS, YCBCR = 1, 5, 6


@dataclass(frozen=True)
class Frame:
    """A frame header: SOF marker, size, (horizontal, vertical) sampling factors and number of each component."""

    marker: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    numbers: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """8x8 blocks that the scans must bring, of all components."""
        across, down = (max(factors) for factors in zip(*self.sampling, strict=True))
        sides = ((self.width * h / across, self.height * v / down) for h, v in self.sampling)
        return sum(int(-(-width // 8) * -(-height // 8)) for width, height in sides)


@dataclass(frozen=True)
class Scan:
    """A scan: its components with their (DC, AC) tables, first and last coefficient, bits left out (of the scan before, and of it).

    From ``start`` to ``end`` lies its entropy-coded data; ``meanings``: what a code of zeros stands for, by (class, table).
    """

    components: tuple[int, ...]
    tables: tuple[tuple[int, int], ...]
    first: int
    last: int
    bits_before: int
    bits_left: int
    start: int
    end: int
    meanings: dict[tuple[int, int], int]


def jpeg_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of the picture once it is upright, from its header. Raises Damaged when the file is far too short for it."""
    with open_picture(stream, "JPEG", name) as picture:
        frame = frame_of(stream)
        _check_promise(frame, stream.seek(0, io.SEEK_END), name)
        return upright_size(*picture.size, orientation_of(picture))


def read_jpeg(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """The picture of a JPEG file, the first of a multi-picture file. Raises ImageError; Damaged for anything that libjpeg warns of."""
    data = stream.read()
    stream.seek(0)
    with open_picture(stream, "JPEG", name) as picture:
        check_header(picture, name, max_pixels)
        frame = frame_of(stream)
        _check_promise(frame, len(data), name)
        _check_scans(data, frame, name)
        samples, damage = _samples(data, frame, picture)
        if damage is not None:
            raise Damaged(f"{name}: damaged picture ({damage})")
        return _image(picture, samples, name)


def check_jpeg(data: bytes, name: str) -> Array | None:
    """Raise Damaged for a JPEG that `read_jpeg` would not read for its damage; samples (H, W[, C]) uint16 of one of 12 bits."""
    frame = frame_of(io.BytesIO(data))
    _check_promise(frame, len(data), name)
    _check_scans(data, frame, name)
    samples: Array | None = imagecodecs.jpeg8_decode(data)
    if samples is not None and samples.dtype == np.uint16:
        damage = by_another_end(data, imagecodecs.jpeg8_decode)
    else:
        with open_picture(io.BytesIO(data), "JPEG", name) as picture:
            samples, damage = None, _samples(data, frame, picture)[1]
    if damage is not None:
        raise Damaged(f"{name}: damaged picture ({damage})")
    return samples


def rescue_jpeg(data: bytes, name: str, max_pixels: int | None) -> Image:
    """What can be had of a damaged JPEG; libjpeg fills the rest with grey or with the blocks before it."""
    data += b"\xff\xd9"
    with open_picture(io.BytesIO(data), "JPEG", name) as picture:
        check_header(picture, name, max_pixels)
        return _image(picture, None, name)


def _image(picture: PillowPicture, samples: Array | None, name: str) -> Image:
    """The picture from decoded samples, or from Pillow's where there are none."""
    beside = _beside(picture)
    if samples is None:
        return decode(picture, name).noted(*beside)
    metadata, orientation, notices = read_metadata(picture)
    pixels, _ = separated(upright(samples, orientation), False)
    icc, unfit = profile.fitting(picture.info.get("icc_profile"), pixels.shape[2])
    return Image(pixels, None, replace(metadata, icc_profile=icc), (*notices, *unfit, *beside))


def _beside(picture: PillowPicture) -> tuple[str, ...]:
    """A notice of what a multi-picture file (CIPA DC-007) holds besides its first picture."""
    if "mp" not in picture.info:
        return ()
    try:
        count = int(picture._getmp()[0xB001])  # type: ignore[attr-defined]
    except Exception:  # a damaged index raises whatever it stumbles over; the first picture needs none
        return ("it is a multi-picture file (MPO): the first picture was read",)
    beside = f"{count - 1} other{'s' if count > 2 else ''}"
    notice = f"it is a multi-picture file (MPO): the first picture was read, {beside} (previews, depth or gain maps, views) not"
    return (notice,) if count > 1 else ()


def _samples(data: bytes, frame: Frame, picture: PillowPicture) -> tuple[Array | None, str | None]:
    """(samples (H, W[, 3]) of grey and YCbCr, None for Pillow to decode; what libjpeg said of damage)."""
    if not LOG.isEnabledFor(logging.WARNING):  # somebody has turned all logging off
        return None, by_another_end(data)
    try:
        with _warnings() as said:
            samples = imagecodecs.tiff_decode(wrapped(data, frame), verbose=3)
    except imagecodecs.TiffError as error:
        if not any(text in str(error) for text in UNUSUAL):
            return None, " ".join(str(error).split())
        return None, by_another_end(data)
    return (_packed(samples) if _is_plain(frame, picture) else None), next(
        (text for text in said if text.startswith(DAMAGE)), None
    )


def _packed(samples: Array) -> Array:
    """The same samples side by side: libtiff leaves a byte between colours, and numpy copies by pixels five times as slowly."""
    if samples.ndim == 2 or samples.flags.c_contiguous:
        return np.ascontiguousarray(samples)
    packed = np.empty(samples.shape, samples.dtype)
    for channel in range(samples.shape[2]):
        packed[..., channel] = samples[..., channel]
    return packed


def damage_of_tiff(data: bytes, index: int) -> str | None:
    """What libtiff and libjpeg say is wrong with the JPEG or fax strips or tiles of a page of a TIFF; None for nothing."""
    failed = None
    with _warnings() as said:
        try:
            imagecodecs.tiff_decode(data, index=index, verbose=3)
        except imagecodecs.TiffError as error:
            failed = " ".join(str(error).split())
    return next((text for text in said if text.startswith(DAMAGE + FAX_DAMAGE)), failed)


def _by_pillow(data: bytes) -> Array:
    with open_picture(io.BytesIO(data), "JPEG", "") as picture:
        return np.asarray(picture)


def by_another_end(data: bytes, decoded: Callable[[bytes], Array] = _by_pillow) -> str | None:
    """Whether a decoder, twice as slowly, sees what stands behind the samples: only where some of them are missing."""
    end = _end(data)
    if data[end - 2 : end] != b"\xff\xd9":
        return "Premature end of JPEG file"
    seen = [decoded(file) for file in (data[:end], data[: end - 2].rstrip(b"\xff") + BEHIND + b"\xff\xd9")]
    return None if np.array_equal(seen[0], seen[1]) else "Corrupt JPEG data: premature end of data segment"


def _is_plain(frame: Frame, picture: PillowPicture) -> bool:
    """Whether libjpeg, left to itself, takes the samples for grey or for YCbCr (jdapimin.c, default_decompress_parms)."""
    if len(frame.numbers) == 1:
        return picture.mode == "L"
    if len(frame.numbers) != 3 or picture.mode != "RGB" or frame.numbers == tuple(b"RGB"):
        return False
    transform = picture.info.get("adobe_transform")
    return "jfif" in picture.info or transform == 1 or (transform is None and frame.numbers == (1, 2, 3))


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What imagecodecs logs in this thread meanwhile, and nobody else gets to see."""
    said: list[str] = []
    HEARD.said = said
    try:
        yield said
    finally:
        HEARD.said = None


def _overheard(record: logging.LogRecord) -> bool:
    said: list[str] | None = getattr(HEARD, "said", None)
    if said is not None:
        said.append(record.getMessage())
    return said is None


LOG.addFilter(_overheard)


def wrapped(data: bytes, frame: Frame) -> bytes:
    """A TIFF of one strip, which is the JPEG as it stands: grey, YCbCr or four inks."""
    count = len(frame.numbers)
    space = {1: GREY_SPACE, 3: YCBCR}.get(count, INKS)
    place = 8 + len(data) + len(data) % 2
    bits = struct.pack("<4H", 8, 8, 8, 8)
    entries = [
        (256, LONG, 1, struct.pack("<I", frame.width)),
        (257, LONG, 1, struct.pack("<I", frame.height)),
        (258, SHORT, count, bits[:4] if count < 3 else struct.pack("<I", place + 2 + 10 * 12 + 4)),
        (259, SHORT, 1, struct.pack("<I", NEW_JPEG)),
        (262, SHORT, 1, struct.pack("<I", space)),
        (273, LONG, 1, struct.pack("<I", 8)),
        (277, SHORT, 1, struct.pack("<I", count)),
        (278, LONG, 1, struct.pack("<I", frame.height)),
        (279, LONG, 1, struct.pack("<I", len(data))),
        (530, SHORT, 2, struct.pack("<HH", *frame.sampling[0])),
    ]
    directory = b"".join(struct.pack("<HHI", code, kind, number) + value for code, kind, number, value in entries)
    head = b"II*\0" + struct.pack("<I", place)
    return b"".join((head, data, bytes(len(data) % 2), struct.pack("<H", len(entries)), directory, bytes(4), bits))


def _check_promise(frame: Frame, length: int, name: str) -> None:
    """Raise Damaged when not even a bit (progressive) or two (DC and AC code) for every block can be in ``length`` bytes."""
    if frame.marker not in (*SEQUENTIAL, PROGRESSIVE):
        # libjpeg fills what is missing of it in silence, and no length tells.
        raise Unsupported(f"{name}: JPEG with arithmetic coding or of another rare kind; save it as ordinary JPEG first")
    bits = {PROGRESSIVE: 1, **dict.fromkeys(SEQUENTIAL, 2)}[frame.marker]
    if frame.blocks * bits > 8 * length:
        raise Damaged(
            f"{name}: damaged picture ({length} bytes cannot hold the {frame.width}x{frame.height} pixels of its header)"
        )


def _check_scans(data: bytes, frame: Frame, name: str) -> None:
    """Raise Damaged when a scan is missing, or has a hole of zeros; libjpeg warns of neither."""
    missing = {(number, coefficient) for number in frame.numbers for coefficient in range(COEFFICIENTS)}
    is_progressive = frame.marker == PROGRESSIVE
    for scan in _scans(data):
        if _is_hollow(data, scan, is_progressive):
            raise Damaged(f"{name}: damaged picture (a hole of zeros in its samples)")
        if scan.bits_left == 0 or not is_progressive:
            # A sequential scan brings them all, whatever some cameras write into these fields.
            brought = range(scan.first, scan.last + 1) if is_progressive else range(COEFFICIENTS)
            missing -= {(number, coefficient) for number in scan.components for coefficient in brought}
    if missing:
        raise Damaged(f"{name}: damaged picture (cut short: a scan is missing)")


def _is_hollow(data: bytes, scan: Scan, is_progressive: bool) -> bool:
    """Whether zeros stand in a scan whose tables give them a meaning that no encoder writes on and on.

    Decoders go on after such a hole without a word when it happens to hold as many blocks as were there.
    """
    if data.find(ZEROS, scan.start, scan.end) < 0 or scan.bits_before or (is_progressive and scan.first == 0):
        return False
    # An end of block, whose size is 0, may well repeat; coefficients of one size may not.
    return any(scan.meanings.get((1, ac), 0) & 15 for _, ac in scan.tables)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end of its body) up to the end of image or of the data; for SOS, whose data is passed over, of its header."""
    place = 2
    while True:
        place = data.find(b"\xff", place)
        while place >= 0 and data[place + 1 : place + 2] == b"\xff":
            place += 1
        if place < 0 or place + 2 > len(data):
            return
        marker = data[place + 1]
        if marker in STANDALONE or marker == 0:
            place += 2
            continue
        if marker == EOI:
            yield marker, place + 2, place + 2
        if marker == EOI or place + 4 > len(data):
            return
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, place + 4, place + 2 + length
        place += 2 + length
        if marker == SOS:
            found = NEXT_MARKER.search(data, place)
            place = found.start() if found else len(data)


def _end(data: bytes) -> int:
    return next((end for marker, _, end in _segments(data) if marker == EOI), len(data))


def frame_of(stream: IO[bytes]) -> Frame:
    """The frame header, found by passing over the segments before it. Raises ValueError when there is none."""
    stream.seek(2)
    byte = stream.read(1)
    while byte:
        last, byte = byte, stream.read(1)
        # Any number of bytes of ones may stand before a marker, and garbage before them.
        if last != b"\xff" or byte in (b"", b"\0", b"\xff") or byte[0] in STANDALONE:
            continue
        length = int.from_bytes(stream.read(2), "big")
        if byte[0] in FRAMES:
            return _parsed_frame(byte[0], stream.read(length - 2))
        stream.seek(length - 2, io.SEEK_CUR)
        byte = stream.read(1)
    raise ValueError("no frame header")


def _parsed_frame(marker: int, body: bytes) -> Frame:
    _, height, width, count = struct.unpack_from(">BHHB", body)
    parts = [body[6 + 3 * number : 9 + 3 * number] for number in range(count)]
    sampling = tuple((part[1] >> 4, part[1] & 15) for part in parts)
    if not parts or not all(h and v for h, v in sampling):
        raise ValueError("a frame without components")
    return Frame(marker, width, height, sampling, tuple(part[0] for part in parts))


def _scans(data: bytes) -> Iterator[Scan]:
    meanings: dict[tuple[int, int], int] = {}
    for marker, start, end in _segments(data):
        if marker == DHT:
            meanings = meanings | dict(_zero_codes(data[start:end]))
        elif marker == SOS:
            count = data[start]
            components = tuple(data[start + 1 : start + 1 + 2 * count : 2])
            tables = tuple((byte >> 4, byte & 15) for byte in data[start + 2 : start + 2 + 2 * count : 2])
            first, last, bits = data[start + 1 + 2 * count : start + 4 + 2 * count]
            found = NEXT_MARKER.search(data, end)
            stop = found.start() if found else len(data)
            yield Scan(components, tables, first, last, bits >> 4, bits & 15, end, stop, meanings)


def _zero_codes(body: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    """((class, table), symbol of its code of zeros) of a DHT segment: the first symbol of the table."""
    place = 0
    while place + 17 < len(body):
        yield (body[place] >> 4, body[place] & 15), body[place + 17]
        place += 17 + sum(body[place + 1 : place + 17])
