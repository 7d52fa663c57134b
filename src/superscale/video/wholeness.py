"""Whether a file holds what it says: FFmpeg reads a damaged one, or one that is cut short, to its end, and raises nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import av
import av.logging
from av.container import InputContainer

# What FFmpeg says where a Matroska file ends inside one of its parts.
CUT_MESSAGE = "File ended prematurely"
# Enough for what the head of a file says of its size.
HEAD_BYTES = 1 << 16
# ASF: the object that has the file's properties, among them its size, unless it was written into a stream.
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
# MXF: the key of the partition with which a file begins.
MXF_PARTITION = bytes.fromhex("060e2b34020501010d010201010204")
# Packets of a transport stream: plain, with times (M2TS), with checksums.
TS_PACKET_BYTES = (188, 192, 204)


def is_cut_short(path: Path, container: InputContainer) -> bool:
    """Whether the file ends before what it says it holds: FFmpeg reads such a one to its end and raises nothing."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        header = file.read(HEAD_BYTES)
        is_torn = header.startswith(b"FLV") and not ends_with_a_tag(file, size)
    said = riff_bytes(header) or matroska_bytes(header) or asf_bytes(header) or mxf_bytes(header)
    is_indexed = "mov" in container.format.name
    streams: Any = container.streams
    ends = (entry.pos + entry.size for stream in streams for entry in stream.index_entries) if is_indexed else ()
    is_torn |= "mpegts" in container.format.name and all(size % bytes_ for bytes_ in TS_PACKET_BYTES)
    return (said or 0) > size or is_torn or any(end > size for end in ends)


def riff_bytes(header: bytes) -> int | None:
    """How long the header of an AVI says that its first part is, in bytes; None where it was written into a stream."""
    length = int.from_bytes(header[4:8], "little")
    return 8 + length if header.startswith(b"RIFF") and length < 2**32 - 1 else None


def asf_bytes(header: bytes) -> int | None:
    """How long the header of an ASF (WMV) says that it is, in bytes (ASF specification, 3.2); None where it does not."""
    at = header.find(ASF_PROPERTIES)
    is_live = bool(int.from_bytes(header[at + 88 : at + 92], "little") & 1)
    return None if at < 0 or is_live else int.from_bytes(header[at + 40 : at + 48], "little")


def mxf_bytes(header: bytes) -> int | None:
    """Where the header of an MXF says that its footer begins (SMPTE ST 377-1, 7.1); None where it does not."""
    at = 17 + (header[16] & 127 if header[16:17] > b"\x7f" else 0)
    return int.from_bytes(header[at + 24 : at + 32], "big") or None if header.startswith(MXF_PARTITION) else None


def ends_with_a_tag(file: IO[bytes], size: int) -> bool:
    """Whether an FLV file ends with a whole tag (Adobe's FLV specification, E.3); behind it, some writers leave out its length."""
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    while at < size:
        file.seek(at + 1)
        at += 11 + int.from_bytes(file.read(3), "big") + 4
    return at <= size + 4


def torn_places(container: InputContainer, pictures: int) -> tuple[int, bool]:
    """How many places are damaged behind which FFmpeg goes on in silence, besides those of the stream ``pictures``, whose decoder tells;
    and whether the file ends inside a part of Matroska. Where an index has the place of everything, `is_cut_short` finds it out.

    Nothing is decoded meanwhile, since messages of decoders' threads would wait for Python.
    """
    if "mov" in container.format.name:
        return 0, False
    corrupt, was_corrupt = 0, dict[int, bool]()
    level = av.logging.get_level()
    av.logging.set_skip_repeated(False)  # or a message comes when the next one does, of another file
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said, suppress(av.error.InvalidDataError):
            for packet in container.demux():
                index = packet.stream_index
                corrupt += packet.is_corrupt and index != pictures and not was_corrupt.get(index)
                was_corrupt[index] = packet.is_corrupt
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(True)
    messages = [text for _, _, text in said] if "matroska" in container.format.name else []
    return corrupt + sum(CUT_MESSAGE not in text for text in messages), any(CUT_MESSAGE in text for text in messages)


def matroska_bytes(header: bytes) -> int | None:
    """How long the header of a Matroska file says that it is, in bytes (RFC 8794, 4 and RFC 9559, 5.1); None where it does not."""
    if not header.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    length, at = _ebml_size(header, 4)
    at += length or 0
    if length is None or header[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    length, at = _ebml_size(header, at + 4)
    return None if length is None else at + length


def _ebml_size(header: bytes, at: int) -> tuple[int | None, int]:
    """A size that is stored at ``at``, None for an unknown one, and where it ends."""
    bytes_ = 9 - header[at].bit_length() if at < len(header) and header[at] else 1
    unknown = (1 << 7 * bytes_) - 1
    size = int.from_bytes(header[at : at + bytes_], "big") & unknown
    return None if size == unknown else size, at + bytes_
