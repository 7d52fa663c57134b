"""Samples as the header says they are: expected values come from hand-packed PNGs, tifffile, imagecodecs or plain arithmetic."""

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
from superscale.image.io import Image, as_rgb8, decode, encode, encode_with_notices, over_white, read_image, to_pillow

Array = NDArray[Any]
HEIGHT, WIDTH = 13, 17
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def packed_png(samples: Array, kind: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG put together by hand (PNG specification, 2003): samples (H, W, C) below 2**depth, unfiltered."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = samples.shape[:2]
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        bits = ((samples.reshape(height, -1, 1) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
        rows = [np.packbits(row.ravel()).tobytes() for row in bits]
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
            *(chunk(name, body) for name, body in chunks),
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            chunk(b"IEND", b""),
        )
    )


def noise(channels: int, depth: int) -> Array:
    dtype = np.uint16 if depth == 16 else np.uint8
    return np.random.default_rng(channels * depth).integers(0, 2**depth, (HEIGHT, WIDTH, channels)).astype(dtype)


def saved_tiff(samples: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def saved(picture: Pillow.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def all_samples(image: Image) -> Array:
    return image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))


@pytest.mark.parametrize(("kind", "channels"), [(GREY, 1), (COLOUR, 3), (GREY_ALPHA, 2), (COLOUR_ALPHA, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_png_keeps_every_sample_and_channel(kind: int, channels: int, depth: int) -> None:
    samples = noise(channels, depth)
    image = read_image(packed_png(samples, kind, depth))
    assert image.pixels.dtype == samples.dtype
    assert (image.alpha is None) == (channels in (1, 3))
    np.testing.assert_array_equal(all_samples(image), samples)


def test_sixteen_bit_rgb_png_keeps_every_sample() -> None:
    # Every value of 16 bits once: an 8-bit detour would keep 256 of them.
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = read_image(packed_png(np.dstack((samples, samples[::-1], samples.T)), COLOUR, 16))
    np.testing.assert_array_equal(image.pixels[..., 0], samples)
    written = imagecodecs.png_decode(encode(image, ".png"))
    np.testing.assert_array_equal(written, image.pixels)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_spans_black_to_white(depth: int) -> None:
    samples = noise(1, depth)
    expected = samples.astype(int) * 255 // (2**depth - 1)
    np.testing.assert_array_equal(read_image(packed_png(samples, GREY, depth)).pixels, expected)


@pytest.mark.parametrize(("kind", "depth"), [(GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (COLOUR, 8), (COLOUR, 16)])
def test_transparent_key_colour_becomes_alpha_at_its_full_depth(kind: int, depth: int) -> None:
    channels = 1 if kind == GREY else 3
    samples = noise(channels, depth)
    key = samples[3, 4]
    image = read_image(packed_png(samples, kind, depth, (b"tRNS", key.astype(">u2").tobytes())))
    opaque = 65535 if depth == 16 else 255
    assert image.alpha is not None
    np.testing.assert_array_equal(image.alpha, np.where((samples == key).all(axis=-1), 0, opaque))
    assert image.pixels.shape[2] == channels


def test_sixteen_bit_key_is_not_confused_with_a_colour_of_the_same_upper_byte() -> None:
    samples = np.array([[[0x1234] * 3, [0x1235] * 3]], dtype=np.uint16)
    image = read_image(packed_png(samples, COLOUR, 16, (b"tRNS", struct.pack(">3H", *[0x1234] * 3))))
    assert image.alpha is not None
    assert image.alpha.tolist() == [[0, 65535]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_becomes_its_colours_with_their_transparency(depth: int) -> None:
    indices = noise(1, min(depth, 2))
    palette = np.array([[255, 0, 0], [0, 254, 0], [9, 8, 7], [255, 255, 255]], dtype=np.uint8)[: 2**depth]
    plain = packed_png(indices, PALETTE, depth, (b"PLTE", palette.tobytes()))
    image = read_image(plain)
    np.testing.assert_array_equal(image.pixels, palette[indices[..., 0]])
    assert image.alpha is None
    shares = np.array([0, 128, 255, 255], dtype=np.uint8)
    see_through = packed_png(indices, PALETTE, depth, (b"PLTE", palette.tobytes()), (b"tRNS", shares[:2].tobytes()))
    np.testing.assert_array_equal(read_image(see_through).alpha, shares[indices[..., 0]])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_independent_decoders_read_what_was_written(suffix: str, channels: int, dtype: type) -> None:
    samples = noise(channels, 8 * np.dtype(dtype).itemsize)
    has_alpha = channels in (2, 4)
    colours = channels - has_alpha
    image = Image(samples[..., :colours], samples[..., -1] if has_alpha else None)
    data = encode(image, suffix)
    decoded = imagecodecs.png_decode(data) if suffix == ".png" else tifffile.imread(io.BytesIO(data))
    np.testing.assert_array_equal(decoded.reshape(samples.shape), samples)
    again = read_image(data)
    np.testing.assert_array_equal(all_samples(again), samples)
    assert again.pixels.shape[2] == colours


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_sixteen_bit_rgb_tiff_keeps_every_sample(compression: str | None, planar: str) -> None:
    samples = noise(3, 16)
    stored = samples if planar == "contig" else np.moveaxis(samples, -1, 0)
    data = saved_tiff(stored, photometric="rgb", planarconfig=planar, compression=compression)
    np.testing.assert_array_equal(read_image(data).pixels, samples)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_of_either_byte_order_and_size_is_read(byteorder: Any, bigtiff: bool) -> None:
    samples = noise(3, 16)
    data = saved_tiff(samples, photometric="rgb", byteorder=byteorder, bigtiff=bigtiff, tile=(16, 16))
    np.testing.assert_array_equal(read_image(data).pixels, samples)


def test_float_tiff_keeps_values_beyond_one() -> None:
    samples = np.random.default_rng(5).normal(0.5, 3, (HEIGHT, WIDTH, 3)).astype(np.float32)
    image = read_image(saved_tiff(samples, photometric="rgb", compression="zlib", predictor=3))
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels, samples)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(encode(image, ".tif"))), samples)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float16, np.float64])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_of_other_types_keeps_its_type_and_every_value(dtype: type, byteorder: Any) -> None:
    limits: Any = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    samples = np.array([[limits.min, limits.max, 0], [1, 2, 3]], dtype)
    image = read_image(saved_tiff(samples, photometric="minisblack", byteorder=byteorder))
    assert image.pixels.dtype == np.dtype(dtype)
    written = tifffile.imread(io.BytesIO(encode(image, ".tif")))
    assert written.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(written, samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("bands", [2, 5, 13])
def test_bands_of_a_satellite_picture_are_kept(dtype: type, bands: int) -> None:
    samples = (np.random.default_rng(bands).random((HEIGHT, WIDTH, bands)) * 200).astype(dtype)
    data = saved_tiff(np.moveaxis(samples, -1, 0), photometric="minisblack", planarconfig="separate")
    image = read_image(data)
    assert image.alpha is None
    np.testing.assert_array_equal(image.pixels, samples)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(encode(image, ".tif"))), samples)
    with pytest.raises(ImageError, match=f"{bands} bands can only be written as TIFF"):
        encode(image, ".png")


