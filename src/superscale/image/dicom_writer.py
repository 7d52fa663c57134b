"""Writing of DICOM: an image derived from another, uncompressed, under a UID of its own (PS3.3, C.7.6.1; PS3.10)."""

from __future__ import annotations

import copy
import io
import struct
import warnings
from datetime import datetime
from typing import IO, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from superscale.errors import Unsupported
from superscale.image.dicom_frames import GREYS, syntax_of
from superscale.image.dicom_geometry import nested, scale_geometry
from superscale.image.dicom_identity import another_uid, remove_identity
from superscale.image.metadata import maker_of
from superscale.image.picture import Image

Array = NDArray[Any]

# How pixels are called: group and element, and their type: integers by the bytes of a number, then floats.
INTEGERS = {1: ((0x7FE0, 0x0010), b"OB"), 2: ((0x7FE0, 0x0010), b"OW"), 4: ((0x7FE0, 0x0010), b"OW")}
MOST_BYTES = 0xFFFFFFFE
FLOATS = {4: ((0x7FE0, 0x0008), b"OF"), 8: ((0x7FE0, 0x0009), b"OD")}
LONGEST_TEXT, LONGEST_NAME = 1024, 64
WRITTEN = "Written again by superscale"
# Whose the private information in a file's head is (PS3.10, 7.1).
CREATOR = uid.UID("2.25.235176353805175159111092327284915385018")
# Syntaxes that lose something, and what the method is called (PS3.3, C.7.6.1.1.5.1).
LOSSY = {
    uid.JPEGBaseline8Bit: "ISO_10918_1",
    uid.JPEGExtended12Bit: "ISO_10918_1",
    uid.JPEGLSNearLossless: "ISO_14495_1",
    uid.JPEG2000: "ISO_15444_1",
}
# What is only true of the old pixels: their extremes, icons, drawings over them, lookup tables that were applied, signatures.
STALE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "IconImageSequence",
    "PixelDataProviderURL",
    "MACParametersSequence",
    "DigitalSignaturesSequence",
)
OVERLAYS, CURVES = 0x6000, 0x5000
PALETTES = range(0x00281101, 0x00281224)
# Bytes of a number in elements that are read as they stand.
WORDS = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}


def encode_dicom(image: Image, _quality: int) -> tuple[bytes, tuple[str, ...]]:
    """An image that was read from DICOM -> (the file; notices). Raises Unsupported for any other, and beyond 4 GB."""
    stream = io.BytesIO()
    writer = DicomWriter(stream, 1)
    writer.add(image)
    writer.finish()
    return stream.getvalue(), ()


class DicomWriter:
    """Writes ``count`` frames to a stream, one after the other: a `StackWriter`."""

    notices: tuple[str, ...] = ()

    def __init__(self, stream: IO[bytes], count: int) -> None:
        self._stream, self._count, self._bytes = stream, count, 0
        self._header: Any = None

    def add(self, image: Image) -> None:
        """Write a frame, the first behind the header. Raises Unsupported for what is no frame of a DICOM file."""
        if image.metadata.dicom is None:
            raise Unsupported("only what was read from DICOM can be written as DICOM: nothing says which patient it shows")
        if self._header is None:
            self._begin(image)
        data = _stored(image, self._header)
        self._stream.write(data.data)
        self._bytes += data.nbytes

    def finish(self) -> None:
        """Fill up to an even number of bytes."""
        self._stream.write(b"\0" * (self._bytes % 2))

    def _begin(self, image: Image) -> None:
        length = image.pixels.nbytes * self._count
        if length > MOST_BYTES:
            raise Unsupported(f"{length} bytes of pixels, and DICOM holds {MOST_BYTES}; take a lower scale, or write a TIFF")
        self._header = header = derived(image)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmwrite(self._stream, header, enforce_file_format=True)
        tag, kind = (FLOATS if image.pixels.dtype.kind == "f" else INTEGERS)[image.pixels.itemsize]
        self._stream.write(struct.pack("<HH2sHI", *tag, kind, 0, length + length % 2))


def derived(image: Image) -> Any:
    """The header of an image, without pixels, made of that of the file it was read from. The old one stays as it is."""
    source = image.metadata.dicom
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = copy.deepcopy(source)
        _remove_stale(header)
        scale_geometry(header, image.height / int(source.Rows), image.width / int(source.Columns))
        if image.metadata.anonymous:
            remove_identity(header)
        _describe_pixels(header, image)
        _describe_derivation(header, source, image)
        _describe_file(header, source, image.metadata.derivation or WRITTEN)
        if note := maker_of(image.metadata.exif):
            header.file_meta.PrivateInformationCreatorUID = CREATOR
            header.file_meta.PrivateInformation = note.encode() + b"\0" * (len(note) % 2)
    return header


