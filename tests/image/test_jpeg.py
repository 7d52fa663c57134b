"""JPEGs that end well but too early, or have a hole: refused, or read as the whole picture; and odd ones that are whole."""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from damage import DEPTHS, END, HEIGHT, JPEGS, WIDTH, assert_refused_or_same, photo, saved
from superscale.errors import Damaged
from superscale.image.io import read_image


def scans(data: bytes) -> list[tuple[int, int]]:
    """(start of its SOS, end of its entropy-coded data) of each scan, by the letter of T.81 B.1.1."""
    found, place = [], 2
    while data[place + 1] != 0xD9:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        start, place = place, place + 2 + length
        if marker == 0xDA:
            while data[place] != 0xFF or data[place + 1] == 0 or 0xD0 <= data[place + 1] <= 0xD7:
                place += 1
            found.append((start, place))
    return found


def cut_with_an_end(data: bytes) -> Iterator[bytes]:
    for start, end in scans(data)[-1:]:
        for depth in DEPTHS:
            yield data[: start + 14 + int(depth * (end - start - 14))] + END
    for lost in (1, 2, 3, 6):
        yield data[: -2 - lost] + END
    for _, end in scans(data)[:-1]:
        yield data[:end] + END


def cut_without_an_end(data: bytes) -> Iterator[bytes]:
    for depth in DEPTHS:
        yield data[: int(depth * len(data))]


def with_a_hole(data: bytes) -> Iterator[bytes]:
    start, end = max(scans(data), key=lambda scan: scan[1] - scan[0])
    for length in (48, 150, 400):
        for depth in (0.1, 0.4, 0.7):
            place = start + 14 + int(depth * (end - start - 14))
            if place + length < end:
                yield data[:place] + bytes(length) + data[place + length :]


def taller(data: bytes) -> Iterator[bytes]:
    frame = next(place for marker in (b"\xff\xc0", b"\xff\xc2") if (place := data.find(marker)) > 0)
    for more in (16, HEIGHT, 20 * HEIGHT):
        yield data[: frame + 5] + struct.pack(">H", HEIGHT + more) + data[frame + 7 :]


def without_an_interval(data: bytes) -> Iterator[bytes]:
    start, end = scans(data)[0]
    marks = [place for place in range(start, end) if data[place] == 0xFF and 0xD0 <= data[place + 1] <= 0xD7]
    for first, second in pairwise(marks[:4]):
        yield data[:first] + data[second:]


JPEG_CUTS = [cut_with_an_end, cut_without_an_end, with_a_hole, taller, without_an_interval]


@pytest.mark.parametrize("cut", JPEG_CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("maker", JPEGS)
def test_a_jpeg_with_less_than_its_header_says_is_refused(maker: str, cut: Callable[[bytes], Iterator[bytes]]) -> None:
    data = JPEGS[maker]()
    whole = read_image(data).pixels
    for damaged in cut(data):
        # A byte from the end, or a hole in raw bits of a refinement, may happen to make no difference.
        assert_refused_or_same(damaged, whole, must_refuse=cut is taller)


@pytest.mark.parametrize("maker", JPEGS)
def test_a_whole_jpeg_is_read_as_pillow_reads_it(maker: str) -> None:
    data = JPEGS[maker]()
    image = read_image(data)
    with Pillow.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture.convert("RGB") if picture.mode == "CMYK" else picture)
    np.testing.assert_array_equal(image.pixels, expected.reshape(image.pixels.shape))
    assert image.damage is None


@pytest.mark.parametrize("sides", [(7, 5), (8, 8), (16, 16), (17, 33), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"quality": 1}])
@pytest.mark.parametrize("value", [0, 128, None])
def test_a_flat_or_small_jpeg_is_whole(sides: tuple[int, int], options: dict[str, Any], value: int | None) -> None:
    samples = photo(3, *sides) if value is None else np.full((*sides, 3), value, np.uint8)
    data = saved("JPEG", Pillow.fromarray(samples), **options)
    assert read_image(data).pixels.shape == samples.shape


@pytest.mark.parametrize("sampling", ["444", "422", "420", "411", "440"])
def test_a_jpeg_of_any_sampling_is_read_as_pillow_reads_it_and_refused_when_cut(sampling: str) -> None:
    data = bytes(imagecodecs.jpeg8_encode(photo(), subsampling=sampling))
    with Pillow.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(read_image(data).pixels, np.asarray(picture))
    with pytest.raises(Damaged):
        read_image(data[: int(0.8 * len(data))] + END)


def with_wide_components(data: bytes) -> bytes:
    """A JPEG whose components share their tables, which says 2x1 of each: pairs of blocks, as many as before, in another order."""
    frame = data.index(b"\xff\xc0")
    changed = bytearray(data)
    for component in range(3):
        changed[frame + 11 + 3 * component] = 0x21
    return bytes(changed)


def test_a_jpeg_of_unusual_sampling_is_read_and_refused_when_cut() -> None:
    data = with_wide_components(JPEGS["RGB"]())
    with Pillow.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(read_image(data).pixels, np.asarray(picture))
    for depth in DEPTHS[1:]:
        assert_refused_or_same(data[: int(depth * len(data))] + END, np.asarray(picture), must_refuse=False)


def test_a_cut_jpeg_is_refused_where_logging_is_turned_off_too() -> None:
    data = JPEGS["4:2:0"]()
    logging.disable(logging.CRITICAL)
    try:
        assert read_image(data).pixels.shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(Damaged):
            read_image(data[: len(data) // 2] + END)
    finally:
        logging.disable(logging.NOTSET)


def test_threads_hear_of_their_own_damage_only() -> None:
    data = JPEGS["4:2:0"]()
    files = [data, data[: int(0.9 * len(data))] + END] * 40

    def is_refused(file: bytes) -> bool:
        try:
            read_image(file)
        except Damaged:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(is_refused, files)) == [False, True] * 40


def test_a_sequential_jpeg_whose_scan_states_no_coefficients_is_whole() -> None:
    data = JPEGS["4:2:0"]()
    start = data.index(b"\xff\xda")
    odd = data[: start + 11] + bytes(3) + data[start + 14 :]
    np.testing.assert_array_equal(read_image(odd).pixels, read_image(data).pixels)


def test_a_large_black_jpeg_of_two_bits_a_block_is_whole() -> None:
    data = saved("JPEG", Pillow.new("RGB", (2048, 2048)), optimize=True)
    assert not read_image(data).pixels.any()