def test_a_fourth_band_that_is_no_alpha_is_not_taken_for_one() -> None:
    samples = noise(4, 8)
    near_infrared = read_image(saved_tiff(samples, photometric="rgb", extrasamples=["unspecified"]))
    assert near_infrared.alpha is None
    np.testing.assert_array_equal(near_infrared.pixels, samples)
    with tifffile.TiffFile(io.BytesIO(encode(near_infrared, ".tif"))) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.RGB
        assert [int(kind) for kind in file.pages.first.extrasamples] == [0]
    see_through = read_image(saved_tiff(samples, photometric="rgb", extrasamples=["unassalpha"]))
    np.testing.assert_array_equal(see_through.alpha, samples[..., 3])


def test_premultiplied_tiff_alpha_is_divided_out() -> None:
    samples = np.array([[[100, 50, 0, 128], [255, 0, 0, 255], [0, 0, 0, 0]]], dtype=np.uint8)
    image = read_image(saved_tiff(samples, photometric="rgb", extrasamples=["assocalpha"]))
    # 100 * 255 / 128 = 199.2, 50 * 255 / 128 = 99.6
    assert image.pixels.tolist() == [[[199, 100, 0], [255, 0, 0], [0, 0, 0]]]
    assert image.alpha is not None
    assert image.alpha.tolist() == [[128, 255, 0]]


