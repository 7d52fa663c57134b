"""From the stored samples to RGB and back, against values worked by hand from H.273."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest

from superscale.errors import Unsupported
from superscale.video.look import Painter, look_of


def stored(form: str, *planes: Any) -> av.VideoFrame:
    """A frame of 48x32 with these samples."""
    frame = av.VideoFrame(48, 32, form)
    for plane, samples in zip(frame.planes, planes, strict=True):
        dtype = np.dtype("<u2") if form.endswith("le") else np.dtype(np.uint8)
        padded = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
        padded[:, : plane.width] = samples
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = 1, 1
    return frame


def samples_of(plane: Any, dtype: Any) -> Any:
    return np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width].astype(float)


@pytest.mark.parametrize(("form", "black", "white", "most"), [("yuv444p", 16, 235, 255), ("yuv444p10le", 64, 940, 65535)])
def test_black_and_white_of_limited_range_are_all_there_is(form: str, black: int, white: int, most: int) -> None:
    middle = 128 if most == 255 else 512
    for luma, expected in ((black, 0), (white, most)):
        frame = stored(form, luma, middle, middle)
        assert (Painter(look_of(frame)).pixels(frame) == expected).all()


def test_a_colour_of_bt709_in_ten_bits_is_what_the_standard_says() -> None:
    """R = 1, G = B = 0: Y = 0.2126, Cb = -0.2126 / 1.8556, Cr = 0.5; times 876 and 896, from 64 and 512."""
    frame = stored("yuv444p10le", 64 + 876 * 0.2126, 512 - 896 * 0.2126 / 1.8556, 512 + 448)
    red = Painter(look_of(frame)).pixels(frame)[0, 0] / 65535
    np.testing.assert_allclose(red, (1, 0, 0), atol=0.0012)


@pytest.mark.parametrize(("form", "unit"), [("yuv420p", 1), ("yuv420p10le", 4)])
@pytest.mark.parametrize(("axis", "side", "shift"), [(1, 24, -0.1875), (0, 16, -0.375)])
def test_chroma_stays_at_its_place_when_a_picture_grows(form: str, unit: int, axis: int, side: int, shift: float) -> None:
    """Across, sample k lies at pixel 2k, and sample j of a picture four times as large at (2j + 0.5) / 4 - 0.5: at k = j / 4 - 0.1875.
    Down, k lies at 2k + 0.5, j at (2j + 0.5 + 0.5) / 4 - 0.5: at k = j / 4 - 0.375."""
    line = (100 + 2 * np.arange(side)) * unit
    ramp = np.broadcast_to(np.expand_dims(line, 1 - axis), (16, 24))
    frame = stored(form, 128 * unit, ramp, 128 * unit)
    look = look_of(frame)
    pixels = Painter(look).pixels(frame)
    dtype = np.uint8 if unit == 1 else np.dtype("<u2")
    larger = Painter(look).frame(pixels.repeat(4, axis=0).repeat(4, axis=1), form, look)
    row = samples_of(larger.planes[1], dtype).take(40, axis=1 - axis)
    places = ((row / unit - 100) / 2 - np.arange(4 * side) / 4)[16:-16]
    assert places.mean() == pytest.approx(shift, abs=0.07 / unit)
    same = samples_of(Painter(look).frame(pixels, form, look).planes[1], dtype)
    np.testing.assert_allclose(same.take(8, axis=1 - axis)[2:-2], line[2:-2])


def test_a_matrix_that_is_not_stated_is_the_one_that_players_take() -> None:
    frame = stored("yuv444p", 16, 128, 128)
    frame.colorspace = 2
    look = look_of(frame)
    assert (look.matrix, look.guessed) == (6, True)
    frame.colorspace = 14
    with pytest.raises(Unsupported, match="matrix 14"):
        look_of(frame)
