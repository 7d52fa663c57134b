"""DICOM: what pydicom reads is read, and what is written keeps the rules, the values and the patient's geometry."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from dicom_files import CT, MR, Array, changed, doubled, file, read, written
from dicom_rules import violations
from superscale.errors import Unsupported, install_line
from superscale.image import dicom_geometry, dicom_identity, dicom_writer, formats
from superscale.image.io import (
    Image,
    as_viewed,
    encode,
    encode_with_notices,
    image_size,
    read_image,
    source_of,
    write_image,
)

# Every kind of sample and of compression that lies in pydicom's package.
PICTURES = ["CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"]
PICTURES += [
    "MR_small_jpeg_ls_lossless",
    "693_J2KI",
    "JPEG2000",
    "JPEG-lossy",
    "JPEGLSNearLossless_08",
    "JPEGLSNearLossless_16",
]
PICTURES += ["SC_jpeg_no_color_transform", "SC_rgb_dcmtk_+eb+cr", "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_gdcm_KY"]
PICTURES += ["SC_rgb_jls_lossy_line", "SC_rgb_jpeg_gdcm", "SC_rgb_jpeg_lossy_gdcm", "SC_rgb_rle", "SC_rgb_rle_16bit"]
PICTURES += ["SC_rgb_rle_32bit", "SC_rgb_small_odd", "SC_ybr_full_422_uncompressed", "GDCMJ2K_TextGBR", "examples_overlay"]
PICTURES += ["examples_palette", "image_dfl", "J2K_pixelrep_mismatch", "rtdose_1frame"]


@pytest.mark.parametrize("name", PICTURES)
def test_samples_are_those_that_pydicom_decodes(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file(name))
        expected = dataset.pixel_array
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            expected = (apply_color_lut(expected, dataset) / 257).round().astype(np.uint8)
    pixels = read_image(file(name)).pixels
    assert pixels.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(pixels.squeeze(), expected.squeeze())
    assert image_size(file(name)) == (dataset.Columns, dataset.Rows)


def test_lossless_compressions_give_the_samples_of_the_uncompressed_file() -> None:
    expected = np.frombuffer(read(MR).PixelData, "<i2").reshape(64, 64, 1)
    for name in ("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_bigendian", "MR_small_padded"):
        np.testing.assert_array_equal(read_image(file(name)).pixels, expected)


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_written_breaks_no_rule_that_the_source_keeps(name: str) -> None:
    image = doubled(read_image(file(name)))
    result = read(encode(image, ".dcm"))
    assert violations(result) <= violations(read(file(name)))
    assert (result.Rows, result.Columns) == (image.height, image.width)
    np.testing.assert_array_equal(result.pixel_array.squeeze(), image.pixels.squeeze())
    assert read_image(encode(image, ".dcm")).pixels.dtype == image.pixels.dtype


@pytest.mark.parametrize("source", [CT, MR])
def test_the_derived_image_says_what_it_is(source: Path, tmp_path: Path) -> None:
    before = read(source)
    image = read_image(source)
    write_image(tmp_path / "a.dcm", doubled(image))
    after = read(tmp_path / "a.dcm")
    assert not violations(after)
    assert after.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert after.ImageType[2:] == before.ImageType[2:]
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert (after.StudyInstanceUID, after.PatientID) == (before.StudyInstanceUID, before.PatientID)
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert "superscale" in after.DerivationDescription
    assert after.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert source_of(tmp_path / "a.dcm") is None
    (tmp_path / "b.dcm").write_bytes(encode_with_notices(doubled(image), ".dcm", source="0123456789abcdef")[0])
    assert not violations(read(tmp_path / "b.dcm"))
    assert source_of(tmp_path / "b.dcm") == "0123456789abcdef"
    assert source_of(source) is None
    again = read(encode(doubled(image), ".dcm"))
    assert (again.SeriesInstanceUID, again.SOPInstanceUID == after.SOPInstanceUID) == (after.SeriesInstanceUID, False)
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "FrameOfReferenceUID", "PatientName"):
        assert after.get(keyword) == before.get(keyword)


def test_every_attribute_that_is_named_here_is_one_of_the_standard() -> None:
    named = {*dicom_identity.EMPTIED, *dicom_identity.REMOVED, *dicom_identity.REQUIRED_DATES, *dicom_writer.STALE}
    named |= {
        *dicom_geometry.SPACINGS,
        *dicom_geometry.COLUMNS,
        *dicom_geometry.ROWS,
        *dicom_geometry.POINTS,
        *dicom_geometry.RADII,
    }
    assert [keyword for keyword in sorted(named) if pydicom.datadict.tag_for_keyword(keyword) is None] == []


def corners(dataset: Any) -> Array:
    """The outer corners of an image in the patient's millimetres (PS3.3, C.7.6.2.1.1)."""
    origin, spacing = np.array(dataset.ImagePositionPatient, float), np.array(dataset.PixelSpacing, float)
    across = np.array(dataset.ImageOrientationPatient[:3], float) * spacing[1]
    down = np.array(dataset.ImageOrientationPatient[3:], float) * spacing[0]
    ends = [
        (-0.5, -0.5),
        (-0.5, dataset.Columns - 0.5),
        (dataset.Rows - 0.5, -0.5),
        (dataset.Rows - 0.5, dataset.Columns - 0.5),
    ]
    return np.array([origin + row * down + column * across for row, column in ends])


