"""Frames of one DICOM file."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_files import CT, changed, doubled, file, read, written
from dicom_rules import violations
from superscale.errors import Unsupported
from superscale.image.dicom import DicomPages
from superscale.image.dicom_writer import DicomWriter
from superscale.image.geo import GDAL_METADATA
from superscale.image.io import (
    Image,
    open_stack,
    read_image,
)


def test_each_frame_has_its_own_rescaling() -> None:
    samples = np.arange(128, dtype=np.int16).reshape(2, 8, 8)
    dataset = read(changed(samples, NumberOfFrames=2))
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset()]
    for item, slope in zip(dataset.PerFrameFunctionalGroupsSequence, (2, 1000), strict=True):
        item.PixelValueTransformationSequence = [values := Dataset()]
        values.RescaleSlope, values.RescaleIntercept = slope, 0
    with open_stack(written(dataset)) as stack:
        said = [(stack.page(number).metadata.geo or {})[GDAL_METADATA] for number in range(2)]
    assert ['role="scale">2.0<' in said[0], 'role="scale">1000.0<' in said[1]] == [True, True]


def frames_of(count: int = 3) -> Any:
    """A multi-frame picture whose geometry stands in functional groups."""
    dataset = copy.deepcopy(read(CT))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    dataset.NumberOfFrames, dataset.ConversionType, dataset.BurnedInAnnotation = count, "SYN", "NO"
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [0.5, 0.25], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number in range(count):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, number]
        frame.PlanePositionSequence = [place]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, keyword)
    samples = np.arange(count * 48, dtype="<i2").reshape(count, 6, 8)
    dataset.Rows, dataset.Columns, dataset.PixelData = 6, 8, samples.tobytes()
    return dataset


@pytest.mark.parametrize("strip", [False, True])
def test_frames_are_written_one_after_the_other_with_their_geometry(strip: bool) -> None:
    source = frames_of()
    stream = io.BytesIO()
    writer = DicomWriter(stream, 3)
    pages = DicomPages(io.BytesIO(written(source)), "a.dcm", None)
    for number in range(pages.count):
        page = doubled(pages.page(number))
        writer.add(page if not strip else Image(page.pixels, metadata=page.metadata.stripped()))
    writer.finish()
    after = read(stream.getvalue())
    assert not violations(after)
    np.testing.assert_array_equal(after.pixel_array, source.pixel_array.repeat(2, 1).repeat(2, 2))
    assert after.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.25, 0.125]
    for number, frame in enumerate(after.PerFrameFunctionalGroupsSequence):
        # A new pixel's centre is a quarter of an old pixel nearer to the corner.
        assert frame.PlanePositionSequence[0].ImagePositionPatient == [-0.0625, -0.125, number]
    assert after.PatientName == ("" if strip else source.PatientName)
    assert after.get("ContentDate") == ("19000101" if strip else source.ContentDate)


def test_several_frames_are_no_still_picture() -> None:
    with pytest.raises(Unsupported, match="15 frames"):
        read_image(file("rtdose"))
