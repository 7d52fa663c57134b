"""Damage inside the coded pictures of HEIC and AVIF, whose decoders make a picture of anything."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image as Pillow

from superscale.errors import Damaged
from superscale.image.io import read_image

FORMS = ["AVIF", "HEIF"]


def coded(form: str, pixels: np.ndarray | None = None, **options: object) -> bytes:
    if form == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed").register_heif_opener()
    buffer = io.BytesIO()
    Pillow.fromarray(skimage.data.chelsea()[:96, :128] if pixels is None else pixels).save(buffer, form, **options)
    return buffer.getvalue()


def media(data: bytes) -> int:
    """Where the coded data begin: both writers put them last."""
    return data.index(b"mdat") + 4


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_anywhere_is_refused(form: str) -> None:
    data = coded(form)
    start = media(data)
    for share in (0, 0.1, 0.5, 0.9, 0.99):
        with pytest.raises(Damaged):
            read_image(data[: start + int(share * (len(data) - start))])
    for lost in (1, 4, 16):
        with pytest.raises(Damaged):
            read_image(data[:-lost])


# HEVC escapes three zeros, so that none are in sound data; in AV1 a run of 32 has a chance of 2 to the power of -256.
@pytest.mark.parametrize(("form", "zeros"), [("HEIF", 4), ("HEIF", 64), ("AVIF", 64), ("AVIF", 300)])
def test_zeros_inside_are_refused(form: str, zeros: int) -> None:
    data = coded(form, quality=90)
    start = media(data)
    for share in (0.05, 0.3, 0.5, 0.7, 0.9):
        place = start + int(share * (len(data) - start))
        with pytest.raises(Damaged):
            read_image(data[:place] + bytes(zeros) + data[place + zeros :])


@pytest.mark.parametrize("form", FORMS)
def test_everything_behind_a_place_as_zeros_is_refused(form: str) -> None:
    data = coded(form, quality=90)
    middle = (media(data) + len(data)) // 2
    with pytest.raises(Damaged):
        read_image(data[:middle] + bytes(len(data) - middle))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_and_transparent_ones_are_whole(form: str, level: int) -> None:
    flat = np.full((256, 320, 4), level, np.uint8)
    flat[100:140, 100:140, :3] = 255 - level
    for quality in (30, 100):
        assert read_image(coded(form, flat[..., :3], quality=quality)).width == 320
        assert read_image(coded(form, flat, quality=quality)).width == 320


def test_the_other_pictures_of_a_heic_file_are_told(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    file, pixels = heif.HeifFile(), skimage.data.chelsea()[:96, :128]
    file.add_from_pillow(Pillow.fromarray(pixels))
    assert read_image(coded("HEIF")).notices == ()
    file.add_from_pillow(Pillow.fromarray(pixels[:48]))
    file.save(path := tmp_path / "two.heic", primary_index=1)
    image = read_image(path)
    assert (image.width, image.height) == (128, 48)
    (notice,) = image.notices
    assert "the main one was read, 1 other" in notice