@pytest.mark.parametrize("size", [(256, 256), (320, 320), (100, 333)])
def test_the_enlarged_image_covers_the_same_part_of_the_patient(size: tuple[int, int]) -> None:
    image = read_image(changed(ImageOrientationPatient=[0.8, 0.6, 0, 0, 0, -1], PixelSpacing=["0.5", "0.75"]))
    larger = image.with_pixels(np.resize(image.pixels, (*size, 1)), None)
    np.testing.assert_allclose(corners(read(encode(larger, ".dcm"))), corners(image.metadata.dicom), atol=1e-4)


def test_pixels_and_millimetres_of_other_kinds_are_scaled() -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMaxX1, region.PhysicalDeltaX = 10, 19, 0.04
    region.PhysicalUnitsXDirection = 3
    region.ReferencePixelX0, region.ReferencePixelPhysicalValueX = 3, 1.0
    source = changed(
        ImagerPixelSpacing=[0.2, 0.1],
        NominalScannedPixelSpacing=[0.4, 0.3],
        ShutterLeftVerticalEdge=3,
        CenterOfCircularShutter=[10, 20],
        RadiusOfCircularShutter=5,
        SequenceOfUltrasoundRegions=[region],
    )
    after = read(encode(doubled(read_image(source)), ".dcm"))
    assert after.ImagerPixelSpacing == [0.1, 0.05]
    assert after.NominalScannedPixelSpacing == [0.2, 0.15]
    # The centre of pixel 3, counted from 1, lies 2.5 pixels from the edge: 5 of the new ones, where the 5th and the 6th meet.
    assert after.ShutterLeftVerticalEdge in (5, 6)
    assert after.RadiusOfCircularShutter == 10
    assert after.CenterOfCircularShutter[1] in (39, 40)
    region = after.SequenceOfUltrasoundRegions[0]
    assert (region.RegionLocationMinX0, region.RegionLocationMaxX1, region.PhysicalDeltaX) == (20, 39, 0.02)
    # 1.0 is where the old pixel 3 has its centre, 3.5 old pixels from the corner: the new pixel's centre is 0.02 a pixel from there.
    assert region.ReferencePixelPhysicalValueX == pytest.approx(1.0 + (region.ReferencePixelX0 + 0.5 - 7) * 0.02)


@pytest.mark.parametrize(("stored", "signed", "least", "most"), [(12, 0, 0, 4095), (12, 1, -2048, 2047), (16, 0, 0, 65535)])
def test_values_stay_within_the_stored_bits(stored: int, signed: int, least: int, most: int) -> None:
    samples = np.full((8, 8), most, np.int16 if signed else np.uint16)
    bits = {"BitsStored": stored, "HighBit": stored - 1, "PixelRepresentation": signed}
    source = read(changed(samples, **bits))
    del source.PixelPaddingValue
    image = read_image(written(source))
    beyond = np.array([[image.pixels.dtype.type(np.iinfo(image.pixels.dtype).min), np.iinfo(image.pixels.dtype).max]] * 2)
    after = read(encode(image.with_pixels(beyond[..., None].astype(image.pixels.dtype), None), ".dcm"))
    assert after.pixel_array.tolist() == [[least, most]] * 2
    assert (after.BitsStored, after.HighBit, after.PixelRepresentation) == (stored, stored - 1, signed)


