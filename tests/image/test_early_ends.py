"""Streams that end well but too early, or have a hole: refused, or read as the whole picture; never as another one.

A family: every decoder, every kind of cut that it could overlook, at several depths.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from tifffile import TiffFile, imwrite

from damage import DEPTHS, END, HEIGHT, JPEGS, WIDTH, assert_refused_or_same, photo, saved
from superscale.errors import Damaged, ImageError, Unsupported
from superscale.image.io import image_size, open_stack, read_image

Array = NDArray[Any]

# PNG -------------------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: bytes, depth: int, kind: int, height: int = HEIGHT, interlace: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, height, depth, kind, 0, 0, interlace))
    palette = chunk(b"PLTE", bytes(range(48))) if kind == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_rows(depth: int, kind: int, interlace: int) -> bytes:
    """The rows of a PNG of random samples: of one pass, or of Adam7 as its table of starts and steps has it."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    chance = np.random.default_rng(depth)
    parts = []
    for left, top, across, down in passes:
        length = (len(range(left, WIDTH, across)) * samples * depth + 7) // 8
        parts += [b"\0" + chance.integers(1, 256, length, dtype=np.uint8).tobytes() for _ in range(top, HEIGHT, down)]
    return b"".join(parts)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(
    ("depth", "kind"), [(1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (4, 3), (8, 4), (16, 4), (8, 6), (16, 6)]
)
def test_a_png_whose_stream_closes_early_is_refused(depth: int, kind: int, interlace: int) -> None:
    rows = png_rows(depth, kind, interlace)
    whole = read_image(png(rows, depth, kind, interlace=interlace)).pixels
    row = len(rows) // HEIGHT
    ends = [
        *(int(share * len(rows)) for share in DEPTHS),
        *(row * count for count in (1, HEIGHT // 2, HEIGHT - 1)),
        len(rows) - 1,
    ]
    for end in ends:
        assert_refused_or_same(png(rows[:end], depth, kind, interlace=interlace), whole)
    if not interlace:
        assert_refused_or_same(png(rows, depth, kind, HEIGHT + 3), whole)


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("depth", "kind"), [(1, 0), (8, 0), (8, 2), (16, 2), (4, 3), (8, 6)])
def test_a_png_whose_stream_is_longer_than_its_header_says_is_refused(depth: int, kind: int, interlace: int) -> None:
    rows = png_rows(depth, kind, interlace)
    row = len(rows) // HEIGHT
    whole = read_image(png(rows, depth, kind, interlace=interlace)).pixels
    for longer in (rows + rows[:row], rows + b"\0"):
        data = png(longer, depth, kind, interlace=interlace)
        with pytest.raises(Damaged, match=f"more samples than the {len(rows)} bytes that its header says"):
            read_image(data)
        lenient = read_image(data, lenient=True)
        np.testing.assert_array_equal(lenient.pixels, whole)
        assert lenient.damage
    if not interlace:
        with pytest.raises(Damaged):
            read_image(png(rows, depth, kind, HEIGHT - 1))


def test_a_black_png_is_whole() -> None:
    rows = bytes(HEIGHT * (1 + WIDTH))
    assert not read_image(png(rows, 8, 0)).pixels.any()


def test_a_palette_that_lacks_a_colour_of_the_samples_is_refused() -> None:
    whole = png(png_rows(4, 3, 0), 4, 3)
    start, after = whole.index(b"PLTE") - 4, whole.index(b"IDAT") - 4
    for colours in (b"", chunk(b"PLTE", bytes(range(9)))):
        with pytest.raises(Damaged):
            read_image(whole[:start] + colours + chunk(b"tRNS", bytes(3)) + whole[after:])


# TIFF ------------------------------------------------------------------------------------------------------------------------

ROWS = 16


def tiff(
    strips: list[bytes], compression: int, samples: int = 3, bits: int = 8, space: int | None = 2, height: int = HEIGHT
) -> bytes:
    """A little-endian TIFF of strips of 16 rows, put together by hand."""
    places = [8 + sum(len(strip) + len(strip) % 2 for strip in strips[:number]) for number in range(len(strips))]
    body = b"".join(strip + bytes(len(strip) % 2) for strip in strips)
    entries: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (WIDTH,)),
        (257, "I", (height,)),
        (258, "H", (bits,) * samples),
    ]
    entries += [(259, "H", (compression,)), *([(262, "H", (space,))] if space is not None else []), (273, "I", tuple(places))]
    entries += [(277, "H", (samples,)), (278, "I", (ROWS,)), (279, "I", tuple(map(len, strips)))]
    if space == 6:
        entries.append((530, "H", (2, 2)))
    directory = struct.pack("<H", len(entries))
    behind = b""
    start = 8 + len(body) + 2 + 12 * len(entries) + 4
    for code, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{kind}", *values)
        if len(packed) > 4:
            packed, behind = struct.pack("<I", start + len(behind)), behind + packed
        directory += struct.pack("<HHI", code, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + bytes(4) + behind


# compression -> (its number, colour space, rows of pixels -> a strip)
PACKED: dict[str, tuple[int, int, Callable[[Array], bytes]]] = {
    "none": (1, 2, lambda rows: rows.tobytes()),
    "lzw": (5, 2, lambda rows: bytes(imagecodecs.lzw_encode(rows.tobytes()))),
    "deflate": (8, 2, lambda rows: zlib.compress(rows.tobytes())),
    "packbits": (32773, 2, lambda rows: bytes(imagecodecs.packbits_encode(rows.tobytes()))),
    "lzma": (34925, 2, lambda rows: lzma.compress(rows.tobytes())),
    "zstd": (50000, 2, lambda rows: bytes(imagecodecs.zstd_encode(rows.tobytes()))),
    "webp": (50001, 2, lambda rows: bytes(imagecodecs.webp_encode(rows, lossless=True))),
    "jpeg": (7, 6, lambda rows: saved("JPEG", Pillow.fromarray(rows))),
    "png": (34933, 2, lambda rows: bytes(imagecodecs.png_encode(rows))),
    "jpeg xl": (50002, 2, lambda rows: bytes(imagecodecs.jpegxl_encode(rows, lossless=True))),
    "jpeg 2000": (34712, 2, lambda rows: bytes(imagecodecs.jpeg2k_encode(rows, level=0))),
}


def strips_of(pack: Callable[[Array], bytes], pixels: Array) -> list[bytes]:
    return [pack(np.ascontiguousarray(pixels[top : top + ROWS])) for top in range(0, len(pixels), ROWS)]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("compression", PACKED)
def test_a_tiff_whose_part_is_cut_or_of_another_size_is_refused(compression: str, number: int) -> None:
    code, space, pack = PACKED[compression]
    strips = strips_of(pack, photo())
    whole = read_image(tiff(strips, code, space=space)).pixels
    own = strips[number]
    ends = END if compression == "jpeg" else b""
    others = [own[: int(depth * len(own))] + ends for depth in (0.3, 0.6, 0.95)]
    others += [pack(photo(3, 5, WIDTH)), pack(photo(3, ROWS, WIDTH // 2)), b""]
    if compression in ("webp", "png", "jpeg xl", "jpeg 2000", "jpeg"):
        others += [pack(photo(3, 3 * ROWS, WIDTH)), pack(photo(3, ROWS, 2 * WIDTH))]
    for other in others:
        assert_refused_or_same(tiff([*strips[:number], other, *strips[number + 1 :]], code, space=space), whole)
    assert_refused_or_same(tiff(strips[:-1], code, space=space), whole)


def test_lzma_that_swells_is_refused_by_its_size() -> None:
    with pytest.raises(Damaged, match="more than"):
        read_image(tiff([lzma.compress(bytes(50_000_000), preset=0)] * 3, 34925))


def test_a_tiff_without_a_colour_space_is_read_where_programs_agree() -> None:
    colours = read_image(tiff([photo()[:ROWS].tobytes()], 1, space=None, height=ROWS))
    np.testing.assert_array_equal(colours.pixels, photo()[:ROWS])
    assert any("were read as RGB" in notice for notice in colours.notices)
    deep = photo(1).astype("<u2") * 257
    grey = read_image(tiff([deep[:ROWS].tobytes()], 1, samples=1, bits=16, space=None, height=ROWS))
    np.testing.assert_array_equal(grey.pixels, deep[:ROWS])
    for samples in (1, 2, 4):
        with pytest.raises(Unsupported, match="no PhotometricInterpretation"):
            read_image(tiff([photo(samples).tobytes()], 1, samples=samples, space=None, height=ROWS))


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits", "zstd"])
def test_damage_in_colour_spaces_that_pillow_reads_is_seen(compression: str) -> None:
    code, _, pack = PACKED[compression]
    strips = strips_of(pack, photo(4))
    whole = read_image(tiff(strips, code, samples=4, space=5)).pixels
    own = strips[1]
    middle = len(own) // 2
    others = [own[:middle] + bytes(40) + own[middle + 40 :], own[:middle], pack(photo(4, 5, WIDTH)), pack(photo(4, 40, WIDTH))]
    for other in others:
        assert_refused_or_same(tiff([strips[0], other, strips[2]], code, samples=4, space=5), whole)
    for bits in (2, 4):
        with pytest.raises(Damaged):
            read_image(tiff(strips, code, samples=4, space=2, bits=bits))


def test_lzw_without_its_end_is_whole_unless_a_sample_is_missing() -> None:
    code, space, pack = PACKED["lzw"]
    strips = strips_of(pack, photo())
    whole = read_image(tiff(strips, code, space=space)).pixels
    for missing in range(1, 6):
        assert_refused_or_same(tiff([*strips[:2], strips[2][:-missing]], code, space=space), whole, must_refuse=False)
    with pytest.raises(Damaged, match="more than"):
        read_image(tiff(strips_of(pack, photo(3, HEIGHT, WIDTH + 1)), code, space=space))


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_a_damaged_fax_is_refused(compression: str) -> None:
    whole = saved("TIFF", Pillow.fromarray(photo(1)[..., 0] > 100), compression=compression)
    assert read_image(whole).pixels.shape == (HEIGHT, WIDTH, 1)
    with TiffFile(io.BytesIO(whole)) as file:
        page: Any = file.pages.first
        start, length, width = page.dataoffsets[0], page.databytecounts[0], page.tags[256]
    middle = start + length // 2
    narrower = whole[: width.valueoffset] + bytes([WIDTH - 1]) + whole[width.valueoffset + 1 :]
    for damaged in (whole[:middle] + bytes(20) + whole[middle + 20 :], narrower):
        with pytest.raises(Damaged, match="line"):
            read_image(damaged)


def test_directories_that_lead_in_a_circle_or_nowhere_are_refused() -> None:
    stream = io.BytesIO()
    imwrite(stream, photo(1)[..., 0][None].repeat(3, 0), photometric="minisblack", metadata=None)
    with TiffFile(io.BytesIO(stream.getvalue())) as file:
        pages: list[Any] = list(file.pages)
    data = stream.getvalue()
    last = pages[2].offset + 2 + 12 * len(pages[2].tags)
    middle = pages[1].offset + 2 + 12 * len(pages[1].tags)
    for place, target, why in (
        (last, pages[0].offset, "leads back"),
        (last, pages[2].offset, "leads back"),
        (middle, 1 << 24, "beyond"),
    ):
        damaged = data[:place] + struct.pack("<I", target) + data[place + 4 :]
        with pytest.raises(Damaged, match=why), open_stack(damaged):
            pass
        lenient = read_image(damaged, lenient=True)
        assert lenient.damage
        np.testing.assert_array_equal(lenient.pixels, photo(1))


def test_a_tiff_with_more_samples_than_its_tags_say_is_refused() -> None:
    rows = [photo()[top : top + ROWS].tobytes() for top in range(0, HEIGHT, ROWS)]
    for damaged in (tiff([*rows, rows[0]], 1), tiff(rows, 1, samples=1, space=1), tiff(rows, 1, height=ROWS)):
        with pytest.raises(Damaged):
            read_image(damaged)
    for compression in ("png", "jpeg xl", "jpeg 2000", "webp"):
        code, space, pack = PACKED[compression]
        for bits in (4, 16):
            with pytest.raises(Damaged, match="tags say"):
                read_image(tiff(strips_of(pack, photo()), code, space=space, bits=bits))


def test_a_last_strip_with_rows_beyond_the_picture_is_whole() -> None:
    stream = io.BytesIO()
    imwrite(stream, photo()[:-7], compression="jpeg", rowsperstrip=ROWS, metadata=None)
    assert read_image(stream.getvalue()).pixels.shape == (HEIGHT - 7, WIDTH, 3)


# The others ------------------------------------------------------------------------------------------------------------------


def gif_taller() -> bytes:
    data = bytearray(saved("GIF", Pillow.fromarray(photo()).quantize(30)))
    frame = data.index(b"\x2c\0\0\0\0" + struct.pack("<H", WIDTH))
    for place in (8, frame + 7):
        data[place : place + 2] = struct.pack("<H", HEIGHT + 20)
    return bytes(data)


def webp_cut(data: bytes, kept: int) -> bytes:
    """A WebP of one chunk that ends after so many bytes of it, and says so."""
    body = data[20 : 20 + kept]
    part = data[12:16] + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part


@pytest.mark.parametrize("options", [{}, {"quality": 20}, {"lossless": True}])
def test_a_webp_that_ends_early_and_says_so_is_refused(options: dict[str, Any]) -> None:
    data = saved("WEBP", **options)
    whole = read_image(data).pixels
    for kept in [*(int(depth * (len(data) - 20)) for depth in DEPTHS), *range(len(data) - 28, len(data) - 20)]:
        assert_refused_or_same(webp_cut(data, kept), whole, must_refuse=False)


def test_a_gif_taller_than_its_stream_is_refused() -> None:
    with pytest.raises(ImageError):
        read_image(gif_taller())


@pytest.mark.parametrize("form", ["GIF", "BMP", "AVIF", "HEIF", "JPEG XL", "WEBP"])
def test_a_file_that_stops_is_refused(form: str) -> None:
    if form == "JPEG XL":
        data = bytes(imagecodecs.jpegxl_encode(photo()))
    else:
        if form == "HEIF":
            pytest.importorskip("pillow_heif").register_heif_opener()
        data = saved(form)
    whole = read_image(data).pixels
    for depth in (*DEPTHS, 0.995):
        assert_refused_or_same(data[: int(depth * len(data))], whole, must_refuse=False)


def test_a_bitmap_of_one_bit_is_grey_whichever_way_its_palette_runs() -> None:
    data = saved("BMP", Pillow.fromarray(photo(1)[..., 0]).convert("1"))
    straight = read_image(data).pixels
    turned = read_image(data[:54] + b"\xff\xff\xff\0\0\0\0\0" + data[62:]).pixels
    assert straight.shape == turned.shape == (HEIGHT, WIDTH, 1)
    np.testing.assert_array_equal(turned, 255 - straight)


# A header alone ---------------------------------------------------------------------------------------------------------------


def far_too_short() -> dict[str, bytes]:
    jpeg, progressive = JPEGS["4:2:0"](), JPEGS["progressive"]()
    large = struct.pack(">HH", 7000, 7000)
    header = struct.pack(">IIBBBBB", 7000, 7000, 8, 2, 0, 0, 0)
    made = {"PNG": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")}
    for name, data, marker in (("JPEG", jpeg, b"\xff\xc0"), ("progressive", progressive, b"\xff\xc2")):
        place = data.index(marker) + 5
        made[name] = (data[:place] + large + data[place + 4 :])[:631]
    return made


@pytest.mark.parametrize("form", ["PNG", "JPEG", "progressive"])
def test_a_header_that_its_bytes_cannot_fill_is_refused_unread(form: str, tmp_path: Any) -> None:
    data = far_too_short()[form]
    path = tmp_path / "picture"
    path.write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(Damaged, match="cannot hold the 7000x7000 pixels"):
            read(path)


# Several pictures in one ------------------------------------------------------------------------------------------------------


def test_a_multi_picture_file_says_what_was_left_out() -> None:
    frames = [Pillow.fromarray(photo(3, HEIGHT + 16 * number)) for number in range(3)]
    image = read_image(saved("MPO", frames[0], save_all=True, append_images=frames[1:]))
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    assert any("2 others" in notice for notice in image.notices)


# Lenient ----------------------------------------------------------------------------------------------------------------------


def cut_files() -> dict[str, bytes]:
    rows = photo().tobytes()
    filtered = b"".join(b"\0" + row.tobytes() for row in photo())
    whole = png(filtered, 8, 2)
    strips = [zlib.compress(rows[top * WIDTH * 3 : (top + ROWS) * WIDTH * 3]) for top in (0, ROWS)]
    jpeg = JPEGS["4:4:4"]()
    return {
        "PNG, rows missing": png(filtered[: len(filtered) // 2], 8, 2),
        "PNG, cut": whole[: len(whole) // 2],
        "BMP": saved("BMP")[:-2000],
        "TIFF": tiff([*strips, b"damaged"], 8),
        "JPEG": jpeg[: len(jpeg) // 2],
        "JPEG with an end": jpeg[: len(jpeg) // 2] + END,
    }


@pytest.mark.parametrize("kind", cut_files())
def test_lenient_takes_what_there_is_and_says_what_was_wrong(kind: str) -> None:
    data = cut_files()[kind]
    with pytest.raises(Damaged) as refused:
        read_image(data)
    image = read_image(data, lenient=True)
    assert image.pixels.shape == (HEIGHT, WIDTH, 3)
    # The third that came first is there; a BMP begins at the bottom.
    there = slice(-ROWS, None) if kind == "BMP" else slice(0, ROWS)
    expected = np.asarray(Pillow.open(io.BytesIO(JPEGS["4:4:4"]()))) if "JPEG" in kind else photo()
    np.testing.assert_array_equal(image.pixels[there], expected[there])
    assert image.damage is not None
    assert image.damage in str(refused.value)
    assert any("damaged" in notice for notice in image.notices)


def test_lenient_changes_nothing_for_a_whole_file() -> None:
    data = saved("PNG")
    image = read_image(data, lenient=True)
    np.testing.assert_array_equal(image.pixels, photo())
    assert image.damage is None
    assert image.notices == ()


def test_lenient_keeps_to_the_limit_of_pixels() -> None:
    for data in cut_files().values():
        with pytest.raises(ImageError, match="more than 100 pixels"):
            read_image(data, max_pixels=100, lenient=True)
