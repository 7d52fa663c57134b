"""JPEG XL (ISO/IEC 18181): size, animation and depth are read off its header before anything is decoded."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image as PillowImage

from superscale.errors import ImageError
from superscale.image import profile
from superscale.image.metadata import XMP_ORIENTATION, exif_entry
from superscale.image.picture import GREY, RGB, Image, checked_size, separated
from superscale.image.pixels import stretch_bits

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# 18181-1, table of SizeHeader: width over height, by the three bits behind the height; 0: the width is written out
RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIZE_BITS = (9, 13, 18, 30)


def read_jxl(data: bytes, name: str, max_pixels: int | None) -> Image:
    """One still picture, turned upright, at its full depth. Raises ImageError, also when the decoder is not installed."""
    try:
        decoder = import_module("pillow_jxl").Decoder
    except ImportError as error:
        raise ImageError(f"{name}: reading JPEG XL needs an extra: pip install 'superscale[jxl]'") from error
    width, height, depth = _header(_codestream(data), name)
    checked_size(width, height, 1, max_pixels, name)
    # The one decoder knows profile and metadata but squeezes 16-bit colour; the other keeps every bit, and no profile.
    _, info, _, icc, boxes = decoder(num_threads=1)(data)
    samples = np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))
    if samples.dtype == np.float16:
        samples = samples.astype(np.float32)
    if depth and samples.dtype.kind == "u":
        samples = stretch_bits(samples, depth)
    pixels, alpha = separated(samples, name, bool(info.has_alpha_channel))
    if pixels.shape[2] not in (GREY, RGB):
        raise ImageError(f"{name}: {pixels.shape[2]} channels; expected grey or RGB")
    icc, notices = profile.fitting(icc, pixels.shape[2])
    return Image(pixels, alpha, _metadata(boxes) | ({"icc_profile": icc} if icc else {}), notices)


def _metadata(boxes: Any) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for box in boxes:
        if box.box_type == b"xml ":
            kept["xmp"] = XMP_ORIENTATION.sub(b"", bytes(box.data))
        if box.box_type == b"Exif":
            # Behind an offset of four bytes, which some writers leave out. Its orientation is the codestream's, and applied.
            start = next((start for start in (4, 0) if box.data[start : start + 2] in (b"II", b"MM")), 0)
            exif = PillowImage.Exif()
            exif.load(b"Exif\0\0" + bytes(box.data[start:]))
            kept |= exif_entry(exif)
    return kept


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, in a container or bare."""
    if not data.startswith(CONTAINER):
        return data
    stream, start = io.BytesIO(data), 0
    while start + 8 <= len(data):
        stream.seek(start)
        length, kind = int.from_bytes(stream.read(4), "big"), stream.read(4)
        if length == 1:
            length = int.from_bytes(stream.read(8), "big")
        if kind in (b"jxlc", b"jxlp"):
            stream.seek(4 * (kind == b"jxlp"), io.SEEK_CUR)
            return stream.read(256)
        if length < 8:
            break
        start += length
    raise ValueError("no codestream")


def _header(codestream: bytes, name: str) -> tuple[int, int, int]:
    """(width, height, bits a sample; 0 for floats): SizeHeader and the beginning of ImageMetadata. Raises ImageError for an animation."""
    bits = _Bits(codestream[2:])
    height, width = bits.size()
    if bits.take(1):  # all default
        return width, height, 8
    if bits.take(1):  # extra fields
        bits.take(3)  # orientation
        if bits.take(1):
            bits.size()  # the size it is meant to be seen at
        if bits.take(1):
            bits.preview_size()
        if bits.take(1):
            raise ImageError(f"{name}: an animation; expected one still picture (take its frames apart first)")
    floats, kind = bits.take(1), bits.take(2)
    depth = (8, 10, 12)[kind] if kind < 3 else 1 + bits.take(6)
    return width, height, 0 if floats else depth


class _Bits:
    """Numbers of so many bits, the least significant first."""

    def __init__(self, data: bytes) -> None:
        self.left, self.known = int.from_bytes(data[:256], "little"), 8 * min(len(data), 256)

    def take(self, count: int) -> int:
        self.known -= count
        if self.known < 0:
            raise ValueError("cut short")
        number = self.left & ((1 << count) - 1)
        self.left >>= count
        return number

    def size(self) -> tuple[int, int]:
        small = self.take(1)
        height = self._side(small)
        across, down = RATIOS[self.take(3)]
        return height, height * across // down or self._side(small)

    def _side(self, small: int) -> int:
        return 8 * (1 + self.take(5)) if small else 1 + self.take(SIZE_BITS[self.take(2)])

    def preview_size(self) -> None:
        small = self.take(1)
        self._preview_side(small)
        if not self.take(3):
            self._preview_side(small)

    def _preview_side(self, small: int) -> None:
        self.take(((0, 0, 5, 9) if small else (6, 8, 10, 12))[self.take(2)])
