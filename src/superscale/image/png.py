"""A PNG's chunks (PNG, third edition), and whether its zlib stream brings as many rows as its header says."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Container, Iterator
from typing import IO, NamedTuple

from superscale.errors import Damaged

# What a chunk has besides its body: length, kind and checksum.
CHUNK_BYTES = 12
SIGNATURE_BYTES = 8
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PALETTE = 3
# Adam7: first column, first row, step across, step down of each pass.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
WHOLE = ((0, 0, 1, 1),)
# Deflate makes at most 258 bytes of two bits; its blocks and headers only add to that.
LARGEST_RATIO = 1032
STEP_BYTES = 1 << 20


class Header(NamedTuple):
    """What IHDR says."""

    width: int
    height: int
    depth: int
    kind: int
    is_interlaced: bool

    @property
    def stream_bytes(self) -> int:
        """Length of the inflated stream: the rows of all passes, each behind the number of its filter."""
        bits = self.depth * SAMPLES.get(self.kind, 1)
        total = 0
        for left, top, across, down in PASSES if self.is_interlaced else WHOLE:
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            total += (1 + (width * bits + 7) // 8) * height if width > 0 and height > 0 else 0
        return total


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def chunks(stream: IO[bytes], wanted: Container[bytes] | None = None) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole chunk) of a PNG, of the ``wanted`` kinds or all, up to the first that is cut short."""
    stream.seek(SIGNATURE_BYTES)
    while len(heading := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", heading)
        if wanted is not None and kind not in wanted:
            stream.seek(length + 4, io.SEEK_CUR)
            continue
        whole = heading + stream.read(length + 4)
        if len(whole) < length + CHUNK_BYTES:
            return
        yield kind, whole


def header(data: bytes) -> Header:
    """IHDR, which comes first. Raises struct.error when the file ends before it does."""
    width, height, depth, kind, _, _, interlace = struct.unpack_from(">IIBBBBB", data, SIGNATURE_BYTES + 8)
    return Header(width, height, depth, kind, interlace == 1)


def check_promise(said: Header, length: int, name: str) -> None:
    """Raise Damaged when ``length`` bytes of file cannot, however well they are deflated, hold the rows of the header."""
    if said.stream_bytes > LARGEST_RATIO * length:
        raise Damaged(
            f"{name}: damaged picture ({length} bytes cannot hold the {said.width}x{said.height} pixels of its header)"
        )


def check_chunks(data: bytes, name: str) -> None:
    """Raise Damaged unless every chunk is whole, with the right checksum, up to the last: Pillow forgives a lost end."""
    for kind, whole in chunks(io.BytesIO(data)):
        if not has_its_checksum(whole):
            raise Damaged(f"{name}: damaged picture (wrong checksum of its {kind.decode('latin-1')!r} chunk)")
        if kind == b"IEND":
            return
    raise Damaged(f"{name}: damaged picture (cut short: no end)")


def check_rows(data: bytes, name: str) -> None:
    """Raise Damaged when the zlib stream ends before the last row, which decoders leave black, or goes on behind it, which they leave out."""
    expected = header(data).stream_bytes
    delivered = sum(map(len, _inflated(data, expected + 1)))
    if delivered > expected:
        raise Damaged(f"{name}: damaged picture (more samples than the {expected} bytes that its header says)")
    if delivered < expected:
        raise Damaged(f"{name}: damaged picture (its samples end early: {delivered} of {expected} bytes)")


def mended(data: bytes) -> bytes:
    """The file with its damaged chunks left out and its missing rows filled with zeros: black, or transparent."""
    expected = header(data).stream_bytes
    stream = bytearray().join(_inflated(data, expected))
    sound = [(kind, whole) for kind, whole in chunks(io.BytesIO(data)) if has_its_checksum(whole)]
    before = [whole for kind, whole in sound if kind not in (b"IDAT", b"IEND")]
    samples = chunk(b"IDAT", zlib.compress(bytes(stream).ljust(expected, b"\0"), 1))
    return b"".join((data[:SIGNATURE_BYTES], *before, samples, chunk(b"IEND", b"")))


def has_its_checksum(whole: bytes) -> bool:
    """Whether a whole chunk's checksum is that of its kind and body."""
    return zlib.crc32(memoryview(whole)[4:-4]) == int.from_bytes(whole[-4:], "big")


def _inflated(data: bytes, limit: int) -> Iterator[bytes]:
    """The inflated stream, some at a time, up to ``limit`` bytes, its end, or damage."""
    inflater = zlib.decompressobj()
    try:
        for body in _bodies(data):
            while limit > 0 and not inflater.eof:
                found = inflater.decompress(body, min(limit, STEP_BYTES))
                limit -= len(found)
                yield found
                body = inflater.unconsumed_tail
                if not body and len(found) < STEP_BYTES:
                    break
    except zlib.error:
        return


def _bodies(data: bytes) -> Iterator[bytes]:
    """The bodies of the IDAT chunks, the last as far as it goes."""
    place = SIGNATURE_BYTES
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            yield data[place + 8 : place + 8 + length]
        place += CHUNK_BYTES + length
