"""WebP written by libwebp itself; profile, EXIF and XMP are laid around its samples (RFC 9649, section 2.7)."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import IO

import imagecodecs
import numpy as np

from superscale.errors import Damaged, Unsupported
from superscale.image import profile
from superscale.image.codecs import read_pillow
from superscale.image.formats import check_sides
from superscale.image.metadata import Metadata
from superscale.image.picture import RGB, Image, to_pillow, with_alpha

# Beyond so many pixels the encoder takes its method without a buffer of symbols, which grew to 23 bytes a pixel on noise (measured);
# on photographs its files are as small, at up to 0.4 dB less.
LARGE_PIXELS = 16_000_000
METHOD, LEAN_METHOD = 4, 2
# Flags of the chunk VP8X.
ICC, ALPHA, EXIF, XMP = 0x20, 0x10, 0x08, 0x04
HEADING_BYTES = 8
# More than the bits that libwebp reads ahead.
BEHIND = b"\xff" * 16


def read_webp(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """One still picture. Raises ImageError; Damaged, too, when its last bytes are missing, for which libwebp reads zeros."""
    data = stream.read()
    image = read_pillow("WEBP", io.BytesIO(data), name, max_pixels)
    # What follows the samples of a whole file does not matter: libwebp never gets there.
    other = read_pillow("WEBP", io.BytesIO(_lengthened(data)), name, max_pixels)
    if not np.array_equal(with_alpha(image), with_alpha(other)):
        raise Damaged(f"{name}: damaged picture (cut short: its last bytes are missing)")
    return image


def _lengthened(data: bytes) -> bytes:
    """The same file with ones behind its samples and its alpha."""
    parts = [_chunk(kind, body + BEHIND if kind in (b"VP8 ", b"VP8L", b"ALPH") else body) for kind, body in _chunks(data)]
    return b"".join((b"RIFF", struct.pack("<I", 4 + sum(map(len, parts))), b"WEBP", *parts))


def encode_webp(image: Image, quality: int) -> tuple[bytes, tuple[str, ...]]:
    """uint8; WebP knows no grey, so that a grey profile is applied. Raises Unsupported for sides beyond 16383 pixels."""
    check_sides("WEBP", image.width, image.height)
    notices: tuple[str, ...] = ()
    if image.channels == 1 and image.metadata.icc_profile is not None:
        grey = to_pillow(replace(image, alpha=None, metadata=Metadata()))
        converted, notices = profile.to_srgb(grey, image.metadata.icc_profile)
        image = replace(image, pixels=np.asarray(converted), metadata=replace(image.metadata, icc_profile=profile.srgb()))
    if image.channels == 1:
        image = replace(image, pixels=np.broadcast_to(image.pixels, (image.height, image.width, RGB)))
    method = LEAN_METHOD if image.width * image.height > LARGE_PIXELS else METHOD
    try:
        samples = np.ascontiguousarray(with_alpha(image))
        data = bytes(imagecodecs.webp_encode(samples, level=quality, lossless=False, method=method))
    except (RuntimeError, ValueError) as error:
        raise Unsupported(f"cannot write {image.width}x{image.height} pixels as WEBP ({error})") from error
    return _with_metadata(data, image), notices


def _with_metadata(data: bytes, image: Image) -> bytes:
    metadata = image.metadata.said("icc_profile", "exif", "xmp")
    if not metadata:
        return data
    chunks = dict(_chunks(data))
    flags = ALPHA if b"ALPH" in chunks else 0
    flags |= sum(flag for key, flag in (("icc_profile", ICC), ("exif", EXIF), ("xmp", XMP)) if key in metadata)
    sides = (image.width - 1).to_bytes(3, "little") + (image.height - 1).to_bytes(3, "little")
    parts = [_chunk(b"VP8X", struct.pack("<I", flags) + sides)]
    if "icc_profile" in metadata:
        parts.append(_chunk(b"ICCP", metadata["icc_profile"]))
    parts += [_chunk(kind, chunks[kind]) for kind in (b"ALPH", b"VP8 ") if kind in chunks]
    if "exif" in metadata:
        parts.append(_chunk(b"EXIF", metadata["exif"].removeprefix(b"Exif\0\0")))
    if "xmp" in metadata:
        parts.append(_chunk(b"XMP ", metadata["xmp"]))
    return b"".join((b"RIFF", struct.pack("<I", 4 + sum(map(len, parts))), b"WEBP", *parts))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, body) of a WebP."""
    chunks: list[tuple[bytes, bytes]] = []
    start = 12
    while start + HEADING_BYTES <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        start += HEADING_BYTES
        chunks.append((kind, data[start : start + length]))
        start += length + length % 2
    return chunks
