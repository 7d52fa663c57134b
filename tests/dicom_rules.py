"""What a DICOM file must hold (PS3.3 modules, PS3.5, PS3.10), as dciodvfy checks it, for the kinds that the tests use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pydicom
from pydicom import uid
from pydicom.dataelem import DataElement

UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
# Modules that all images have: required with a value (type 1), and required though perhaps empty (type 2).
TYPE_1 = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
TYPE_2 = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName"]
TYPE_2 += ["StudyID", "AccessionNumber", "SeriesNumber", "InstanceNumber"]
PIXELS = ["SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"]
PIXELS += ["PixelRepresentation"]
PLANE = ["PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"]
OF_CLASS = {
    "CT Image Storage": ["Modality", "ImageType", "RescaleSlope", "RescaleIntercept", *PLANE],
    "MR Image Storage": ["Modality", "ImageType", "ScanningSequence", "SequenceVariant", *PLANE],
    "Multi-frame Grayscale Word Secondary Capture Image Storage": ["NumberOfFrames", "ConversionType", "BurnedInAnnotation"],
}
WORD_KINDS = {1: ("OB", "OW"), 2: ("OW",), 4: ("OW",)}


def violations(dataset: Any) -> set[str]:
    """Every rule that a file breaks."""
    return set(_broken(dataset))


def _broken(dataset: Any) -> Iterator[str]:
    meta = dataset.file_meta
    if (meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID) != (dataset.SOPInstanceUID, dataset.SOPClassUID):
        yield "the file meta information names another instance"
    for keyword in [*TYPE_1, *PIXELS, *OF_CLASS.get(uid.UID(dataset.SOPClassUID).name, ())]:
        if dataset.get(keyword) in (None, ""):
            yield f"{keyword} has no value (type 1)"
    for keyword in TYPE_2:
        if keyword not in dataset:
            yield f"{keyword} is missing (type 2)"
    if (dataset.SamplesPerPixel > 1) != ("PlanarConfiguration" in dataset):
        yield "PlanarConfiguration is for colours, and for these required (type 1C)"
    if not dataset.HighBit + 1 == dataset.BitsStored <= dataset.BitsAllocated:
        yield "HighBit is not the last stored bit"
    if dataset.get("ImageType", ["", ""])[0] not in ("ORIGINAL", "DERIVED"):
        yield "ImageType begins with neither ORIGINAL nor DERIVED"
    if dataset.get("LossyImageCompression") not in (None, "00", "01"):
        yield "LossyImageCompression is neither 00 nor 01"
    yield from _pixel_length(dataset)
    for element in dataset.iterall():
        yield from _wrong_value(element)


def _pixel_length(dataset: Any) -> Iterator[str]:
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    samples = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * int(dataset.get("NumberOfFrames") or 1)
    size = dataset.BitsAllocated // 8
    if len(dataset.PixelData) != samples * size + samples * size % 2:
        yield "PixelData is not as long as its attributes say"
    if dataset["PixelData"].VR not in WORD_KINDS[size]:
        yield "PixelData has another VR than its bits ask for"


def _wrong_value(element: DataElement) -> Iterator[str]:
    values = element.value if element.VM > 1 else [element.value]
    if element.VR == "UI":
        for value in filter(None, values):
            if not UID.fullmatch(value) or len(value) > 64:
                yield f"{element.keyword or element.tag} is no UID"
    elif element.VR in ("DS", "IS", "CS", "DA", "TM", "DT", "SH", "LO", "ST", "AS"):
        for value in (value for value in values if value not in (None, "")):
            text = getattr(value, "original_string", None) or str(value)
            try:
                pydicom.valuerep.validate_value(element.VR, text, pydicom.config.RAISE)
            except ValueError:
                yield f"{element.keyword or element.tag} is no {element.VR}"