def test_bits_that_are_not_stored_are_no_part_of_the_values() -> None:
    samples = np.arange(64, dtype=np.uint16).reshape(8, 8)
    source = changed(samples | 0xF000, BitsStored=12, HighBit=11, PixelRepresentation=0)
    np.testing.assert_array_equal(read_image(source).pixels[..., 0], samples)


def test_stored_bits_that_are_not_the_lowest_are_refused() -> None:
    samples = np.arange(64, dtype=np.uint16).reshape(8, 8) << 6
    with pytest.raises(Unsupported, match="of 12 the highest is 15"):
        read_image(changed(samples << 4, BitsStored=12, HighBit=15, PixelRepresentation=0))


def test_a_spacing_that_is_not_of_two_sides_is_no_damage() -> None:
    assert read_image(changed(PixelSpacing=0.5)).metadata.dpi is None


def test_padding_values_are_no_data() -> None:
    samples = np.full((8, 8), 500, np.int16)
    samples[:2] = -2000
    assert read(CT).PixelPaddingValue == -2000
    valid = read_image(changed(samples)).valid()
    assert valid is not None
    np.testing.assert_array_equal(valid[..., 0], samples != -2000)
    samples[2] = -1990
    image = read_image(changed(samples, PixelPaddingRangeLimit=-1980))
    valid = image.valid()
    assert valid is not None
    np.testing.assert_array_equal(valid[..., 0], samples == 500)
    # A value with data that falls among them is the next beyond.
    result = read(encode(image.with_pixels(np.full((8, 8, 1), -1995, np.int16), None), ".dcm")).pixel_array
    assert np.unique(result[3:]).tolist() == [-1979]
    assert np.unique(result[:3]).tolist() == [-1995]


def test_the_range_is_that_of_the_stored_bits_where_they_are_used() -> None:
    dark, bright = np.full((8, 8), 300, np.uint16), np.full((8, 8), 4000, np.uint16)
    bits: Any = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
    assert read_image(changed(dark, **bits)).metadata.stated_range is None
    assert read_image(changed(bright, **bits)).metadata.stated_range == (0.0, 4095.0)
    told = changed(dark, **bits, SmallestImagePixelValue=7, LargestImagePixelValue=3000)
    assert read_image(told).metadata.stated_range is None
    after = read(encode(doubled(read_image(told)), ".dcm"))
    assert "SmallestImagePixelValue" not in after


def test_identity_is_removed_on_request_and_ids_stay_consistent() -> None:
    nested = Dataset()
    nested.PatientID, nested.ReferencedSOPInstanceUID, nested.ReferencedSOPClassUID = (
        "X1",
        "1.2.3.4",
        "1.2.840.10008.5.1.4.1.1.2",
    )
    source = changed(
        PatientName="Doe^Jane",
        PatientBirthDate="19700101",
        InstitutionName="St. Elsewhere",
        ImageComments="Jane's knee",
        OperatorsName="Roe",
        ReferencedImageSequence=[nested],
        DerivationDescription="made for Jane Doe",
        AccessionNumber="A-77",
    )
    image = doubled(read_image(source))
    result = encode(image, ".dcm", metadata="strip")
    after = read(result)
    assert not violations(after)
    for secret in (
        b"Doe",
        b"Jane",
        b"Roe",
        b"Elsewhere",
        b"A-77",
        b"1CT1",
        b"19700101",
        b"20040119",
        b"19970430",
        b"X1",
        b"GEMS",
        b"JFK",
    ):
        assert secret not in result.replace(image.pixels.tobytes(), b""), secret
    assert (after.PatientName, after.PatientBirthDate, after.AccessionNumber) == ("", "", "")
    assert after.PatientIdentityRemoved == "YES"
    assert "PS3.15" in after.DeidentificationMethod
    before = read(source)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert after[keyword].value != before[keyword].value
    again = read(encode(image, ".dcm", metadata="strip"))
    assert again.StudyInstanceUID == after.StudyInstanceUID
    assert after.ReferencedImageSequence[0].ReferencedSOPInstanceUID not in ("1.2.3.4", "")
    assert after.ReferencedImageSequence[0].ReferencedSOPClassUID.name == "CT Image Storage"
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID != before.SOPInstanceUID
    assert (after.Modality, after.RescaleIntercept, after.PixelSpacing[0]) == ("CT", -1024, before.PixelSpacing[0] / 2)
    assert read_image(result).metadata.dicom.PatientID == ""