def test_twelve_bit_white_becomes_white() -> None:
    samples = np.array([[0, 4095, 2048]], dtype=np.uint16)
    packed = np.array([0x00, 0x0F, 0xFF, 0x80, 0x00], dtype=np.uint8)  # 000 FFF 800, three nibbles each
    entries = [
        (256, 4, 3),
        (257, 4, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 122),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, 5),
    ]
    directory = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in entries)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4) + packed.tobytes()
    assert data.index(packed.tobytes(), 100) == 122
    expected = np.floor(samples * (65535 / 4095) + 0.5)
    np.testing.assert_array_equal(read_image(data).pixels[..., 0], expected)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_tiff_is_turned_over(photometric: str, dtype: type) -> None:
    samples = noise(1, 8 * np.dtype(dtype).itemsize)[..., 0]
    expected = samples if photometric == "minisblack" else np.iinfo(dtype).max - samples
    np.testing.assert_array_equal(read_image(saved_tiff(samples, photometric=photometric)).pixels[..., 0], expected)


def test_fax_and_palette_tiff_are_read() -> None:
    bits = noise(1, 1)[..., 0].astype(bool)
    fax = saved(Pillow.fromarray(bits), "TIFF", compression="group4")
    np.testing.assert_array_equal(read_image(fax).pixels[..., 0], bits * 255)
    colours = Pillow.fromarray(noise(3, 8)).quantize(8)
    np.testing.assert_array_equal(read_image(saved(colours, "TIFF")).pixels, np.asarray(colours.convert("RGB")))


@pytest.mark.parametrize("form", ["BMP", "GIF", "AVIF", "WEBP"])
def test_still_pictures_of_other_formats_are_read(form: str) -> None:
    flat = Pillow.new("RGB", (WIDTH, HEIGHT), (200, 30, 90))
    pixels = read_image(saved(flat, form)).pixels
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    # One flat colour survives every coder but for the rounding of its YCbCr.
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to((200, 30, 90), pixels.shape), atol=3)


