"""JPEG XL (ISO/IEC 18181): size, animation and depth are read off its header before anything is decoded."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib import import_module
from typing import IO, Any, NamedTuple

import imagecodecs
import numpy as np
from PIL import Image as PillowImage

from superscale.errors import Unsupported, install_line
from superscale.image import profile
from superscale.image.metadata import Metadata, exif_bytes, upright_size, xmp_bytes
from superscale.image.picture import GREY, RGB, Image, checked_size, separated
from superscale.image.pixels import stretch_bits

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# 18181-1, table of SizeHeader: width over height, by the three bits behind the height; 0: the width is written out
RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIZE_BITS = (9, 13, 18, 30)


class Header(NamedTuple):
    """What a codestream begins with: its size as stored, its orientation (1 to 8, as EXIF counts) and bits a sample; 0: floats."""

    width: int
    height: int
    orientation: int
    depth: int


def jxl_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of the picture once it is upright, from the header. Raises Unsupported for an animation."""
    header = _header(stream, name)
    return upright_size(header.width, header.height, header.orientation)


def read_jxl(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """One still picture, turned upright, at its full depth. Raises ImageError, also when the decoder is not installed."""
    try:
        decoder = import_module("pillow_jxl").Decoder
    except ImportError as error:
        raise Unsupported(f"{name}: reading JPEG XL needs an extra: {install_line('jxl')}") from error
    header = _header(stream, name)
    checked_size(header.width, header.height, 1, max_pixels, name)
    stream.seek(0)
    data = stream.read()
    # The one decoder knows profile and metadata, and gives them with the samples only, which it squeezes to 8 bits where they are
    # deeper colours, and rounds up to one level off where they are lossy (measured); the other keeps every bit, and no profile.
    _, info, _, icc, boxes = decoder(num_threads=1)(data)
    samples = np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))
    if samples.dtype == np.float16:
        samples = samples.astype(np.float32)
    if header.depth and samples.dtype.kind == "u":
        samples = stretch_bits(samples, header.depth)
    pixels, alpha = separated(samples, bool(info.has_alpha_channel))
    if pixels.shape[2] not in (GREY, RGB):
        raise Unsupported(f"{name}: {pixels.shape[2]} channels; expected grey or RGB")
    icc, notices = profile.fitting(icc, pixels.shape[2])
    return Image(pixels, alpha, replace(_metadata(boxes), icc_profile=icc), notices)


def _metadata(boxes: Any) -> Metadata:
    kept = Metadata()
    for box in boxes:
        if box.box_type == b"xml ":
            kept = replace(kept, xmp=xmp_bytes(box.data))
        if box.box_type == b"Exif":
            # Behind an offset of four bytes, which some writers leave out. Its orientation is the codestream's, and applied.
            start = next((start for start in (4, 0) if box.data[start : start + 2] in (b"II", b"MM")), 0)
            exif = PillowImage.Exif()
            exif.load(b"Exif\0\0" + bytes(box.data[start:]))
            kept = replace(kept, exif=exif_bytes(exif))
    return kept


def _codestream(stream: IO[bytes]) -> bytes:
    """The beginning of the codestream, in a container or bare. Raises ValueError when a container holds none."""
    stream.seek(0)
    head = stream.read(256)
    if not head.startswith(CONTAINER):
        return head
    start = 0
    while True:
        stream.seek(start)
        length = int.from_bytes(stream.read(4), "big")
        kind = stream.read(4)
        if length == 1:
            length = int.from_bytes(stream.read(8), "big")
        if kind in (b"jxlc", b"jxlp"):
            stream.seek(4 * (kind == b"jxlp"), io.SEEK_CUR)
            return stream.read(256)
        if length < 8:
            raise ValueError("no codestream")
        start += length


def _header(stream: IO[bytes], name: str) -> Header:
    """SizeHeader and the beginning of ImageMetadata. Raises Unsupported for an animation, ValueError for a header cut short."""
    bits = _Bits(_codestream(stream)[2:])
    height, width = bits.size()
    if bits.take(1):  # all default
        return Header(width, height, 1, 8)
    orientation = 1
    if bits.take(1):  # extra fields
        orientation += bits.take(3)
        if bits.take(1):
            bits.size()  # the size it is meant to be seen at
        if bits.take(1):
            bits.preview_size()
        if bits.take(1):
            raise Unsupported(f"{name}: an animation; expected one still picture (take its frames apart first)")
    floats = bits.take(1)
    kind = bits.take(2)
    depth = (8, 10, 12)[kind] if kind < 3 else 1 + bits.take(6)
    return Header(width, height, orientation, 0 if floats else depth)


class _Bits:
    """Numbers of so many bits, the least significant first."""

    def __init__(self, data: bytes) -> None:
        self.left = int.from_bytes(data, "little")
        self.known = 8 * len(data)

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