def test_lossy_compression_is_kept_as_told_and_told_where_it_was_not() -> None:
    assert read(encode(read_image(file("JPEG-lossy")), ".dcm")).LossyImageCompression == "01"
    source = read(file("SC_rgb_jpeg_dcmtk"))
    for keyword in ("LossyImageCompression", "LossyImageCompressionMethod", "LossyImageCompressionRatio"):
        if keyword in source:
            delattr(source, keyword)
    after = read(encode(read_image(written(source)), ".dcm"))
    assert (after.LossyImageCompression, after.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert "LossyImageCompression" not in read(encode(read_image(MR), ".dcm"))


def test_colours_are_written_as_rgb_and_overlays_left_out_with_a_note() -> None:
    data, notices = encode_with_notices(doubled(read_image(file("examples_palette"))), ".dcm")
    after = read(data)
    assert (after.PhotometricInterpretation, after.SamplesPerPixel, after.BitsAllocated) == ("RGB", 3, 8)
    assert "RedPaletteColorLookupTableData" not in after
    assert any("palette" in notice for notice in notices)
    data, notices = encode_with_notices(doubled(read_image(file("examples_overlay"))), ".dcm")
    assert not any(element.tag.group == 0x6000 for element in read(data))
    assert any("overlays" in notice for notice in notices)


def test_a_viewer_shows_the_window() -> None:
    values = np.array([[0, 1024 - 160, 1024 + 40, 1024 + 239, 3000]], np.int16)
    source = changed(values, WindowCenter=40, WindowWidth=400)
    shown = as_viewed(read_image(source)).pixels[0, :, 0].tolist()
    # ((x - (c - 0.5)) / (w - 1) + 0.5) * 255, x in Hounsfield units (PS3.3, C.11.2.1.2.1)
    assert shown == [0, 0, round((0.5 / 399 + 0.5) * 255), 255, 255]
    turned = as_viewed(read_image(changed(values, WindowCenter=40, WindowWidth=400, PhotometricInterpretation="MONOCHROME1")))
    assert turned.pixels[0, :, 0].tolist() == [255 - value for value in shown]
    data, notices = encode_with_notices(read_image(source), ".png")
    assert read_image(data).pixels[0, :, 0].tolist() == shown
    assert any("no longer measurements" in notice for notice in notices)


def test_tiff_keeps_stored_values_and_says_how_they_become_measured_ones(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image = read_image(CT)
    write_image(tmp_path / "a.tif", doubled(image))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it lies nowhere on the ground
        with rasterio.open(tmp_path / "a.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), image.pixels[..., 0].repeat(2, 0).repeat(2, 1))
            assert (raster.scales, raster.offsets, raster.nodata) == ((1.0,), (-1024.0,), -2000)
    dpi = read_image(tmp_path / "a.tif").metadata.dpi
    assert dpi is not None
    assert 25.4 / dpi[0] == pytest.approx(0.661468 / 2, rel=1e-5)


def test_a_tiff_says_that_it_lacks_the_table_of_measured_values() -> None:
    dataset = read(CT)
    table = Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [2, 0, 16], bytes([5, 0, 7, 0]), "HU"
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.ModalityLUTSequence = [table]
    for suffix, told in ((".tif", True), (".dcm", False)):
        notices = encode_with_notices(doubled(read_image(written(dataset))), suffix)[1]
        assert any("ModalityLUTSequence" in notice for notice in notices) is told


def test_only_dicom_becomes_dicom() -> None:
    with pytest.raises(Unsupported, match="which patient"):
        encode(Image(np.zeros((4, 4, 1), np.uint8)), ".dcm")


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    for module in ("dicom", "dicom_frames", "dicom_writer", "dicom_geometry", "dicom_identity"):
        monkeypatch.delitem(__import__("sys").modules, f"superscale.image.{module}", raising=False)
    with pytest.raises(Unsupported, match=re.escape(f"DICOM needs an extra: {install_line('medical')}")):
        read_image(CT)
    paths = [Path(name) for name in ("a.dcm", "b.DCM", "c.mp4", ".hidden", "d.txt", "e.txt", "e.png")]
    passed = formats.counted(path for path in paths if not formats.is_taken(path))
    assert passed == f"2 .dcm ({install_line('medical')}), 2 .txt, 1 .mp4 (of videos, only those that are named are taken)"
