"""The directories, strips and tiles of a TIFF: whether all are there, and hold what the tags say."""

from __future__ import annotations

import io
import lzma
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from superscale.errors import Damaged
from superscale.image import png
from superscale.image.codecs import pillow_size
from superscale.image.jpeg import damage_of_tiff, frame_of
from superscale.image.jxl import jxl_size

Array = NDArray[Any]

# Values of the tag Compression.
NONE, LZW, JPEG, LZMA = 1, 5, 7, 34925
CCITT = (2, 3, 4)
LSB_FIRST = 2
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
# More than any writer pads its samples by; so do those of a file with a wrong depth.
MUCH_TOO_LARGE = 1.5
# Compressions of bytes -> how a part is undone, to so many bytes at most.
UNDO: dict[int, Callable[..., bytes | bytearray]] = {
    LZW: imagecodecs.lzw_decode,
    32773: imagecodecs.packbits_decode,
    **dict.fromkeys((8, 32946, 50013), imagecodecs.deflate_decode),
    **dict.fromkeys((34926, 50000), imagecodecs.zstd_decode),
}
# Longer than a code of LZW.
BEHIND = b"\xff" * 4
# More than any preset of the xz tools takes to decode.
LZMA_MEMORY_BYTES = 200_000_000
J2K_START = b"\xff\x4f\xff\x51"
LERC_START = b"Lerc2 "


class Part(NamedTuple):
    """A strip or tile: where it lies, how large it is meant to be, and how much of that lies in the picture."""

    offset: int
    length: int
    width: int
    rows: int
    seen: tuple[int, int]


def check_directories(file: TiffFile, name: str) -> None:
    """Raise Damaged unless each directory leads to another one in the file, or to none: tifffile passes over what is cut off, and goes
    round and round where they lead in a circle."""
    layout, stream, seen = file.tiff, file.filehandle, set[int]()
    place = file.pages.first.offset
    while place:
        stream.seek(place)
        count = stream.read(layout.tagnosize)
        seen.add(place)
        if len(count) == layout.tagnosize:
            stream.seek(struct.unpack(layout.tagnoformat, count)[0] * layout.tagsize, io.SEEK_CUR)
        following = stream.read(layout.offsetsize)
        if len(count) < layout.tagnosize or len(following) < layout.offsetsize:
            raise Damaged(f"{name}: damaged picture (cut short: the directory of page {len(seen)} lies beyond its end)")
        (place,) = struct.unpack(layout.offsetformat, following)
        if place in seen:
            raise Damaged(f"{name}: damaged picture (the directory of page {len(seen)} leads back to one before)")


def check_parts(page: TiffPage, stream: IO[bytes], name: str, unguarded: bool = False) -> None:
    """Raise Damaged unless every strip or tile lies in the file and holds a picture, or samples, of its size.

    Readers take a missing one for black, and make one of another size fit. ``unguarded``: tifffile, which sees most damage in bytes
    that were compressed, is not the one that reads them; Pillow leaves black what cannot be read.
    """
    parts = list(_parts(page, name))
    kind = int(page.compression)
    pixel_bits: int = (1 if _is_planar(page) else page.samplesperpixel) * page.bitspersample
    if kind == NONE:
        _check_plain(page, sum(part.length for part in parts), name)
    if kind == JPEG or kind in CCITT:
        stream.seek(0)
        if (damage := damage_of_tiff(stream.read(), page.index)) is not None:
            raise Damaged(f"{name}: damaged picture ({damage})")
    for part in parts:
        if kind == LZMA:
            _check_lzma(_body(part, stream), part, pixel_bits, name)
        elif kind == LZW or (kind in UNDO and (unguarded or page.bitspersample % 8)):
            body = _body(part, stream)
            _check_bytes(
                imagecodecs.bitorder_decode(body) if page.fillorder == LSB_FIRST else body, part, kind, pixel_bits, name
            )
    if (size := SIZES.get(kind)) is not None:
        for part in parts:
            found = size(_body(part, stream))
            if found is not None and found not in ((part.width, part.rows), part.seen, (part.width, part.seen[1])):
                raise Damaged(
                    f"{name}: damaged picture (a part of {found[0]}x{found[1]} pixels, not {part.seen[0]}x{part.seen[1]})"
                )
        if kind != JPEG:
            _check_type(page, _body(parts[0], stream), name)


def _check_plain(page: TiffPage, length: int, name: str) -> None:
    bits: int = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample
    if length * 8 < bits:
        raise Damaged(f"{name}: damaged picture (cut short: {length} bytes of samples)")
    if not page.is_tiled and length * 8 > MUCH_TOO_LARGE * (bits + 8 * page.imagelength):
        raise Damaged(f"{name}: damaged picture ({length} bytes of samples, of which its tags need {-(-bits // 8)})")


def _check_type(page: TiffPage, body: bytes, name: str) -> None:
    """A part that is a picture has its own type, which tifffile makes that of the tags: 8 bits become almost black ones of 16."""
    found: Any = page.decode(body, 0)[0]
    if found is not None and found.dtype.newbyteorder("=") != page.dtype:
        raise Damaged(f"{name}: damaged picture (a part holds {found.dtype}, and the tags say {page.dtype})")


