"""What a file says of itself: of the old one nothing stays, of each page everything; read back by Pillow and tifffile."""

from __future__ import annotations

import io
import struct
import xml.etree.ElementTree as ET
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, TiffImagePlugin
from PIL import Image as Pillow

from superscale.image.io import encode, read_image
from superscale.image.tiff_pages import TiffPages
from superscale.image.tiff_writer import TiffPagesWriter


def saved(picture: Pillow.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def test_sizes_and_places_in_pixels_leave_exif() -> None:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.ImageWidth] = exif[ExifTags.Base.ImageLength] = 8
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[37396] = (3, 4, 5, 6)  # SubjectArea
    details[41486] = TiffImagePlugin.IFDRational(1000, 1)  # FocalPlaneXResolution
    details[ExifTags.Base.ISOSpeedRatings] = 100
    data = encode(read_image(saved(Pillow.new("RGB", (8, 8)), "JPEG", exif=exif)), ".jpg")
    with Pillow.open(io.BytesIO(data)) as written:
        assert written.getexif()[ExifTags.Base.Make] == "Maker"
        assert ExifTags.Base.ImageWidth not in written.getexif()
        assert dict(written.getexif().get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.ISOSpeedRatings: 100}


@pytest.mark.parametrize(
    "stale",
    [
        "hdrgm:Version='1.0'",
        'tiff:ImageWidth="8"',
        'exif:PixelXDimension = "8"',
        "tiff:Orientation='6'",
        'GCamera:MotionPhoto="1"',
        "><Container:Directory><rdf:Seq><rdf:li Item:Length='99'/></rdf:Seq></Container:Directory",
        "><tiff:ImageLength>8</tiff:ImageLength",
    ],
)
def test_what_xmp_says_of_the_old_file_goes_and_the_rest_stays(stale: str) -> None:
    packet = f'<x:xmpmeta><rdf:Description {stale}><dc:title kept="1">Title</dc:title></rdf:Description></x:xmpmeta>'
    if stale.startswith(">"):
        packet = packet.replace("Description >", "Description>", 1)
    kept = read_image(saved(Pillow.new("RGB", (8, 8)), "PNG", xmp=packet)).metadata.xmp or b""
    if not kept:  # Pillow writes XMP to JPEG
        kept = read_image(saved(Pillow.new("RGB", (8, 8)), "JPEG", xmp=packet.encode())).metadata.xmp or b""
    assert ET.fromstring(kept.replace(b":", b"_")).tag == "x_xmpmeta"
    assert stale.strip("><").split(":")[1].split("=")[0].split(">")[0].strip().encode() not in kept
    assert b'<dc:title kept="1">Title</dc:title>' in kept


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_dots_across_and_down_change_places_where_the_picture_is_turned(form: str) -> None:
    exif = Pillow.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = saved(Pillow.new("RGB", (8, 4)), form, exif=exif, dpi=(204, 98))
    with Pillow.open(io.BytesIO(encode(read_image(stored), f".{form.lower()}"))) as written:
        assert written.size == (4, 8)
        assert tuple(map(float, written.info["dpi"])) == (98, 204)


def test_pixels_that_are_not_square_stay_so_in_tiff_and_are_told_elsewhere() -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((4, 8), np.uint8), photometric="minisblack", resolution=(3, 1), resolutionunit=1)
    image = read_image(stream.getvalue())
    with tifffile.TiffFile(io.BytesIO(encode(image, ".tiff"))) as file:
        page: Any = file.pages.first
        across, down = (page.tags[code].value for code in (282, 283))
        assert across[0] * down[1] == 3 * down[0] * across[1]
    stored = bytearray(saved(Pillow.new("RGB", (8, 8)), "JPEG"))
    start = stored.index(b"JFIF\0")
    stored[start + 7 : start + 12] = struct.pack(">BHH", 0, 2, 1)
    assert any("not square" in notice for notice in read_image(bytes(stored)).notices)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_every_page_keeps_what_it_says_of_itself(bigtiff: bool) -> None:
    stream, target = io.BytesIO(), io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=bigtiff) as pages:
        for number in range(2):
            words = {"description": f"page {number}", "software": "scanner", "metadata": None}
            pages.write(np.full((4, 4), number, np.uint8), photometric="minisblack", **words)
    stack = TiffPages(io.BytesIO(stream.getvalue()), "two.tif", None)
    writer = TiffPagesWriter(target, 2)
    for number in range(2):
        writer.add(stack.page(number))
    writer.finish()
    with tifffile.TiffFile(io.BytesIO(target.getvalue())) as file:
        assert [page.description for page in file.pages] == ["page 0", "page 1"]


def test_the_light_of_an_hdr_png_stays_with_its_code_points() -> None:
    chunks = {b"cICP": bytes((9, 16, 0, 1)), b"mDCV": bytes(range(24)), b"cLLI": struct.pack(">II", 10_000_000, 4_000_000)}
    stored = saved(Pillow.new("RGB", (8, 8)), "PNG")
    told = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks.items()
    )
    written = encode(read_image(stored[:33] + told + stored[33:]), ".png")
    assert all(kind + body in written for kind, body in chunks.items())


def test_labels_of_imagej_are_told_where_they_are_left_out() -> None:
    stream = io.BytesIO()
    planes = np.zeros((2, 4, 4), np.uint8)
    tifffile.imwrite(stream, planes, imagej=True, metadata={"axes": "ZYX", "Labels": ["near", "far"]})
    stack = TiffPages(io.BytesIO(stream.getvalue()), "stack.tif", None)
    assert any("labels" in notice for notice in stack.page(0).notices)


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_captions_that_are_left_out_are_told() -> None:
    # IIM 4.2: record 2, dataset 0 is the version, 120 the caption
    version, caption = b"\x1c\x02\x00\x00\x02\x00\x04", b"\x1c\x02\x78\x00\x03Cat"
    jpeg = saved(Pillow.new("RGB", (8, 8)), "JPEG")
    for iptc, notices in (
        (version + caption, ("its IPTC data (captions, keywords, rights) was left out",)),
        (version, ()),
    ):
        resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
        assert read_image(with_segment(jpeg, 0xED, b"Photoshop 3.0\0" + resource)).notices == notices
        for code, body in ((33723, iptc), (34377, resource)):
            stream = io.BytesIO()
            tifffile.imwrite(
                stream, np.zeros((8, 8, 3), np.uint8), photometric="rgb", extratags=[(code, 7, len(body), body, True)]
            )
            assert read_image(stream.getvalue()).notices == notices


def test_xmp_of_several_parts_is_told_and_no_longer_names_them() -> None:
    digest = b"0123456789ABCDEF0123456789ABCDEF"
    xmp = b'<rdf:Description xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s" x:y="z"/>' % digest
    jpeg = saved(Pillow.new("RGB", (8, 8)), "JPEG", xmp=xmp)
    part = b"http://ns.adobe.com/xmp/extension/\0" + digest + struct.pack(">II", 4, 0) + b"<a/>"
    image = read_image(with_segment(jpeg, 0xE1, part))
    assert image.notices == ("its XMP is too long for one part: the first was kept, the others were left out",)
    assert image.metadata.xmp is not None
    assert b"HasExtendedXMP" not in image.metadata.xmp
    assert b'x:y="z"' in image.metadata.xmp
