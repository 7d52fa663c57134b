"""What rasterio (GDAL) writes is read as it means it, and what is written is read by it again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.rpc import RPC
from rasterio.transform import RPCTransformer

from scene_files import write
from superscale.errors import ImageError
from superscale.image.holes import nearest, without_false_holes
from superscale.image.io import Image, Metadata, encode, encode_with_notices, read_image

Array = NDArray[Any]
HEIGHT, WIDTH = 24, 32


def bands(count: int, dtype: Any, low: int = 100, high: int = 4000) -> Array:
    return np.random.default_rng(count).integers(low, high, (count, HEIGHT, WIDTH)).astype(dtype)


def enlarged(path: Path, target: Path, height: int = 60, width: int = 80) -> Image:
    """Written again at another size by nearest neighbour."""
    image = read_image(path)
    target.write_bytes(encode(image.with_pixels(nearest(image.pixels, height, width), None), ".tif"))
    return image


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (60, 80), (77, 101), (11, 17)])
def test_nearest_neighbour_is_that_of_gdal(size: tuple[int, int], tmp_path: Path) -> None:
    samples = bands(1, np.int16)
    with rasterio.open(write(tmp_path / "a.tif", samples)) as file:
        expected = file.read(1, out_shape=size, resampling=Resampling.nearest)
    np.testing.assert_array_equal(nearest(samples[0], *size), expected)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        (np.uint8, 0),
        (np.uint16, 0),
        (np.uint16, 65535),
        (np.int16, -9999),
        (np.int32, -2147483648),
        (np.float32, -9999),
        (np.float32, -3.4028234663852886e38),
        (np.float32, 0.1),
        (np.float64, -1e300),
        (np.float32, np.nan),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_data_is_what_gdal_takes_for_it(count: int, dtype: Any, nodata: float, tmp_path: Path) -> None:
    samples = bands(count, dtype, 1, 200)
    samples[:, 3:7, 4:9] = nodata
    samples[0, 20, 20] = nodata
    source = write(tmp_path / "a.tif", samples, nodata=nodata)
    image = enlarged(source, tmp_path / "b.tif")
    with rasterio.open(source) as file:
        valid = image.valid()
        assert valid is not None
        np.testing.assert_array_equal(np.moveaxis(valid, -1, 0), file.read_masks() > 0)
        expected = file.read_masks(out_shape=(count, 60, 80))
        kept = file.nodata
    with rasterio.open(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.read_masks(), expected)
        assert file.nodata == kept or (np.isnan(file.nodata) and np.isnan(kept))


@pytest.mark.parametrize("nodata", [-9999, 1e40, 0.5, "none"])
def test_a_value_that_the_samples_cannot_have_makes_no_holes(nodata: Any) -> None:
    stream = io.BytesIO()
    tags = [(42113, "s", 0, str(nodata), True)]
    tifffile.imwrite(stream, np.zeros((4, 5), np.uint8), photometric="minisblack", extratags=tags)
    assert read_image(stream.getvalue()).valid() is None


def test_one_black_channel_of_a_coloured_pixel_is_no_hole(tmp_path: Path) -> None:
    samples = bands(3, np.uint8, 1, 255)
    samples[:, 2, 2] = 0
    samples[0, 5, 5] = 0
    source = write(tmp_path / "a.tif", samples, nodata=0, photometric="RGB")
    valid = read_image(source).valid()
    with rasterio.open(source) as file:
        assert valid is not None
        np.testing.assert_array_equal(valid.all(axis=-1), file.dataset_mask() > 0)


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"compress": "lzw"}])
@pytest.mark.parametrize("count", [1, 3])
def test_an_internal_mask_is_read_and_written_again(count: int, options: dict[str, Any], tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[2:9, 5:11] = 0
    source = write(tmp_path / "a.tif", bands(count, np.uint8, 0, 255), mask, **options)
    image = enlarged(source, tmp_path / "b.tif")
    assert image.mask is not None
    np.testing.assert_array_equal(image.mask, mask > 0)
    with rasterio.open(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.dataset_mask() > 0, nearest(mask > 0, 60, 80))
        np.testing.assert_array_equal(
            file.read(), np.stack([nearest(band, 60, 80) for band in np.moveaxis(image.pixels, -1, 0)])
        )
        assert file.profile["tiled"] == ("tiled" in options)


def test_a_mask_beside_a_jpeg_in_a_tiff_is_read(tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:, :7] = 0
    source = write(tmp_path / "a.tif", bands(3, np.uint8, 0, 255), mask, compress="jpeg", photometric="YCBCR")
    image = read_image(source)
    assert image.mask is not None
    np.testing.assert_array_equal(image.mask, mask > 0)


@pytest.mark.parametrize("photometric", ["MINISWHITE", "PALETTE"])
def test_no_data_among_samples_that_change_their_values_becomes_a_mask(photometric: str, tmp_path: Path) -> None:
    samples = bands(1, np.uint8, 1, 200)
    samples[0, 3:5, 4:9] = 0
    source = tmp_path / "a.tif"
    write(source, samples, nodata=0, photometric=photometric)
    image = read_image(source)
    assert image.mask is not None
    np.testing.assert_array_equal(image.mask, samples[0] != 0)
    assert 42113 not in (image.metadata.geo or {})


def four_bands(path: Path, dtype: Any, fourth: Array) -> Image:
    samples = bands(4, dtype, 1, 250)
    samples[3] = fourth
    write(path, samples, photometric="RGB", alpha="unspecified")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    with tifffile.TiffFile(path) as file:
        assert [int(kind) for kind in file.pages.first.extrasamples] == [2]
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, np.moveaxis(samples, 0, -1)[..., : image.channels])
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_near_infrared_that_gdal_tags_as_alpha_is_a_band(dtype: Any, tmp_path: Path) -> None:
    infrared = four_bands(tmp_path / "a.tif", dtype, bands(1, dtype, 0, 250)[0])
    assert infrared.alpha is None
    assert infrared.channels == 4
    assert infrared.metadata.leading_rgb
    assert any("taken for a band" in notice for notice in infrared.notices)
    largest = np.iinfo(dtype).max
    cutout = four_bands(tmp_path / "b.tif", dtype, np.where(bands(1, dtype)[0] % 2, 0, largest))
    assert cutout.alpha is not None
    assert cutout.channels == 3


def test_three_grey_bands_are_no_colours(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", bands(3, np.uint16), photometric="MINISBLACK")
    assert not enlarged(source, tmp_path / "b.tif").has_colours
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
    assert read_image(write(tmp_path / "c.tif", bands(3, np.uint16), photometric="RGB")).has_colours


def coefficients() -> RPC:
    linear = [0.0] * 20
    return RPC(
        height_off=100, height_scale=500, lat_off=45, lat_scale=0.1, long_off=7, long_scale=0.1,
        line_off=12.5, line_scale=12, samp_off=15.5, samp_scale=16,
        line_num_coeff=[0, 0, -1, *linear[3:]], line_den_coeff=[1, *linear[1:]],
        samp_num_coeff=[0, 1, 0, *linear[3:]], samp_den_coeff=[1, *linear[1:]],
        err_bias=0.5, err_rand=0.25,
    )  # fmt: skip


def test_rational_polynomials_put_an_enlarged_picture_on_the_same_ground(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", bands(1, np.uint16), rpcs=coefficients())
    enlarged(source, tmp_path / "b.tif", HEIGHT * 4, WIDTH * 4)
    places: list[Array] = []
    for path, factor in ((source, 1), (tmp_path / "b.tif", 4)):
        with rasterio.open(path) as file, RPCTransformer(file.rpcs) as transformer:
            assert (file.rpcs.err_bias, file.rpcs.lat_off) == (0.5, 45)
            corners = np.array([[0, 0, HEIGHT, 9], [0, WIDTH, WIDTH, 4]]) * factor
            places.append(np.array(transformer.xy(*corners, offset="ul")))
    np.testing.assert_allclose(places[1], places[0], atol=1e-9)


def test_what_gdal_says_of_bands_is_kept_and_what_it_computed_of_the_old_ones_is_not(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", bands(2, np.int16))
    with rasterio.open(source, "r+") as file:
        file.scales, file.offsets = (0.5, 2.0), (1.0, -3.0)
        file.set_band_description(1, "near infrared")
        file.update_tags(1, STATISTICS_MEAN="7", sun="low")
    enlarged(source, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as file:
        assert (file.scales, file.offsets) == ((0.5, 2.0), (1.0, -3.0))
        assert file.descriptions[0] == "near infrared"
        assert file.tags(1) == {"sun": "low"}


@pytest.mark.parametrize(("dtype", "nodata"), [(np.uint8, None), (np.int16, -9999), (np.float32, np.nan)])
def test_a_picture_with_overviews_has_as_many_again_averages_of_what_holds_data(
    dtype: Any, nodata: float | None, tmp_path: Path
) -> None:
    samples = bands(2, dtype, 1, 120)
    if nodata is not None:
        samples[:, 5:11, 4:9] = nodata
        samples[0, 20, 20] = nodata
    source = write(tmp_path / "a.tif", samples, nodata=nodata)
    with rasterio.open(source, "r+") as file:
        file.build_overviews([2, 4], Resampling.average)
    assert enlarged(source, tmp_path / "b.tif", HEIGHT * 2, WIDTH * 2).notices == ()
    with rasterio.open(tmp_path / "b.tif") as file, rasterio.open(tmp_path / "c.tif", "w", **file.profile) as again:
        assert file.overviews(1) == [2, 4]
        again.write(file.read())
    with rasterio.open(tmp_path / "c.tif", "r+") as again:
        again.build_overviews([2], Resampling.average)
    with (
        rasterio.open(tmp_path / "b.tif", overview_level=0) as got,
        rasterio.open(tmp_path / "c.tif", overview_level=0) as gdal,
    ):
        np.testing.assert_array_equal(got.read_masks(), gdal.read_masks())
        np.testing.assert_allclose(got.read(), gdal.read(), atol=1e-4 if dtype is np.float32 else 1)


def test_overviews_of_a_masked_picture_have_masks(tmp_path: Path) -> None:
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[4:9, 5:11] = 0
    source = write(tmp_path / "a.tif", bands(3, np.uint8), mask, photometric="RGB")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as file:
        file.build_overviews([2], Resampling.average)
    enlarged(source, tmp_path / "b.tif", HEIGHT * 2, WIDTH * 2)
    with rasterio.open(tmp_path / "b.tif", overview_level=0) as file:
        np.testing.assert_array_equal(file.dataset_mask(), mask)


def test_a_raw_file_of_a_camera_whose_preview_comes_first_is_refused() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.zeros((10, 12, 3), np.uint8), photometric="rgb", subfiletype=1, subifds=1)
        writer.write(np.zeros((40, 50), np.uint16), photometric="minisblack", subfiletype=0)
    with pytest.raises(ImageError, match="raw files of cameras"):
        read_image(stream.getvalue())


def test_a_preview_of_another_kind_is_left_out_with_a_notice() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.zeros((40, 50), np.uint16), photometric="minisblack")
        writer.write(np.zeros((10, 12, 3), np.uint8), photometric="rgb", subfiletype=1)
    assert read_image(stream.getvalue()).notices == ("its previews were left out",)


@pytest.mark.parametrize(("codes", "kind"), [((340, 341), "h"), ((280, 281), "H"), ((340, 341), "B")])
def test_stated_values_are_read_and_written_again(codes: tuple[int, int], kind: str) -> None:
    stream = io.BytesIO()
    low, high = {"h": (-1024, 3071), "H": (0, 3071), "B": (3, 200)}[kind]
    tags = [(codes[0], kind, 1, low, True), (codes[1], kind, 1, high, True)]
    tifffile.imwrite(stream, np.zeros((4, 5), np.uint8 if kind == "B" else np.int16), photometric="minisblack", extratags=tags)
    image = read_image(stream.getvalue())
    assert image.metadata.stated_range == (low, high)
    assert read_image(encode(image, ".tif")).metadata.stated_range == (low, high)


def test_calibration_of_imagej_follows_the_pixels() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((6, 8), np.uint16), imagej=True, resolution=(5.0, 2.5), metadata={"unit": "um"})
    image = read_image(stream.getvalue())
    data = encode(image.with_pixels(np.zeros((24, 32, 1), np.uint16), None), ".tif")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["unit"] == "um"
        assert page.tags[296].value == 1
        # 4 times as many pixels in the same micrometre
        assert [above / below for above, below in (page.tags[282].value, page.tags[283].value)] == [20, 10]


def test_descriptions_of_the_old_size_are_left_out_and_ome_xml_is_brought_up_to_date() -> None:
    for options in ({}, {"ome": True}):
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.zeros((6, 8), np.uint16), photometric="minisblack", **options)  # type: ignore[arg-type]
        image = read_image(stream.getvalue())
        larger = image.with_pixels(np.zeros((12, 16, 1), np.uint16), None)
        with tifffile.TiffFile(io.BytesIO(encode(larger, ".tif"))) as file:
            assert (270 in file.pages.first.tags) == ("ome" in options)
            assert not options or 'SizeX="16" SizeY="12"' in str(file.ome_metadata)
        assert not image.notices


def test_a_sample_that_happens_to_have_the_value_of_no_data_gets_the_next_one() -> None:
    pixels = np.array([[[0], [0], [5]]], np.uint16)
    valid = np.array([[[False], [True], [True]]])
    assert without_false_holes(pixels, {42113: "0"}, valid, False, 2.5).ravel().tolist() == [0, 1, 5]
    floats = np.array([[[-9999.0], [-20000.0]]], np.float32)
    changed = without_false_holes(floats, {42113: "-9999"}, None, False, -20000.0)
    assert changed[0, 0, 0] == np.nextafter(np.float32(-9999), np.float32(-20000))


def test_holes_are_transparent_where_a_format_knows_no_other_way() -> None:
    pixels = np.array([[[7], [0], [9]]], np.uint16)
    image = Image(pixels, None, Metadata(geo={42113: "0"}))
    data, notices = encode_with_notices(image, ".png")
    again = read_image(data)
    assert again.alpha is not None
    assert again.alpha.tolist() == [[65535, 0, 65535]]
    assert any("transparent" in notice for notice in notices)
    with pytest.raises(ImageError, match="int16 can only be written as TIFF"):
        encode(Image(np.zeros((2, 2, 1), np.int16)), ".png")


def test_stripping_metadata_keeps_what_is_no_data() -> None:
    image = Image(np.zeros((2, 3, 1), np.int16), None, Metadata(geo={42113: "0", 33550: (1.0, 1.0, 0.0)}))
    with tifffile.TiffFile(io.BytesIO(encode(image, ".tif", metadata="strip"))) as file:
        assert 33550 not in file.pages.first.tags
        assert file.pages.first.tags[42113].value == "0"
