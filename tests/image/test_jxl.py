"""JPEG XL as libjxl writes it, with every depth it can have."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from superscale.errors import ImageError
from superscale.image.io import read_image

pillow_jxl = pytest.importorskip("pillow_jxl", reason="the extra 'jxl' is not installed")


def samples(shape: tuple[int, ...], dtype: type, largest: float) -> np.ndarray:
    return (np.random.default_rng(len(shape)).random(shape) * (largest + 0.9)).clip(0, largest).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "shape", [(20, 30), (20, 30, 2), (20, 30, 3), (21, 33, 4), (1, 1, 3), (257, 1), (256, 8, 3), (9, 16, 3)]
)
def test_every_sample_and_channel_is_kept(shape: tuple[int, ...], dtype: type) -> None:
    given = samples(shape, dtype, 1 if dtype is np.float32 else np.iinfo(dtype).max)
    image = read_image(bytes(imagecodecs.jpegxl_encode(given, lossless=True)))
    assert (image.alpha is not None) == (given.ndim == 3 and shape[2] in (2, 4))
    got = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
    np.testing.assert_array_equal(got, given if given.ndim == 3 else given[..., None])
    assert got.dtype == dtype
    assert image.metadata.icc_profile


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_white_of_fewer_bits_is_white(bits: int) -> None:
    given = samples((20, 30, 3), np.uint16, 2**bits - 1)
    image = read_image(bytes(imagecodecs.jpegxl_encode(given, lossless=True, bitspersample=bits)))
    np.testing.assert_array_equal(image.pixels, np.floor(given * (65535 / (2**bits - 1)) + 0.5))


def test_exif_and_profile_travel_and_a_size_beyond_the_limit_is_told_from_the_header() -> None:
    exif = Pillow.Exif()
    exif[271], exif[274] = "Maker", 6
    stream = io.BytesIO()
    Pillow.fromarray(samples((20, 30, 3), np.uint8, 255)).save(stream, "JXL", exif=exif.tobytes(), lossless=True)
    image = read_image(stream.getvalue())
    assert b"Maker" in image.metadata.exif
    # The standard turns by the codestream's own orientation alone, and this one says upright.
    assert image.pixels.shape == (20, 30, 3)
    with pytest.raises(ImageError, match="30x20 is more than 599 pixels"):
        read_image(stream.getvalue()[:200], max_pixels=599)


def test_an_animation_is_refused_before_its_frames_are_decoded() -> None:
    frames = samples((3, 20, 30, 3), np.uint8, 255)
    with pytest.raises(ImageError, match="an animation; expected one still picture"):
        read_image(bytes(imagecodecs.jpegxl_encode(frames)))
