"""Whatever bytes come in, the answer is an Image or one ImageError in one line, in bounded memory."""

from __future__ import annotations

import io
import os
import random
import re
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from superscale.errors import ImageError, install_line
from superscale.image.io import Image, as_rgb8, encode, read_image

ROOT = Path(__file__).parents[2]


def drawing() -> Any:
    return np.kron(np.random.default_rng(3).integers(0, 250, (8, 10, 3)), np.ones((5, 5, 1), int)).astype(np.uint8)


def by_pillow(form: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(drawing()).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def by_tifffile(**options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, drawing().astype(np.uint16) * 257, photometric="rgb", **options)
    return stream.getvalue()


MAKERS: dict[str, Callable[[], bytes]] = {
    "png": lambda: by_pillow("PNG"),
    "png-palette": lambda: by_pillow("PNG", "P"),
    "png16": lambda: bytes(imagecodecs.png_encode(drawing().astype(np.uint16) * 257)),
    "jpeg": lambda: by_pillow("JPEG"),
    "jpeg-progressive": lambda: by_pillow("JPEG", progressive=True),
    "jpeg-cmyk": lambda: by_pillow("JPEG", "CMYK"),
    "webp": lambda: by_pillow("WEBP"),
    "webp-lossless": lambda: by_pillow("WEBP", lossless=True),
    "gif": lambda: by_pillow("GIF"),
    "bmp": lambda: by_pillow("BMP"),
    "avif": lambda: by_pillow("AVIF"),
    "jxl": lambda: bytes(imagecodecs.jpegxl_encode(drawing())),
    "tiff-palette": lambda: by_pillow("TIFF", "P", compression="tiff_lzw"),
    "tiff16": lambda: by_tifffile(),
    "tiff16-lzw": lambda: by_tifffile(compression="lzw"),
    "tiff16-tiles": lambda: by_tifffile(tile=(16, 16), compression="zlib", predictor=2),
    "tiff16-big": lambda: by_tifffile(bigtiff=True, compression="zstd"),
}


def outcome(source: bytes | Path) -> Image | None:
    """The picture, or None for an ImageError of one line; anything else gets through."""
    try:
        return read_image(source)
    except ImageError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1
    return None


@pytest.mark.parametrize("maker", MAKERS)
def test_a_file_cut_anywhere_is_refused_or_whole(maker: str) -> None:
    data = MAKERS[maker]()
    whole = read_image(data).pixels
    chance = random.Random(maker)
    for length in [*(len(data) - lost for lost in range(1, 12)), *(chance.randrange(len(data)) for _ in range(40))]:
        image = outcome(data[:length])
        # What goes missing may be padding; it is never samples.
        assert image is None or np.array_equal(image.pixels, whole)


@pytest.mark.parametrize("maker", MAKERS)
def test_flipped_bytes_give_a_picture_or_one_error(maker: str) -> None:
    data = MAKERS[maker]()
    chance = random.Random(maker)
    for _ in range(120):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 3, 10))):
            place = chance.randrange(min(len(data), 400)) if chance.random() < 0.6 else chance.randrange(len(data))
            damaged[place] = chance.choice((0, 255, damaged[place] ^ 1 << chance.randrange(8), chance.randrange(256)))
        began = time.monotonic()
        outcome(bytes(damaged))
        assert time.monotonic() - began < 5


REFUSED = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "Photoshop": b"8BPS\0\1",
    "OpenEXR": b"\x76\x2f\x31\x01",
}


@pytest.mark.parametrize("form", REFUSED)
def test_formats_that_are_not_read_are_refused_by_name(form: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(REFUSED[form])
    with pytest.raises(ImageError, match=rf"picture\.png: {form}.*not read"):
        read_image(path)


def test_heic_without_its_decoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=re.escape(f"HEIC needs an extra: {install_line('heic')}")):
        read_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))


def test_jpeg_xl_without_its_decoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(ImageError, match=re.escape(f"JPEG XL needs an extra: {install_line('jxl')}")):
        read_image(bytes(imagecodecs.jpegxl_encode(drawing())))


def test_twelve_bit_jpeg_is_called_what_it_is() -> None:
    deep = imagecodecs.jpeg_encode(np.full((16, 16), 4095, np.uint16), bitspersample=12)
    with pytest.raises(ImageError, match="more than 8 bits a sample"):
        read_image(bytes(deep))


def test_heic_is_read_with_its_decoder() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    stream = io.BytesIO()
    heif.from_pillow(Pillow.new("RGB", (64, 48), (200, 30, 90))).save(stream)
    pixels = read_image(stream.getvalue()).pixels
    assert pixels.shape == (48, 64, 3)
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to((200, 30, 90), pixels.shape), atol=4)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_and_several_pages_are_refused_in_one_line(form: str) -> None:
    stream = io.BytesIO()
    frames = [Pillow.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(stream, form, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="expected one still picture"):
        read_image(stream.getvalue())


def test_previews_beside_the_picture_are_not_pages() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(drawing(), photometric="rgb", metadata=None)
        writer.write(drawing()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(stream.getvalue()).pixels, drawing())


def tiff(bits: int, compression: int, body: bytes, width: int = 64, samples: int = 1) -> bytes:
    entries = [(256, 4, width), (257, 4, 64), (258, 3, bits), (259, 3, compression), (262, 3, 1)]
    entries += [(273, 4, 122), (277, 3, samples), (278, 4, 64), (279, 4, len(body))]
    directory = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4) + body


@pytest.mark.parametrize("bits", [8, 16])
def test_a_strip_that_swells_is_stopped(bits: int) -> None:
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1_000_000)) for _ in range(600)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError):
        read_image(tiff(bits, 8, body))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_many_samples_count_as_many_pixels() -> None:
    with pytest.raises(ImageError, match="60000 samples is more than"):
        read_image(tiff(16, 8, zlib.compress(bytes(100)), width=4000, samples=60000))


def test_size_is_checked_before_anything_is_decoded() -> None:
    data = encode(Image(np.zeros((20, 30, 3), np.uint8)), ".png")
    # The samples are gone: only a decoder would notice.
    header = data[: data.index(b"IDAT") - 4] + struct.pack(">I", 4) + b"IDAT" + bytes(8)
    with pytest.raises(ImageError, match="30x20 is more than 599 pixels"):
        read_image(header, max_pixels=599)
    assert read_image(data, max_pixels=600).width == 30


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png")


def test_samples_that_are_not_numbers_are_not_learnt_from() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.array([[0.5, np.nan]], dtype=np.float32))
    with pytest.raises(ImageError, match="samples without data"):
        as_rgb8(read_image(stream.getvalue()))


def test_odd_and_hostile_files_are_told_apart(tmp_path: Path) -> None:
    maker = ROOT.parent / "shared" / "tools" / "make_bad_inputs.py"
    if not maker.is_file():
        pytest.skip("the maker of hostile files does not lie beside this checkout (../shared/tools)")
    subprocess.run([sys.executable, str(maker), str(tmp_path)], check=True)
    wrong = []
    for path in sorted(tmp_path.iterdir()):
        if path.is_dir():
            continue
        good = not path.name.startswith(("bad_", "bomb_"))
        if (outcome(path) is not None) != good:
            wrong.append(path.name)
    assert wrong == []