def test_grey_jpeg_stays_grey() -> None:
    image = read_image(saved(Pillow.new("L", (8, 8), 77), "JPEG"))
    assert image.pixels.shape == (8, 8, 1)
    assert Pillow.open(io.BytesIO(encode(image, ".jpg"))).mode == "L"
    assert Pillow.open(io.BytesIO(encode(image, ".png"))).mode == "L"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_lays_transparency_over_white_and_says_so(dtype: type) -> None:
    white = np.iinfo(dtype).max
    pixels = np.zeros((16, 16, 3), dtype=dtype)
    half = np.full((16, 16), white // 2 + 1, dtype=dtype)
    data, notices = encode_with_notices(Image(pixels, half), ".jpg", quality=100)
    assert any("white" in notice for notice in notices)
    # black at 128 / 255: 255 * (1 - 128 / 255) = 127
    np.testing.assert_allclose(np.asarray(Pillow.open(io.BytesIO(data))).astype(int), 127, atol=1)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_sixteen_bits_are_reduced_to_the_nearest_eight_with_a_notice(suffix: str) -> None:
    # 32896 / 257 = 128 exactly; shifting right by 8 gives 128 too, but 33000 / 257 = 128.4 and 33100 / 257 = 128.8 -> 129.
    data, notices = encode_with_notices(Image(np.full((16, 16, 3), 33100, dtype=np.uint16)), suffix, quality=100)
    assert any("8 bits" in notice for notice in notices)
    np.testing.assert_allclose(np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")).astype(int), 129, atol=1)


def test_floats_go_into_png_as_sixteen_bits_with_a_notice() -> None:
    pixels = np.array([[[-0.5], [0.25], [1.0], [7.0]]], dtype=np.float32)
    data, notices = encode_with_notices(Image(pixels), ".png")
    assert any("16 bits" in notice for notice in notices)
    assert imagecodecs.png_decode(data).ravel().tolist() == [0, 16384, 65535, 65535]


def test_eight_bit_rgb_for_training_is_nearest_and_over_white() -> None:
    grey = Image(np.array([[[0], [33100], [65535]]], dtype=np.uint16))
    assert as_rgb8(grey).tolist() == [[[0] * 3, [129] * 3, [255] * 3]]
    red = Image(np.array([[[65535, 0, 0], [65535, 0, 0]]], dtype=np.uint16), np.array([[65535, 0]], dtype=np.uint16))
    assert as_rgb8(red).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    floats = Image(np.array([[[0.5, 1.5, -1.0]]], dtype=np.float32))
    assert as_rgb8(floats).tolist() == [[[128, 255, 0]]]
    with pytest.raises(ImageError, match=r"field\.tif: expected grey or RGB, got 7 bands"):
        as_rgb8(Image(np.zeros((2, 2, 7), dtype=np.uint8)), "field.tif")


def test_over_white_keeps_sixteen_bits() -> None:
    half = Image(np.full((1, 1, 1), 20000, np.uint16), np.full((1, 1), 32768, np.uint16))
    # 20000 * 32768 / 65535 + 65535 - 32768
    assert over_white(half).pixels[0, 0, 0] == round(20000 * 32768 / 65535 + 65535 - 32768)


def test_pil_pictures_of_every_mode_keep_their_samples() -> None:
    deep = noise(1, 16)[..., 0]
    np.testing.assert_array_equal(decode(Pillow.fromarray(deep)).pixels[..., 0], deep)
    floats = deep.astype(np.float32)
    np.testing.assert_array_equal(decode(Pillow.fromarray(floats)).pixels[..., 0], floats)
    colours = Pillow.fromarray(noise(4, 8))
    image = decode(colours)
    np.testing.assert_array_equal(np.asarray(to_pillow(image)), np.asarray(colours))
    assert to_pillow(Image(deep[..., None])).mode == "I;16"
    assert to_pillow(Image(floats[..., None])).mode == "F"


def test_pil_picture_that_pil_would_squeeze_is_refused() -> None:
    data = packed_png(noise(3, 16), COLOUR, 16)
    with Pillow.open(io.BytesIO(data)) as picture, pytest.raises(ImageError, match="give the path"):
        decode(picture)
    with pytest.raises(ImageError, match="PIL cannot hold 3 channels of uint16"):
        to_pillow(read_image(data))


@pytest.mark.parametrize(("suffix", "width"), [(".webp", 16384), (".jpg", 65536)])
def test_a_picture_too_wide_for_its_format_is_one_clear_error(suffix: str, width: int) -> None:
    with pytest.raises(ImageError, match=f"cannot write {width}x2 pixels as"):
        encode(Image(np.zeros((2, width, 3), np.uint8)), suffix)


def test_ten_bit_avif_says_that_it_was_read_at_eight() -> None:
    deep = np.full((16, 16, 3), 512, np.uint16)
    image = read_image(bytes(imagecodecs.avif_encode(deep, bitspersample=10, level=100)))
    # 512 of 1023 is 127.6 of 255.
    np.testing.assert_allclose(image.pixels.astype(int), 128, atol=1)
    assert any("10-bit" in notice for notice in image.notices)
    shallow = read_image(bytes(imagecodecs.avif_encode(deep.astype(np.uint8), level=100)))
    assert shallow.notices == ()
