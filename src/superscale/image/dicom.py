"""DICOM: single and multi-frame pictures, in their stored values, with what their header says (PS3.3, C.7.6.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UncompressedTransferSyntaxes

from superscale.errors import Damaged, Unsupported
from superscale.image.dicom_frames import DEFLATED, GREYS, PALETTE, frames_held, read_frame, syntax_of
from superscale.image.geo import GDAL_METADATA, GDAL_NODATA
from superscale.image.metadata import Metadata
from superscale.image.picture import Image, checked_size
from superscale.image.pixels import change_depth
from superscale.image.profile import fitting
from superscale.image.value_range import TYPES

Array = NDArray[Any]

NOT_FOR_DIAGNOSIS = "not for diagnosis: a network makes up detail that was never measured"
MILLIMETRES_PER_INCH = 25.4
# Where spacings stand, by which is meant first.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# Beyond this share of what the stored bits hold, the bits were meant for these values.
USES_ITS_BITS = 0.5


class DicomPages:
    """The frames of a DICOM stream, one at a time: a `Stack`. Raises ImageError for what holds no pictures."""

    def __init__(self, stream: IO[bytes], name: str, max_pixels: int | None) -> None:
        self._stream, self._name = stream, name
        self.header = _header(stream, name)
        self.width, self.height = int(self.header.Columns), int(self.header.Rows)
        self.count = int(self.header.get("NumberOfFrames") or 1)
        if self.count < 1:
            raise Damaged(f"{name}: the header says {self.count} frames")
        if (held := frames_held(stream, self.header)) is not None and held > self.count:
            raise Damaged(f"{name}: damaged picture ({held} frames, and the header says {self.count})")
        checked_size(self.width, self.height, int(self.header.SamplesPerPixel), max_pixels, name)

    def page(self, number: int) -> Image:
        """The frame ``number``, from 0. Raises ImageError, and whatever a decoder stumbles over in a damaged frame."""
        header, name = self.header, self._name
        # Of one frame the whole file is read, which pydicom then holds against the header.
        is_whole = self.count == 1 or syntax_of(header) == DEFLATED
        samples = read_frame(_dataset(self._stream) if is_whole else self._stream, header, number, name)
        if str(samples.dtype) not in TYPES:
            raise Unsupported(
                f"{name}: cannot read DICOM samples of {samples.dtype}; expected integers up to 32 bits, or floats"
            )
        if samples.shape[:2] != (self.height, self.width):
            raise Damaged(f"{name}: a frame of {samples.shape[1]}x{samples.shape[0]}, not {self.width}x{self.height}")
        nodata, mask = _padding(samples, header)
        icc = header.get("ICCProfile") if samples.shape[2] == 3 else None
        metadata = Metadata(
            icc_profile=None if icc is None else fitting(bytes(icc), 3)[0],
            dpi=_dpi(header),
            calibrated=True,
            geo=nodata | _real_values(header, number) or None,
            stated_range=_stated_range(samples, header),
            dicom=header,
        )
        return Image(samples, None, metadata, _notices(header), mask=mask, remarks=(NOT_FOR_DIAGNOSIS,))


def read_dicom(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """The picture of a DICOM stream of one frame. Raises ImageError; Unsupported for several."""
    pages = DicomPages(stream, name, max_pixels)
    if pages.count != 1:
        raise Unsupported(f"{name}: {pages.count} frames; expected one still picture (`open_stack` reads them one by one)")
    return pages.page(0)


def dicom_size(stream: IO[bytes], name: str) -> tuple[int, int]:
    """(width, height) of a frame, from the header. Raises ImageError."""
    header = _header(stream, name)
    return int(header.Columns), int(header.Rows)


def _dataset(stream: IO[bytes], before_pixels: bool = False) -> Any:
    stream.seek(0)
    return pydicom.dcmread(stream, stop_before_pixels=before_pixels)


def _header(stream: IO[bytes], name: str) -> Any:
    """All that stands before the pixels."""
    header = _dataset(stream, before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise Unsupported(f"{name}: DICOM without a picture (modality {header.get('Modality') or 'not said'})")
    if "TransferSyntaxUID" not in header.file_meta or "SOPClassUID" not in header:
        raise Damaged(f"{name}: DICOM that does not say how it is written (TransferSyntaxUID), or what it is (SOPClassUID)")
    if int(header.get("BitsAllocated", 0)) == 1 or header.get("Modality") == "SEG":
        raise Unsupported(f"{name}: a segmentation, whose values are labels and not a picture; enlarge it by nearest neighbour")
    stored = header.get("BitsStored")
    if stored and syntax_of(header) in UncompressedTransferSyntaxes and int(header.get("HighBit") or 0) >= int(stored):
        raise Unsupported(
            f"{name}: expected the stored bits to be the lowest, and of {header.BitsStored} the highest is {header.HighBit}; "
            "move them down first (HighBit = BitsStored - 1)"
        )
    if "TotalPixelMatrixColumns" in header:
        raise Unsupported(f"{name}: tiles of a whole slide, which are not pictures of their own; export a region as TIFF first")
    return header


def attributes(header: Any, number: int = 0) -> Iterator[Any]:
    """The header, and the items of the functional groups that hold for the frame ``number``: where an attribute may stand."""
    yield header
    for group, place in zip(FUNCTIONAL_GROUPS, (0, number), strict=True):
        for functions in header.get(group, ())[place : place + 1]:
            for element in functions:
                if element.VR == "SQ" and len(element.value):
                    yield element.value[0]


def said(header: Any, keyword: str, number: int = 0) -> Any:
    """The value of an attribute, of the frame ``number``; None where nothing is said."""
    found = (item.get(keyword) for item in attributes(header, number))
    return next((value for value in found if value not in (None, "")), None)


def _padding(samples: Array, header: Any) -> tuple[dict[int, Any], Array | None]:
    """Where there are no data, as GDAL's tag for one value, or as a mask for a range of values (PixelPaddingRangeLimit)."""
    value = header.get("PixelPaddingValue")
    if value is None or samples.shape[2] != 1 or samples.dtype.kind == "f":
        return {}, None
    # Some write it as if it were unsigned, or signed.
    value = int(np.array(int(value)).astype(samples.dtype))
    limit = header.get("PixelPaddingRangeLimit")
    if limit is None:
        return {GDAL_NODATA: str(value)}, None
    low, high = sorted((value, int(np.array(int(limit)).astype(samples.dtype))))
    return {}, np.asarray(((samples < low) | (samples > high)).all(axis=-1))


