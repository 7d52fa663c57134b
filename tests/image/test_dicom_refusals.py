"""DICOM that is damaged or of kinds that are not read is refused, by what it is."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames

from dicom_files import changed, file, read, written
from superscale.errors import Damaged, ImageError, Unsupported
from superscale.image.io import (
    open_stack,
    read_image,
)

CUT = ["JPEG-lossy", "SC_rgb_jpeg_dcmtk", "SC_rgb_jpeg_gdcm", "MR_small_jpeg_ls_lossless", "JPEGLSNearLossless_08"]
CUT += ["MR_small_jp2klossless", "SC_rgb_gdcm_KY", "MR_small_RLE"]


@pytest.mark.parametrize("share", [0.4, 0.8])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("name", CUT)
def test_frames_that_are_cut_short_are_refused(name: str, end: bytes, share: float) -> None:
    dataset = read(file(name))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    cut = frame[: int(len(frame) * share)] + end
    dataset.PixelData = encapsulate([cut + bytes(len(cut) % 2)])
    with pytest.raises(Damaged, match="damaged picture"):
        read_image(written(dataset))


def test_uncompressed_pixels_that_are_missing_are_refused() -> None:
    with pytest.raises(Damaged, match="less than expected"):
        read_image(file("MR_truncated"))
    dataset = read(file("rtdose"))
    dataset.PixelData = dataset.PixelData[:-400]
    with open_stack(written(dataset)) as stack, pytest.raises(ImageError, match="page 15"):
        stack.page(14)


def test_more_pixels_than_the_header_says_are_refused() -> None:
    for name, attributes in (
        ("MR_small_RLE", {"Rows": 63}),
        ("rtdose", {"NumberOfFrames": 14}),
        ("rtdose_rle", {"NumberOfFrames": 14}),
    ):
        with pytest.raises(Damaged), open_stack(changed(source=file(name), **attributes)) as stack:
            stack.page(0)
    with pytest.raises(Damaged, match="cannot be RGB"):
        read_image(changed(source=file("MR_small"), PhotometricInterpretation="RGB"))


def test_colours_that_were_compressed_lie_together_whatever_the_header_says() -> None:
    for name in ("SC_rgb_jpeg_gdcm", "SC_rgb_gdcm_KY", "SC_rgb_dcmtk_+eb+cr"):
        whole = read_image(file(name)).pixels
        np.testing.assert_array_equal(read_image(changed(source=file(name), PlanarConfiguration=1)).pixels, whole)


@pytest.mark.parametrize(
    ("name", "why"), [("liver_1frame", "segmentation"), ("reportsi", "without a picture"), ("rtplan", "without a picture")]
)
def test_dicom_that_is_no_picture_is_refused_by_what_it_is(name: str, why: str) -> None:
    with pytest.raises(Unsupported, match=why):
        read_image(file(name))


def test_colour_spaces_that_are_not_read_are_named() -> None:
    with pytest.raises(Unsupported, match="HSV"):
        read_image(changed(source=file("SC_rgb_small_odd"), PhotometricInterpretation="HSV"))
