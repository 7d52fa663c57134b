"""Profile, orientation, EXIF, XMP, dpi, text and place on the ground; read back by Pillow, tifffile and littleCMS itself."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, ImageCms, TiffImagePlugin
from PIL import Image as Pillow

from superscale.image.io import Image, Metadata, decode, encode, encode_with_notices, read_image

Array = NDArray[Any]
SUFFIXES = [".png", ".jpg", ".webp", ".tiff"]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a creator="me"/></x:xmpmeta>'


def saved(picture: Pillow.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def profile(space: bytes, *tags: tuple[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """An ICC version 2 profile put together by hand (ICC.1:2001-04, sections 6.1 to 6.5)."""
    places, body = b"", b""
    for name, content in tags:
        places += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    white = struct.pack(">3i", 63190, 65536, 54061)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = (
        struct.pack(">I", 132 + len(places) + len(body)) + bytes(4) + struct.pack(">I", 0x02400000) + kind + space + connection
    )
    head += bytes(12) + b"acsp" + bytes(28) + white + bytes(48)
    return head + struct.pack(">I", len(tags)) + places + body


def text(words: bytes) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(words) + 1) + words + bytes(1 + 4 + 4 + 2 + 1 + 67)


WHITE_POINT = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)


def grey_profile() -> bytes:
    """Linear light: grey 128 means half as much light as white, which sRGB writes as 188."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    return profile(b"GRAY", (b"desc", text(b"linear grey")), (b"wtpt", WHITE_POINT), (b"kTRC", curve))