def _real_values(header: Any, number: int) -> dict[int, Any]:
    """Rescale slope and intercept as GDAL's tag, for a TIFF: samples times scale plus offset are the measured values."""
    slope, intercept = rescaling(header, number)
    if (slope, intercept) == (1.0, 0.0):
        return {}
    items = f'<Item name="OFFSET" sample="0" role="offset">{intercept!r}</Item><Item name="SCALE" sample="0" role="scale">{slope!r}</Item>'
    return {GDAL_METADATA: f"<GDALMetadata>{items}</GDALMetadata>"}


def rescaling(header: Any, number: int = 0) -> tuple[float, float]:
    """(slope, intercept) from stored to measured values, of the frame ``number``."""
    slope, intercept = said(header, "RescaleSlope", number), said(header, "RescaleIntercept", number)
    return float(1.0 if slope is None else slope), float(intercept or 0.0)


def _dpi(header: Any) -> tuple[float, float] | None:
    """Pixels an inch, across and down."""
    spacing: Any = next((value for keyword in SPACINGS if (value := said(header, keyword)) is not None), None)
    if not hasattr(spacing, "__len__") or len(spacing) != 2 or not all(float(side) > 0 for side in spacing):
        return None
    return MILLIMETRES_PER_INCH / float(spacing[1]), MILLIMETRES_PER_INCH / float(spacing[0])