def _check_bytes(body: bytes | bytearray, part: Part, kind: int, pixel_bits: int, name: str) -> None:
    least, most = _least_and_most(part, pixel_bits)
    found = UNDO[kind](body, out=most + 1)
    too_many = len(found) > most
    if kind == LZW:
        # What is left of bits behind the last code is decoded, too, where no code ends the part.
        too_many = too_many and len(UNDO[kind](body[: -len(BEHIND)], out=most + 1)) > most
        if found[:least] != UNDO[kind](body + BEHIND, out=most + 1)[:least]:
            raise Damaged(f"{name}: damaged picture (a part is cut short)")
    if too_many or len(found) < least:
        raise _another_length(len(found), least, most, name)


def _least_and_most(part: Part, pixel_bits: int) -> tuple[int, int]:
    """The bytes of a part that are seen, and of a whole one."""
    row_bytes = (part.width * pixel_bits + 7) // 8
    return row_bytes * part.seen[1], row_bytes * part.rows


def _another_length(found: int, least: int, most: int, name: str) -> Damaged:
    more = "more than " if found > most else ""
    return Damaged(f"{name}: damaged picture (a part holds {more}{min(found, most)} bytes, not {least})")


def readable_parts(page: TiffPage, stream: IO[bytes], name: str) -> Array:
    """The samples of all strips or tiles that can be decoded, as the page lays them out, zero elsewhere."""
    kind = int(page.compression)
    if kind in SIZES and kind != JPEG:
        raise Damaged(f"{name}: damaged picture, of a compression of which no part can be had")
    samples: Array = np.zeros(page.shaped, page.dtype)
    tables: dict[str, Any] = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if kind == JPEG else {}
    for index, (offset, length) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        stream.seek(offset)
        with suppress(Exception):  # a damaged part raises whatever the decoder stumbles over
            part, (plane, _, top, left, _), _ = page.decode(stream.read(length), index, **tables)
            if part is not None:
                place = samples[plane, 0, top : top + part.shape[1], left : left + part.shape[2]]
                place[...] = part[0, : place.shape[0], : place.shape[1]]
    return samples.reshape(page.shape)


def _is_planar(page: TiffPage) -> bool:
    return int(page.planarconfig) == 2


def _parts(page: TiffPage, name: str) -> Iterator[Part]:
    length = page.parent.filehandle.size
    width = max(page.chunks[1] if page.is_tiled else page.imagewidth, 1)
    rows = max(page.chunks[0], 1)
    across, down = -(-page.imagewidth // width), -(-page.imagelength // rows)
    expected = across * down * (page.samplesperpixel if _is_planar(page) else 1)
    told = page.tags[TILE_OFFSETS] if page.is_tiled else page.tags[STRIP_OFFSETS]  # tifffile leaves out those beyond the last
    if told.count != expected or len(page.dataoffsets) < expected or len(page.databytecounts) < expected:
        raise Damaged(f"{name}: damaged picture ({told.count} parts, not the {expected} of its size)")
    for number, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        if offset < 8 or count < 1 or offset + count > length:
            raise Damaged(f"{name}: damaged picture (cut short: a part lies beyond its end)")
        top, left = number % (across * down) // across * rows, number % across * width
        yield Part(offset, count, width, rows, (min(width, page.imagewidth - left), min(rows, page.imagelength - top)))


def _body(part: Part, stream: IO[bytes]) -> bytes:
    stream.seek(part.offset)
    return stream.read(part.length)


def _check_lzma(body: bytes, part: Part, pixel_bits: int, name: str) -> None:
    least, most = _least_and_most(part, pixel_bits)
    inflater = lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES)
    found = len(inflater.decompress(body, max_length=most + 1))
    if not least <= found <= most:
        raise _another_length(found, least, most, name)


def _jpeg_size(body: bytes) -> tuple[int, int]:
    said = frame_of(io.BytesIO(body))
    return said.width, said.height


def _png_size(body: bytes) -> tuple[int, int]:
    said = png.header(body)
    return said.width, said.height


def _webp_size(body: bytes) -> tuple[int, int]:
    return pillow_size("WEBP", io.BytesIO(body), "")


def _jxl_size(body: bytes) -> tuple[int, int]:
    return jxl_size(io.BytesIO(body), "")


def _jpeg2000_size(body: bytes) -> tuple[int, int]:
    """Of the SIZ marker segment (ITU-T T.800, A.5.1): the reference grid less its offset."""
    right, bottom, left, top = struct.unpack_from(">4I", body, body.index(J2K_START) + 8)
    return right - left, bottom - top


def _lerc_size(body: bytes) -> tuple[int, int] | None:
    """Of the header of Lerc2: key, version, from the third on a checksum, rows, columns; None where it is deflated besides."""
    if not body.startswith(LERC_START):
        return None
    place = len(LERC_START)
    (version,) = struct.unpack_from("<i", body, place)
    rows, columns = struct.unpack_from("<2i", body, place + (8 if version >= 3 else 4))
    return columns, rows


# Compressions whose parts are pictures with a size of their own -> how it is told.
SIZES: dict[int, Callable[[bytes], tuple[int, int] | None]] = {
    JPEG: _jpeg_size,
    34887: _lerc_size,
    34933: _png_size,
    **dict.fromkeys((34927, 50001), _webp_size),
    **dict.fromkeys((50002, 52546), _jxl_size),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg2000_size),
}
