"""The coded pictures in HEIC and AVIF files (ISO/IEC 14496-12 and 23008-12), and damage in them that their decoders pass over.

Both decoders make a picture of any bits. HEVC never has 00 00 followed by less than 3 in its data; in AV1 so many zeros are no chance.
A few wrong bits, and in AV1 few zeros, cannot be told from other data: neither format has a checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from superscale.errors import Damaged

CODED = (b"hvc1", b"av01")
# HEVC escapes these (ISO/IEC 23008-2, 7.4.2).
IMPOSSIBLE = re.compile(rb"\0\0[\0-\2]")
# Behind all that a decoder needs, before the length of the NAL units' lengths (ISO/IEC 14496-15).
LENGTH_SIZE_AT = 21
# Files of flat pictures, drawings, photographs and noise were found to have runs of 4 at most.
AV1_ZEROS = bytes(32)


def check_coded(data: bytes, name: str) -> None:
    """Raise Damaged when a coded picture of the file holds what no encoder writes."""
    meta = dict(_boxes(data, 0, len(data))).get(b"meta")
    if meta is None:
        return
    inside = dict(_boxes(data, meta[0] + 4, meta[1]))
    kinds = dict(_kinds(data, *inside.get(b"iinf", (0, 0))))
    lengths = 1 + (data[place + 4 + LENGTH_SIZE_AT] & 3) if (place := data.find(b"hvcC", *meta)) >= 0 else 4
    for item, start, end in _extents(data, *inside.get(b"iloc", (0, 0))):
        kind = kinds.get(item)
        is_damaged = (kind == b"hvc1" and not _is_hevc(data, start, end, lengths)) or (
            kind == b"av01" and data.find(AV1_ZEROS, start, end) >= 0
        )
        if is_damaged:
            raise Damaged(f"{name}: damaged picture (its coded data hold what no encoder writes, such as runs of zeros)")


def _is_hevc(data: bytes, start: int, end: int, length_bytes: int) -> bool:
    """Whether these are NAL units, each behind its length, without what is escaped in them."""
    while start + length_bytes < end:
        unit = start + length_bytes
        start = unit + int.from_bytes(data[start:unit], "big")
        if start > end or data[unit] & 0x80 or IMPOSSIBLE.search(data, unit, start):
            return False
    return start == end


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """(kind, (begin, end) of the body) of the boxes between two places."""
    while start + 8 <= end:
        size, kind, body = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        stop = end if size == 0 else min(start + size, end)
        if stop < body:
            return
        yield kind, (body, stop)
        start = stop


def _kinds(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(item, its kind), from the table of items."""
    if end == 0:
        return
    for _, (begin, _) in _boxes(data, start + (6 if data[start] == 0 else 8), end):
        wide = 4 if data[begin] >= 3 else 2
        yield int.from_bytes(data[begin + 4 : begin + 4 + wide], "big"), data[begin + 6 + wide : begin + 10 + wide]


def _extents(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(item, begin, end) of all that lies in the file itself in one piece, from the table of places."""
    if end == 0:
        return
    version, sizes = data[start], int.from_bytes(data[start + 4 : start + 6], "big")
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    number = 4 if version == 2 else 2
    widths = (number, 2 if version else 0, 2, base, 2)
    place = start + 6 + number
    for _ in range(int.from_bytes(data[start + 6 : place], "big")):
        item, method, _, from_, count = _fields(data, place, widths)
        place += sum(widths)
        extent = (index if version else 0, offset, length)
        if count == 1 and method & 15 == 0:
            _, at, size = _fields(data, place, extent)
            yield item, from_ + at, from_ + at + size
        place += count * sum(extent)
        if place > end:
            return


def _fields(data: bytes, place: int, widths: tuple[int, ...]) -> list[int]:
    """Numbers of so many bytes, one after another."""
    places = [place]
    for width in widths:
        places.append(places[-1] + width)
    return [int.from_bytes(data[begin:end], "big") for begin, end in pairwise(places)]