def note_in(stream: IO[bytes]) -> str:
    """What `derived` wrote about the maker; "" in other files."""
    meta = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[]).file_meta
    is_ours = meta.get("PrivateInformationCreatorUID") == CREATOR
    return bytes(meta.PrivateInformation).rstrip(b"\0").decode() if is_ours else ""


def _remove_stale(header: Any) -> None:
    for element in list(header):
        group = element.tag.group & 0xFF00
        applied = element.tag in PALETTES and header.PhotometricInterpretation not in GREYS
        if (
            element.keyword in STALE
            or applied
            or group in (OVERLAYS, CURVES)
            or element.tag.group >= 0x7FE0
            or element.tag.element == 0
        ):
            del header[element.tag]
    if not header.original_encoding[1]:
        for item in nested(header):
            for element in item:
                if element.VR in WORDS and element.value:
                    element.value = np.frombuffer(element.value, f"u{WORDS[element.VR]}").byteswap().tobytes()


def _describe_pixels(header: Any, image: Image) -> None:
    """The image pixel module, with as many stored bits as before where the type is the same."""
    header.Rows, header.Columns, header.SamplesPerPixel = image.height, image.width, image.channels
    if image.pixels.dtype.kind == "f":
        return
    bits = image.pixels.itemsize * 8
    if int(header.BitsAllocated) != bits:
        header.BitsAllocated = header.BitsStored = bits
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(image.pixels.dtype.kind == "i")
    if image.channels > 1:
        header.PhotometricInterpretation, header.PlanarConfiguration = "RGB", 0


def _stored(image: Image, header: Any) -> Array:
    """Samples as they stand in the file: within the stored bits, and none with data among those that mean no data."""
    pixels = image.pixels
    if pixels.dtype.kind != "f":
        signed = pixels.dtype.kind == "i"
        least = -(2 ** (int(header.BitsStored) - 1)) if signed else 0
        pixels = _off_padding(pixels.clip(least, least + 2 ** int(header.BitsStored) - 1), image, header)
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))


def _off_padding(pixels: Array, image: Image, header: Any) -> Array:
    """Values between the two that PixelPaddingValue and PixelPaddingRangeLimit name, where there are data, go to the nearest beyond."""
    if image.mask is None or "PixelPaddingRangeLimit" not in header:
        return pixels
    ends = [
        int(np.array(int(value)).astype(pixels.dtype)) for value in (header.PixelPaddingValue, header.PixelPaddingRangeLimit)
    ]
    inside = (pixels >= min(ends)) & (pixels <= max(ends)) & image.mask[..., None]
    others = image.mask[..., None] & ~inside
    up = not others.any() or pixels.mean(where=others, dtype=np.float64) > max(ends)
    return np.where(inside, pixels.dtype.type(max(ends) + 1 if up else min(ends) - 1), pixels)


def _describe_derivation(header: Any, source: Any, image: Image) -> None:
    """That it was made, of what and how (general image and SOP common modules)."""
    kinds = [*(header.get("ImageType") or ())]
    is_enhanced = "SharedFunctionalGroupsSequence" in header
    # Enhanced images say PRIMARY of all that shows the patient, derived or not (C.8.16.1.2).
    header.ImageType = ["DERIVED", kinds[1] if is_enhanced and len(kinds) > 1 else "SECONDARY", *kinds[2:]]
    for item in nested(header):
        if "FrameType" in item:
            item.FrameType = ["DERIVED", *list(item.FrameType)[1:]]
    how = image.metadata.derivation or WRITTEN
    before = header.get("DerivationDescription")
    header.DerivationDescription = f"{before}; {how}"[-LONGEST_TEXT:] if before else how[:LONGEST_TEXT]
    header.DerivationCodeSequence = [*header.get("DerivationCodeSequence", ()), _code("113085", "Spatial resampling")]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
    header.SourceImageSequence = [reference]
    if not image.metadata.anonymous:
        header.SeriesDescription = f"{header.get('SeriesDescription') or ''} upscaled".strip()[-LONGEST_NAME:]
    syntax = syntax_of(source)
    if "LossyImageCompression" not in header and syntax in LOSSY:
        header.LossyImageCompression, header.LossyImageCompressionMethod = "01", LOSSY[syntax]


def _code(value: str, meaning: str) -> Any:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _describe_file(header: Any, source: Any, how: str) -> None:
    """An instance of its own, in a series of its own, which all images of the old series share."""
    header.SOPInstanceUID = uid.generate_uid()
    header.SeriesInstanceUID = another_uid(header.get("SeriesInstanceUID", ""), how)
    if "InstanceCreationDate" in header or "InstanceCreationTime" in header:
        now = datetime.now()
        header.InstanceCreationDate, header.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = source.SOPClassUID, header.SOPInstanceUID
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.file_meta = meta
