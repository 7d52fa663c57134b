"""Pictures as other programs write them: read against hand-packed bytes, other decoders or the colour science of a textbook."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from superscale.errors import ImageError
from superscale.image.io import encode, read_image

Array = NDArray[Any]
HEIGHT, WIDTH = 29, 37
# Adam7 (PNG, section 8.2): first row, first column, step down, step across of each pass.
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def drawn(channels: int, below: int = 256, dtype: Any = np.uint8) -> Array:
    return np.random.default_rng(channels).integers(0, below, (HEIGHT, WIDTH, channels)).astype(dtype)


def saved(picture: Pillow.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def interlaced(samples: Array, kind: int, depth: int, *chunks: bytes) -> bytes:
    """A PNG of seven passes put together by hand."""
    rows = []
    for top, left, down, across in PASSES:
        for row in samples[top::down, left::across]:
            if not row.size:
                continue
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            else:
                packed = np.packbits((row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1).tobytes()
            rows.append(b"\0" + packed)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, kind, 0, 0, 1)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_interlaced_grey_png_of_every_depth(depth: int) -> None:
    samples = drawn(1, 2**depth, np.uint16 if depth == 16 else np.uint8)
    expected = samples if depth >= 8 else samples.astype(int) * 255 // (2**depth - 1)
    np.testing.assert_array_equal(read_image(interlaced(samples, 0, depth)).pixels, expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_interlaced_palette_png_with_transparency(depth: int) -> None:
    palette = np.random.default_rng(depth).integers(0, 256, (2**depth, 3), dtype=np.uint8)
    shares = np.random.default_rng(9).integers(0, 256, 2**depth, dtype=np.uint8)
    indices = drawn(1, 2**depth)
    extra = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", shares.tobytes())
    image = read_image(interlaced(indices, 3, depth, *extra))
    np.testing.assert_array_equal(image.pixels, palette[indices[..., 0]])
    np.testing.assert_array_equal(image.alpha, shares[indices[..., 0]])


@pytest.mark.parametrize("kind", [2, 6])
def test_interlaced_sixteen_bit_png_whose_significant_bits_are_fewer(kind: int) -> None:
    samples = drawn(3 if kind == 2 else 4, 65536, np.uint16)
    image = read_image(interlaced(samples, kind, 16, chunk(b"sBIT", bytes([12] * samples.shape[2]))))
    np.testing.assert_array_equal(image.pixels, samples[..., :3])
    assert (image.alpha is not None) == (kind == 6)


def bitmap(bits: int, body: bytes, masks: tuple[int, ...], height: int) -> bytes:
    """A BMP with a header of version 4, as Windows draws it: blue first, from the bottom unless the height is negative."""
    header = struct.pack("<IiiHHIIiiII", 108, WIDTH, height, 1, bits, 3, len(body), 2835, 2835, 0, 0)
    header += struct.pack("<4I", *masks) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


@pytest.mark.parametrize("top_down", [True, False])
def test_bmp_with_alpha_from_the_top_or_from_the_bottom(top_down: bool) -> None:
    samples = drawn(4)
    stored = samples[..., [2, 1, 0, 3]] if top_down else samples[::-1, :, [2, 1, 0, 3]]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    image = read_image(bitmap(32, stored.tobytes(), masks, -HEIGHT if top_down else HEIGHT))
    np.testing.assert_array_equal(image.pixels, samples[..., :3])
    np.testing.assert_array_equal(image.alpha, samples[..., 3])


def test_bmp_of_five_and_six_bits_spans_black_to_white() -> None:
    samples = drawn(3)
    packed = (samples[..., 0] >> 3).astype("<u2") << 11 | (samples[..., 1] >> 2).astype("<u2") << 5 | samples[..., 2] >> 3
    rows = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in packed.astype("<u2"))
    pixels = read_image(bitmap(16, rows, (0xF800, 0x07E0, 0x001F, 0), -HEIGHT)).pixels
    expected = np.dstack([(samples[..., n] >> 8 - bits) * (255 / (2**bits - 1)) for n, bits in enumerate((5, 6, 5))])
    np.testing.assert_allclose(pixels.astype(float), expected, atol=1)


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"subsampling": "4:1:1"},
        {"subsampling": "4:2:0", "restart_marker_rows": 1},
        {"keep_rgb": True},
    ],
)
def test_jpeg_of_every_kind_behind_any_name(options: dict[str, Any], tmp_path: Any) -> None:
    data = saved(Pillow.fromarray(drawn(3)), "JPEG", quality=90, **options)
    path = tmp_path / "named.png"
    path.write_bytes(data)
    other = imagecodecs.jpeg8_decode(data, outcolorspace="RGB")
    np.testing.assert_allclose(read_image(path).pixels.astype(int), other.astype(int), atol=1)


def test_inverted_inks_of_an_adobe_jpeg_are_turned_over() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[..., 0] = 255
    data = saved(Pillow.fromarray(inks, "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data
    # Cyan alone, which Adobe stores as its opposite.
    np.testing.assert_allclose(read_image(data).pixels[8, 8].astype(int), (0, 255, 255), atol=2)


@pytest.mark.parametrize("interlace", [0, 1])
def test_gif_is_read_as_another_decoder_reads_it(interlace: int) -> None:
    data = saved(Pillow.fromarray(drawn(3)).quantize(30), "GIF", interlace=interlace)
    np.testing.assert_array_equal(read_image(data).pixels, imagecodecs.gif_decode(data))


def test_lossless_webp_keeps_colours_and_alpha() -> None:
    samples = drawn(4)
    image = read_image(saved(Pillow.fromarray(samples), "WEBP", lossless=True, exact=True))
    np.testing.assert_array_equal(image.pixels, samples[..., :3])
    np.testing.assert_array_equal(image.alpha, samples[..., 3])


@pytest.mark.parametrize("compression", ["jpeg", "webp", "packbits", "lzw", "zstd", "deflate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiff_of_every_compression_is_read_as_tifffile_reads_it(compression: str, tile: Any) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, drawn(3), photometric="rgb", compression=compression, tile=tile)
    np.testing.assert_array_equal(read_image(stream.getvalue()).pixels, tifffile.imread(io.BytesIO(stream.getvalue())))


def srgb_of_lab(lab: Array) -> Array:
    """CIE 15 from Lab to XYZ under D50, Bradford to D65 (Lindbloom's matrix), IEC 61966-2-1 to sRGB of 8 bits."""
    lightness = (lab[..., 0] + 16) / 116
    ratios = np.stack((lightness + lab[..., 1] / 500, lightness, lightness - lab[..., 2] / 200), axis=-1)
    xyz = np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29)) * (0.96422, 1, 0.82521)
    adapted = np.array(
        ((0.9555766, -0.0230393, 0.0631636), (-0.0282895, 1.0099416, 0.0210077), (0.0122982, -0.020483, 1.3299098))
    )
    to_rgb = np.array(
        ((3.2404542, -1.5371385, -0.4985314), (-0.969266, 1.8760108, 0.041556), (0.0556434, -0.2040259, 1.0572252))
    )
    linear = (xyz @ adapted.T @ to_rgb.T).clip(0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def lab_tiff(white: tuple[int, int, int, int] | None = None) -> tuple[bytes, Array]:
    """Colours inside sRGB: greys, and all hues around a middle lightness."""
    angles = np.linspace(0, 2 * np.pi, HEIGHT * WIDTH, endpoint=False).reshape(HEIGHT, WIDTH)
    radius = np.linspace(0, 28, WIDTH)
    stored = np.stack((np.full((HEIGHT, WIDTH), 153), radius * np.cos(angles), radius * np.sin(angles)), axis=-1).round()
    stored[0, :, 0], stored[0, :, 1:] = np.arange(WIDTH) * 255 // (WIDTH - 1), 0
    stream = io.BytesIO()
    tags = [(318, "2I", 2, white, True)] if white else []
    tifffile.imwrite(stream, stored.astype(np.int16).astype(np.uint8), photometric="cielab", extratags=tags)
    return stream.getvalue(), stored * (100 / 255, 1, 1)


@pytest.mark.parametrize("white", [None, (3457, 10000, 3585, 10000)])
def test_lab_tiff_becomes_the_srgb_of_a_textbook(white: Any) -> None:
    data, lab = lab_tiff(white)
    image = read_image(data)
    np.testing.assert_allclose(image.pixels.astype(float), srgb_of_lab(lab), atol=1.5)
    assert image.metadata.icc_profile[16:20] == b"RGB "


def test_lab_tiff_that_cannot_be_read_right_is_refused_in_one_line() -> None:
    with pytest.raises(ImageError, match="another white than D50"):
        read_image(lab_tiff((3127, 10000, 3290, 10000))[0])
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((4, 4, 3), np.uint16), photometric="cielab")
    with pytest.raises(ImageError, match="16-bit TIFF in colour space 8"):
        read_image(stream.getvalue())


