"""DICOM: what pydicom reads is read, and what is written keeps the rules, the values and the patient's geometry."""

from __future__ import annotations

import copy
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_color_lut

from dicom_rules import violations
from superscale.errors import Damaged, ImageError, Unsupported, install_line
from superscale.image import dicom_geometry, dicom_identity, dicom_writer, formats
from superscale.image.dicom import DicomPages
from superscale.image.dicom_writer import DicomWriter
from superscale.image.geo import GDAL_METADATA
from superscale.image.io import (
    Image,
    as_viewed,
    encode,
    encode_with_notices,
    image_size,
    open_stack,
    read_image,
    source_of,
    write_image,
)

Array = NDArray[Any]
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT, MR = FILES / "CT_small.dcm", FILES / "MR_small.dcm"
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


def file(name: str) -> Path:
    return FILES / f"{name}.dcm"


def read(path: Path | bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(path) if isinstance(path, bytes) else path)
        for _ in dataset.iterall():
            pass
        return dataset


def doubled(image: Image) -> Image:
    return image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)


def written(dataset: Any) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(stream)
    return stream.getvalue()


def changed(pixels: Array | None = None, source: Path = CT, **attributes: Any) -> bytes:
    """A file of pydicom's with other attributes and samples."""
    dataset = read(source)
    for keyword, value in attributes.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        kind = pydicom.datadict.dictionary_VR(keyword)
        signed = "SS" if dataset.PixelRepresentation else "US"
        dataset.add_new(tag, signed if kind == "US or SS" else kind, value)
    if pixels is not None:
        dataset.Rows, dataset.Columns = pixels.shape[-2:]
        dataset.PixelData = pixels.tobytes()
    return written(dataset)


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


def test_only_dicom_becomes_dicom() -> None:
    with pytest.raises(Unsupported, match="which patient"):
        encode(Image(np.zeros((4, 4, 1), np.uint8)), ".dcm")


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


def test_without_pydicom_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    for module in ("dicom", "dicom_frames", "dicom_writer", "dicom_geometry", "dicom_identity"):
        monkeypatch.delitem(__import__("sys").modules, f"superscale.image.{module}", raising=False)
    with pytest.raises(Unsupported, match=re.escape(f"DICOM needs an extra: {install_line('medical')}")):
        read_image(CT)
    paths = [Path(name) for name in ("a.dcm", "b.DCM", "c.mp4", ".hidden", "d.txt", "e.txt", "e.png")]
    passed = formats.counted(path for path in paths if not formats.is_taken(path))
    assert passed == f"2 .dcm ({install_line('medical')}), 2 .txt, 1 .mp4 (of videos, only those that are named are taken)"
