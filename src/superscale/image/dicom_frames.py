"""Frames of a DICOM file as samples; compressed ones by decoders that refuse what is cut short (DICOM PS3.5, annexes A and G)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import IO, Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders import pillow as by_pillow
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from superscale.errors import Damaged, Unsupported
from superscale.image.jpeg import by_another_end, check_jpeg
from superscale.image.pixels import change_depth

Array = NDArray[Any]

JPEG_SYNTAXES = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
OURS = (*JPEG_SYNTAXES, *LOSSLESS_JPEG, *JPEG_LS, *JPEG_2000)
DEFLATED = uid.DeflatedExplicitVRLittleEndian
PLUGIN = "superscale"
END = b"\xff\xd9"
# What pydicom asks of the module of a decoder.
DECODER_DEPENDENCIES = dict.fromkeys(OURS, ("imagecodecs",))
GREYS = ("MONOCHROME1", "MONOCHROME2")
# What comes out of the decoders as RGB.
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
# What pydicom only warns of: an RLE segment that does not hold a plane of the header's size, to the byte that makes its length even.
WRONG_RLE = "The decoded RLE segment contains non-conformant padding"
PIXEL_DATA = b"\xe0\x7f\x10\0"
UNDEFINED = 0xFFFFFFFF


def is_available(_syntax: str) -> bool:
    """Whether the decoders are there, for pydicom: they come with this package."""
    return True


def decode_frame(data: bytes, runner: Any) -> bytes | bytearray:
    """One compressed frame -> its samples, as pydicom takes them from a decoder. Raises Damaged for a frame that is cut short."""
    syntax = runner.transfer_syntax
    # Whatever the header says (PS3.5, 8.2.1): decoders give pixels one after another.
    runner.set_option("planar_configuration", 0)
    if syntax in JPEG_SYNTAXES:
        twelve = check_jpeg(data, "a frame")
        if twelve is None:
            return by_pillow._decode_frame(data, runner)
        samples = twelve
    elif syntax in LOSSLESS_JPEG:
        if (damage := by_another_end(data, imagecodecs.jpegsof3_decode)) is not None:
            raise Damaged(f"a frame: damaged picture ({damage})")
        samples = imagecodecs.jpegsof3_decode(data)
    elif syntax in JPEG_2000:
        # Pillow undoes the sign of grey, and reads colours of 8 bits alone.
        if runner.samples_per_pixel == 1:
            return by_pillow._decode_frame(data, runner)
        samples = imagecodecs.jpeg2k_decode(data)
        runner.set_option("photometric_interpretation", "RGB")
    else:
        # Without its end CharLS may look for it for many seconds.
        if not data.rstrip(b"\0").endswith(END):
            raise Damaged("a frame: damaged picture (Premature end of JPEG-LS file)")
        samples = imagecodecs.jpegls_decode(data)
    runner.set_option("bits_allocated", samples.itemsize * 8)
    return bytes(samples.astype(samples.dtype.newbyteorder("<"), copy=False))


for syntax in OURS:
    get_decoder(syntax).add_plugin(PLUGIN, (__name__, "decode_frame"))


def syntax_of(header: Any) -> uid.UID:
    """How the pixels of a file are written."""
    return uid.UID(header.file_meta.TransferSyntaxUID)


def read_frame(source: Any, header: Any, number: int, name: str) -> Array:
    """The frame ``number``, from 0, of a stream or a Dataset: (H, W, 1 or 3), colours as RGB, integers in the stored type, unused bits cleared.

    Raises Unsupported for colour spaces and syntaxes that are not read; other errors where it is damaged.
    """
    meaning = str(header.get("PhotometricInterpretation", ""))
    if meaning not in (*GREYS, *COLOURS, PALETTE):
        raise Unsupported(f"{name}: cannot read DICOM pixels of the kind {meaning or 'none'!r}; convert it to RGB first")
    if (int(header.SamplesPerPixel) == 3) != (meaning in COLOURS):
        raise Damaged(f"{name}: {header.SamplesPerPixel} samples a pixel cannot be {meaning}")
    plugin = PLUGIN if syntax_of(header) in OURS else ""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", WRONG_RLE)
            samples = pixel_array(source, index=number, decoding_plugin=plugin, allow_excess_frames=False)
    except NotImplementedError as error:
        raise Unsupported(f"{name}: cannot read DICOM's {syntax_of(header).name}; decompress it first") from error
    if meaning == PALETTE:
        colours = apply_color_lut(samples, header)
        return change_depth(colours, np.uint8)
    samples = samples.astype(_stored_type(header, samples.dtype), copy=False)
    return samples if samples.ndim == 3 else samples[..., None]


def frames_held(stream: IO[bytes], header: Any) -> int | None:
    """How many frames the pixel data hold, whole ones, for a stream that stands before them; None where only decoding tells."""
    head = stream.read(8)
    if syntax_of(header) == DEFLATED or not head.startswith(PIXEL_DATA):
        return None
    # Behind the tag stands the type, two zeros and the length; in some files, whatever the syntax, the length alone.
    length = int.from_bytes(stream.read(4) if head[4:] in (b"OB\0\0", b"OW\0\0", b"UN\0\0") else head[4:], "little")
    if length != UNDEFINED:
        frame_bits = header.Rows * header.Columns * header.SamplesPerPixel * header.BitsAllocated
        return None if frame_bits == 0 else length * 8 // frame_bits
    table = int.from_bytes(stream.read(8)[4:], "little")
    if syntax_of(header) == uid.RLELossless:
        stream.seek(table, io.SEEK_CUR)
        return sum(1 for _ in _fragments(stream))
    return table // 4 or None


def _fragments(stream: IO[bytes]) -> Iterator[int]:
    """The lengths of the items up to their end, which are passed over."""
    while (head := stream.read(8)).startswith(b"\xfe\xff\0\xe0"):
        yield (length := int.from_bytes(head[4:], "little"))
        stream.seek(length, io.SEEK_CUR)


def _stored_type(header: Any, dtype: Any) -> Any:
    """A decoder may give fewer bits than the file has room for."""
    return dtype if dtype.kind == "f" else np.dtype(f"{dtype.kind}{int(header.BitsAllocated) // 8}")