# code, type, count, value, as tifffile takes tags: studio range (TIFF 6.0, ReferenceBlackWhite), BT.709 (YCbCrCoefficients), JPEG's own
STUDIO = (532, "2I", 6, (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1), True)
BT709 = (529, "2I", 3, (2126, 10000, 7152, 10000, 722, 10000), True)
USUAL = (
    (529, "2I", 3, (299, 1000, 587, 1000, 114, 1000), True),
    (532, "2I", 6, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1), True),
)
UNSAMPLED = (530, "H", 2, (1, 1), True)


def ycbcr_tiff(*tags: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, drawn(3), photometric="ycbcr", extratags=[UNSAMPLED, *tags])
    return stream.getvalue()


def test_ycbcr_tiff_is_read_as_jpeg_has_it_and_refused_where_its_tags_say_otherwise() -> None:
    expected = np.asarray(Pillow.fromarray(drawn(3), "YCbCr").convert("RGB"))
    for tags in ((), USUAL):
        np.testing.assert_array_equal(read_image(ycbcr_tiff(*tags)).pixels, expected)
    for tag in (STUDIO, BT709):
        with pytest.raises(ImageError, match="YCbCr of other ranges or coefficients"):
            read_image(ycbcr_tiff(tag))


@pytest.mark.parametrize("space", ["icclab", "itulab", "cfa", "linear_raw"])
def test_a_tiff_in_an_unknown_colour_space_is_not_called_damaged(space: str) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, drawn(1)[..., 0] if space == "cfa" else drawn(3), photometric=space, planarconfig="contig")
    with pytest.raises(ImageError, match="cannot read 8-bit TIFF in colour space"):
        read_image(stream.getvalue())