def cmyk_profile() -> bytes:
    """Inks that mean the reverse of what the plain formula makes of them: cyan alone is a light red, no ink a mid grey."""
    corners = []
    for number in range(16):
        cyan, magenta, yellow, black = (number >> bit & 1 for bit in (3, 2, 1, 0))
        lightness = 60 + 20 * cyan - 50 * black
        corners += [lightness * 255 // 100, 128 + 60 * cyan - 40 * magenta, 128 + 50 * yellow]
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += ramp * 4 + bytes(corners) + ramp * 3
    return profile(b"CMYK", (b"desc", text(b"odd inks")), (b"wtpt", WHITE_POINT), (b"A2B0", lut), connection=b"Lab ")


@lru_cache(maxsize=1)
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_profile_is_in_the_written_file(suffix: str, dtype: type) -> None:
    data = encode(Image(np.zeros((4, 4, 3), dtype), None, Metadata(icc_profile=srgb())), suffix)
    with Pillow.open(io.BytesIO(data)) as written:
        assert written.info["icc_profile"] == srgb()
    assert read_image(data).metadata.icc_profile == srgb()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_grey_profile_stays_with_grey(suffix: str) -> None:
    source = saved(Pillow.new("L", (4, 4), 128), "PNG", icc_profile=grey_profile())
    data, notices = encode_with_notices(read_image(source), suffix)
    assert notices == ()
    with Pillow.open(io.BytesIO(data)) as written:
        assert written.mode == "L"
        assert written.info["icc_profile"] == grey_profile()


def test_grey_profile_is_applied_where_a_format_knows_no_grey() -> None:
    image = read_image(saved(Pillow.new("L", (16, 16), 128), "PNG", icc_profile=grey_profile()))
    with Pillow.open(io.BytesIO(encode(image, ".webp", quality=100))) as written:
        assert written.info["icc_profile"][16:20] == b"RGB "
        pixels = np.asarray(written.convert("RGB")).astype(int)
    # IEC 61966-2-1: 1.055 * (128/255)**(1/2.4) - 0.055 = 0.7366 -> 188
    np.testing.assert_allclose(pixels, 188, atol=2)


def test_profile_of_another_colour_space_is_left_out_with_a_notice() -> None:
    image = read_image(saved(Pillow.new("L", (4, 4)), "PNG", icc_profile=srgb()))
    assert image.metadata.icc_profile is None
    assert any("does not fit" in notice for notice in image.notices)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_its_profile_and_tagged_srgb(form: str) -> None:
    inks = Pillow.new("CMYK", (16, 16), (255, 0, 0, 0))
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    image = read_image(saved(inks, form, icc_profile=cmyk_profile(), **options))
    # littleCMS in another library's hands; cyan would be (0, 255, 255) by the plain formula
    expected = imagecodecs.cms_transform(
        np.full((1, 1, 4), (255, 0, 0, 0), np.uint8),
        cmyk_profile(),
        srgb(),
        colorspace="cmyk",
        outcolorspace="rgb",
        intent=1,
        flags=0x2000,
    )
    assert expected[0, 0, 0] > expected[0, 0, 1] + 50
    np.testing.assert_allclose(image.pixels.astype(int), np.broadcast_to(expected, (16, 16, 3)), atol=2)
    assert image.metadata.icc_profile[16:20] == b"RGB "
    assert image.notices == ()


def test_cmyk_without_profile_is_converted_plainly_and_says_so() -> None:
    image = read_image(saved(Pillow.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF"))
    assert image.pixels[0, 0].tolist() == [0, 255, 255]
    assert any("without a profile" in notice for notice in image.notices)


@pytest.mark.parametrize("extra", [[], ["unassalpha"]])
def test_sixteen_bit_cmyk_keeps_its_depth_and_its_alpha(extra: list[str]) -> None:
    stream = io.BytesIO()
    samples = np.full((6, 7, 4 + len(extra)), (65535, 0, 13107, 32768, 700)[: 4 + len(extra)], np.uint16)
    tifffile.imwrite(stream, samples, photometric="separated", planarconfig="contig", extrasamples=extra or None)
    image = read_image(stream.getvalue())
    # (1 - ink)(1 - black), by hand: 0, 32767 and 52428 * 32767 / 65535
    assert image.pixels[0, 0].tolist() == [0, 32767, 26214]
    assert (None if image.alpha is None else image.alpha[0, 0]) == (700 if extra else None)


def test_sixteen_bit_cmyk_is_converted_by_its_profile_as_eight_bits_are() -> None:
    inks = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    shallow = read_image(saved(Pillow.fromarray(inks, "CMYK"), "TIFF", icc_profile=cmyk_profile()))
    stream = io.BytesIO()
    tifffile.imwrite(stream, inks.astype(np.uint16) * 257, photometric="separated", iccprofile=cmyk_profile())
    deep = read_image(stream.getvalue())
    np.testing.assert_allclose(deep.pixels / 257, shallow.pixels.astype(float), atol=1.01)
    assert deep.metadata.icc_profile == shallow.metadata.icc_profile


# What must be seen, by the EXIF standard (2.3, tag 274), of [[1, 2, 3], [4, 5, 6]] stored.
SEEN = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize("form", ["png8", "png16", "tiff8", "tiff16", "webp8"])
def test_orientation_is_applied_once_and_its_tag_removed(form: str, orientation: int) -> None:
    stored = np.array(SEEN[1], dtype=np.uint8 if form.endswith("8") else np.uint16)
    stream = io.BytesIO()
    if form.startswith("tiff"):
        tifffile.imwrite(stream, stored, photometric="minisblack", extratags=[(274, "H", 1, orientation, True)])
    else:
        exif = Pillow.Exif()
        exif[274] = orientation
        Pillow.fromarray(stored).save(stream, form.rstrip("0123456789"), exif=exif, lossless=True)
    image = read_image(stream.getvalue())
    assert image.pixels[..., 0].tolist() == SEEN[orientation]
    for suffix in (".png", ".tiff"):
        again = read_image(encode(image, suffix))
        assert again.pixels[..., 0].tolist() == SEEN[orientation]


def test_reading_a_pil_picture_twice_turns_it_twice_the_same_way() -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    data = saved(Pillow.fromarray(np.array(SEEN[1], dtype=np.uint8)), "PNG", exif=exif)
    with Pillow.open(io.BytesIO(data)) as picture:
        assert decode(picture).pixels[..., 0].tolist() == SEEN[6]
        assert decode(picture).pixels[..., 0].tolist() == SEEN[6]
        assert picture.getexif()[274] == 6


def test_orientation_in_xmp_goes_when_it_is_applied() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" a:b="kept"/></x:xmpmeta>'
    image = read_image(saved(Pillow.new("RGB", (3, 2)), "JPEG", xmp=xmp))
    assert (image.width, image.height) == (2, 3)
    again = read_image(encode(image, ".jpg"))
    assert (again.width, again.height) == (2, 3)
    assert b"kept" in again.metadata.xmp


def photographed() -> bytes:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = 1
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = TiffImagePlugin.IFDRational(1, 125)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 8
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return saved(Pillow.new("RGB", (8, 8)), "JPEG", exif=exif, xmp=XMP, dpi=(300, 300))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_xmp_and_dpi_travel_into_every_format(suffix: str, dtype: type) -> None:
    image = read_image(photographed())
    deep = Image(image.pixels.astype(dtype), None, image.metadata)
    data = encode(deep, suffix)
    with Pillow.open(io.BytesIO(data)) as written:
        exif = written.getexif()
        assert exif[ExifTags.Base.Make] == "Maker"
        assert ExifTags.Base.Orientation not in exif or exif[ExifTags.Base.Orientation] == 1
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == TiffImagePlugin.IFDRational(1, 125)
        # The size of the old picture would be a lie.
        assert ExifTags.Base.ExifImageWidth not in exif.get_ifd(ExifTags.IFD.Exif)
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        if suffix != ".webp":
            assert tuple(float(number) for number in written.info["dpi"]) == pytest.approx((300, 300), abs=0.1)
    again = read_image(data)
    assert again.metadata.xmp == XMP
    assert read_image(encode(again, ".jpg")).metadata.exif == read_image(encode(deep, ".jpg")).metadata.exif


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_stripping_leaves_the_profile_and_nothing_else(suffix: str) -> None:
    image = read_image(photographed())
    image = replace(image, metadata=replace(image.metadata, icc_profile=srgb()))
    data = encode(image, suffix, metadata="strip")
    assert b"Maker" not in data
    assert b"xmpmeta" not in data
    assert read_image(data).metadata.said().keys() - {"dpi"} == {"icc_profile"}


def test_text_of_a_png_is_kept_in_png() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "A. Nonymous")
    info.add_itxt("Title", "Übung")
    image = read_image(saved(Pillow.new("RGB", (4, 4)), "PNG", pnginfo=info))
    for pixels in (image.pixels, image.pixels.astype(np.uint16)):
        with Pillow.open(io.BytesIO(encode(Image(pixels, None, image.metadata), ".png"))) as written:
            written.load()
            assert written.text == {"Author": "A. Nonymous", "Title": "Übung"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("metadata", ["keep", "strip"])
def test_gamma_of_a_png_without_profile_is_kept(dtype: type, metadata: Any) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    image = read_image(saved(Pillow.new("RGB", (4, 4)), "PNG", pnginfo=info))
    data = encode(Image(image.pixels.astype(dtype), None, image.metadata), ".png", metadata=metadata)
    # The chunk as the PNG specification draws it (11.3.2.2), and before the samples.
    assert data.index(b"\0\0\0\x04gAMA" + struct.pack(">I", 100_000)) < data.index(b"IDAT")


@pytest.mark.parametrize("depth", [8, 16])
def test_code_points_of_a_png_with_wide_colours_are_kept_and_their_loss_is_said(depth: int) -> None:
    wide = struct.pack(">I4s4B", 4, b"cICP", 9, 16, 0, 1)  # BT.2020, PQ (ITU-T H.273), full range
    wide += struct.pack(">I", zlib.crc32(wide[4:]))
    plain = encode(Image(np.zeros((4, 5, 3), np.uint8 if depth == 8 else np.uint16)), ".png")
    image = read_image(plain[:33] + wide + plain[33:])  # behind IHDR
    written, notices = encode_with_notices(image, ".png")
    assert written.index(wide) < written.index(b"IDAT")
    assert not notices
    assert any("cICP" in notice for notice in encode_with_notices(image, ".tif")[1])


def test_exif_too_long_for_jpeg_is_left_out_with_a_notice() -> None:
    exif = Pillow.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    image = Image(np.zeros((4, 4, 3), np.uint8), None, Metadata(exif=exif.tobytes()))
    data, notices = encode_with_notices(image, ".jpg")
    assert any("too long" in notice for notice in notices)
    assert read_image(data).pixels.shape == (4, 4, 3)


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = saved(Pillow.new("RGB", (4, 4)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_image(data).pixels.shape == (4, 4, 3)


KEYS = (1, 1, 0, 2, 1024, 0, 1, 2, 1025, 0, 1, 1)


def ground(raster_type: int, tags: list[tuple[Any, ...]]) -> Image:
    keys = (*KEYS[:-1], raster_type)
    stream = io.BytesIO()
    bands = np.zeros((6, 8, 5), np.uint16)
    tifffile.imwrite(
        stream, bands, photometric="minisblack", planarconfig="contig", extratags=[(34735, "H", len(keys), keys, True), *tags]
    )
    image = read_image(stream.getvalue())
    return image.with_pixels(np.zeros((24, 32, 5), np.uint16), None)


@pytest.mark.parametrize("raster_type", [1, 2])
def test_corners_of_an_enlarged_geotiff_stay_where_they_are_on_the_ground(raster_type: int) -> None:
    scale, tie = (10.0, 20.0, 0.0), (2.0, 1.0, 0.0, 5000.0, 7000.0, 0.0)
    big = ground(raster_type, [(33550, "d", 3, scale, True), (33922, "d", 6, tie, True)])
    with tifffile.TiffFile(io.BytesIO(encode(big, ".tif"))) as file:
        tags = file.pages.first.tags
        assert tags[34735].value == (*KEYS[:-1], raster_type)
        assert tags[33550].value == (2.5, 5.0, 0.0)
        new_scale, new_tie = tags[33550].value, tags[33922].value
    # A raster coordinate of the upper left corner of the picture is 0 (PixelIsArea) or -0.5 (PixelIsPoint).
    corner = 0.0 if raster_type == 1 else -0.5
    for size, factor in (((0, 0), 4), ((8, 6), 4)):
        old = [tie[3] + (corner + size[0] - tie[0]) * scale[0], tie[4] - (corner + size[1] - tie[1]) * scale[1]]
        new = [
            new_tie[3] + (corner + size[0] * factor - new_tie[0]) * new_scale[0],
            new_tie[4] - (corner + size[1] * factor - new_tie[1]) * new_scale[1],
        ]
        assert new == pytest.approx(old)


@pytest.mark.parametrize("raster_type", [1, 2])
def test_geographic_transformation_is_scaled_with_the_pixels(raster_type: int) -> None:
    matrix = np.array([[3.0, 1.0, 0.0, 100.0], [0.5, -4.0, 0.0, 900.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    big = ground(raster_type, [(34264, "d", 16, tuple(matrix.ravel()), True), (34737, "s", 0, "WGS 84|", True)])
    with tifffile.TiffFile(io.BytesIO(encode(big, ".tif"))) as file:
        scaled = np.array(file.pages.first.tags[34264].value).reshape(4, 4)
        assert file.pages.first.tags[34737].value == "WGS 84|"
    corner = 0.0 if raster_type == 1 else -0.5
    for column, row in ((0, 0), (8, 0), (3, 6)):
        old = matrix @ (column + corner, row + corner, 0, 1)
        new = scaled @ (column * 4 + corner, row * 4 + corner, 0, 1)
        np.testing.assert_allclose(new, old)