def _stated_range(samples: Array, header: Any) -> tuple[float, float] | None:
    """What the stored bits hold, if the samples use half of it.

    Not SmallestImagePixelValue and LargestImagePixelValue: they are what is measured, or they are wrong. pydicom's MR_small.dcm says 0 to
    4000 of values from 127 to 2145; reduced to a quarter and enlarged again it has 28.1 dB with the measured range, 26.9 with that.
    """
    bits = int(header.get("BitsStored", 0))
    if samples.dtype.kind != "u" or not 8 < bits <= 16 or header.PhotometricInterpretation == PALETTE:
        return None
    most = 2.0**bits - 1
    return (0.0, most) if np.percentile(samples, 99.9) > USES_ITS_BITS * most else None


def _notices(header: Any) -> tuple[str, ...]:
    """What is not as it was."""
    found = []
    if header.PhotometricInterpretation == PALETTE:
        found.append("its colours of a palette were read as RGB of 8 bits")
    if any(element.tag.group & 0xFF00 == 0x6000 for element in header):
        found.append("its overlays, which are drawn in pixels of the old size, were left out")
    return tuple(found)


def viewed(image: Image) -> Image:
    """A picture as a viewer shows it, 8 bits: grey values through the rescaling and the window of the header, or from the least to the
    greatest value where it has none; MONOCHROME1 turned round (PS3.3, C.11.2)."""
    header = image.metadata.dicom
    kept = Metadata(icc_profile=image.metadata.icc_profile, dpi=image.metadata.dpi, calibrated=True)
    shared: Any = {"damage": image.damage, "remarks": image.remarks, "values": image.values}
    if header.PhotometricInterpretation not in GREYS:
        most = 2.0 ** (image.pixels.itemsize * 8) - 1
        pixels = image.pixels if image.pixels.dtype == np.uint8 else _spread(image.pixels.astype(np.float64), 0.0, most)
        return Image(pixels, image.alpha, kept, image.notices, **shared)
    valid = image.valid()
    values = (
        apply_modality_lut(image.pixels, header).astype(np.float64)
        if "ModalityLUTSequence" in header
        else _rescaled(image.pixels, header)
    )
    low, high, how = _window(values[np.broadcast_to(True if valid is None else valid, values.shape)], header)
    shown = _spread(values, low, high)
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = ~shown
    mask = None if valid is None else np.asarray(valid.all(axis=-1))
    notice = f"shown as in a viewer, black to white {low:g} to {high:g} ({how}), 8 bits: no longer measurements"
    return Image(shown, image.alpha, kept, image.notices, mask=mask, **shared).noted(notice)


def _rescaled(pixels: Array, header: Any) -> Array:
    slope, intercept = rescaling(header)
    return np.asarray(pixels.astype(np.float64) * slope + intercept)


def _spread(values: Array, low: float, high: float) -> Array:
    return change_depth(((values - low) / max(high - low, 1e-300)).clip(0, 1).astype(np.float32), np.uint8)


def _window(values: Array, header: Any) -> tuple[float, float, str]:
    """The measured values that are black and white; sigmoid windows are taken as linear ones."""
    center, width = (said(header, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    first = [float(number[0] if hasattr(number, "__len__") else number) for number in (center, width) if number is not None]
    if len(first) == 2 and first[1] >= 1 and all(map(math.isfinite, first)):
        exact = said(header, "VOILUTFunction") == "LINEAR_EXACT"
        middle, reach = (first[0], first[1]) if exact else (first[0] - 0.5, max(first[1] - 1, 1e-9))
        return middle - reach / 2, middle + reach / 2, "its window"
    return (float(values.min()), float(values.max()), "measured") if values.size else (0.0, 1.0, "no data")