def test_floats_of_which_zero_is_white_are_refused_as_their_values_would_change() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.linspace(0, 300, 64, dtype=np.float32).reshape(8, 8), photometric="miniswhite")
    with pytest.raises(ImageError, match="floats of which 0 is white"):
        read_image(stream.getvalue())


UNREAD = {
    "Netpbm": b"P6\n1 1\n255\n\0\0\0",
    "icon": b"\0\0\1\0\1\0" + bytes(30),
    "JPEG 2000": bytes(imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint8), codecformat="j2k")),
}


@pytest.mark.parametrize("form", UNREAD)
def test_other_formats_are_refused_by_name(form: str) -> None:
    with pytest.raises(ImageError, match=f"{form}.*files are not read; convert it first"):
        read_image(UNREAD[form])


@pytest.mark.parametrize(
    ("orientation", "seen"), [(3, [[250, 200, 150], [100, 50, 0]]), (6, [[150, 0], [200, 50], [250, 100]])]
)
@pytest.mark.parametrize("form", ["AVIF", "JPEG"])
def test_lossy_formats_are_turned_once_too(form: str, orientation: int, seen: list[list[int]]) -> None:
    stored = np.kron([[0, 50, 100], [150, 200, 250]], np.ones((16, 16))).astype(np.uint8)
    exif = Pillow.Exif()
    exif[274] = orientation
    pixels = read_image(saved(Pillow.fromarray(stored), form, exif=exif, quality=98)).pixels
    np.testing.assert_allclose(pixels[8::16, 8::16, 0].astype(int), seen, atol=4)


def test_a_wide_gamut_colour_is_the_same_colour_in_an_enlarged_picture() -> None:
    wide = imagecodecs.cms_profile("adobergb")
    green = np.full((8, 8, 3), (30, 220, 40), np.uint8)
    image = read_image(saved(Pillow.fromarray(green), "PNG", icc_profile=wide))
    enlarged = image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)
    with Pillow.open(io.BytesIO(encode(enlarged, ".png"))) as written:
        tagged, pixels = written.info["icc_profile"], np.asarray(written)
    meant = [
        imagecodecs.cms_transform(samples, tag, imagecodecs.cms_profile("srgb"), colorspace="rgb", outcolorspace="rgb")
        for samples, tag in ((green[:4, :4], wide), (np.ascontiguousarray(pixels[4:8, 4:8]), tagged))
    ]
    np.testing.assert_allclose(meant[1].astype(int), meant[0].astype(int), atol=2)
    assert np.abs(meant[0].astype(int) - green[:4, :4]).max() > 20, "as sRGB it would be another colour"
