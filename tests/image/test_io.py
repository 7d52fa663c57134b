from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage

from superscale.data.synthetic import synthetic_picture
from superscale.errors import Damaged, ImageError, TooLarge, Unsupported
from superscale.image.io import Image, encode, image_size, list_images, read_image, write_bytes, write_image
from superscale.image.metadata import Metadata


def coloured(noise: np.random.Generator) -> np.ndarray:
    return noise.integers(0, 256, (9, 13, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_lossless_files_hold_every_sample_in_rgb_order(suffix: str, tmp_path: Path, noise: np.random.Generator) -> None:
    pixels = coloured(noise)
    write_image(tmp_path / f"a{suffix}", Image(pixels))
    np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / f"a{suffix}")), pixels)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_files_keep_red_red_and_blue_blue(suffix: str, tmp_path: Path) -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32, 0], pixels[:, 32:, 2] = 200, 200
    write_image(tmp_path / f"a{suffix}", Image(pixels))
    got = read_image(tmp_path / f"a{suffix}").pixels.astype(int)
    np.testing.assert_allclose(got[8:24, 8:24].mean((0, 1)), (200, 0, 0), atol=3)
    np.testing.assert_allclose(got[8:24, 40:56].mean((0, 1)), (0, 0, 200), atol=3)


def test_grey_stays_grey_and_alpha_stays_alpha(tmp_path: Path, noise: np.random.Generator) -> None:
    grey = noise.integers(0, 256, (5, 6), dtype=np.uint8)
    PillowImage.fromarray(grey).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(image.pixels[..., 0], grey)
    write_image(tmp_path / "again.png", image)
    with PillowImage.open(tmp_path / "again.png") as again:
        assert again.mode == "L"
    rgba = noise.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    PillowImage.fromarray(rgba).save(tmp_path / "rgba.png")
    image = read_image(tmp_path / "rgba.png")
    np.testing.assert_array_equal(image.pixels, rgba[..., :3])
    np.testing.assert_array_equal(image.alpha, rgba[..., 3])


def test_orientation_is_applied_once_and_the_tag_removed(tmp_path: Path, noise: np.random.Generator) -> None:
    pixels = coloured(noise)
    exif = PillowImage.Exif()
    exif[274] = 6  # turn a quarter clockwise to view
    exif[271] = "maker"
    PillowImage.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(image.pixels, np.rot90(pixels, -1))
    write_image(tmp_path / "again.png", image)
    with PillowImage.open(tmp_path / "again.png") as again:
        assert again.getexif().get(274) is None
        assert again.getexif()[271] == "maker"
    np.testing.assert_array_equal(read_image(tmp_path / "again.png").pixels, np.rot90(pixels, -1))


def test_the_colour_profile_is_kept(tmp_path: Path, noise: np.random.Generator) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PillowImage.fromarray(coloured(noise)).save(tmp_path / "a.png", icc_profile=profile)
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.png"))
    with PillowImage.open(tmp_path / "b.jpg") as written:
        assert written.info["icc_profile"] == profile


def test_content_counts_not_the_suffix(tmp_path: Path, noise: np.random.Generator) -> None:
    pixels = coloured(noise)
    (tmp_path / "a.jpg").write_bytes(encode(Image(pixels), ".png"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, pixels)


def test_a_jpeg_that_libjpeg_would_not_open_is_not_written() -> None:
    for side, opens in ((65500, True), (65501, False)):
        for shape in ((1, side, 1), (side, 1, 3)):
            image = Image(np.zeros(shape, np.uint8))
            if opens:
                with PillowImage.open(io.BytesIO(encode(image, ".jpg"))) as picture:
                    picture.load()
            else:
                with pytest.raises(Unsupported, match="choose png or tiff"):
                    encode(image, ".jpg")


def test_jpeg_lays_transparency_over_white() -> None:
    pixels, alpha = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
    decoded = np.asarray(PillowImage.open(io.BytesIO(encode(Image(pixels, alpha), ".jpg"))))
    assert decoded.min() >= 254


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(100)])
def test_what_is_no_picture_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.png"):
        read_image(tmp_path / "bad.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_a_picture_cut_short_is_never_half_a_picture(suffix: str, noise: np.random.Generator) -> None:
    whole = encode(Image(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)), suffix)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ImageError):
            read_image(whole[: int(len(whole) * part)])


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, noise: np.random.Generator) -> None:
    write_image(tmp_path / "a.png", Image(coloured(noise)))
    with pytest.raises(TooLarge, match="13x9 is more than 100 pixels; raise max_pixels to allow it") as refused:
        read_image(tmp_path / "a.png", max_pixels=100)
    assert (refused.value.limit, refused.value.setting) == (100, "max_pixels")
    assert read_image(tmp_path / "a.png", max_pixels=117).width == 13


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a.png", b"new")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_folders_are_listed_below_and_in_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a.webp", "notes.txt"):
        write_bytes(tmp_path / name, b"")
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a.webp", "b/1.JPG", "b/2.png"]


def test_a_folder_of_links_holds_what_they_lead_to_once_and_one_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    folder, other = tmp_path / "photos", tmp_path / "other"
    for path in (folder / "z" / "a.png", other / "b.png"):
        path.parent.mkdir(parents=True)
        path.touch()
    for link, target in (
        ("more", other),
        ("again", folder / "z"),
        ("z/up", folder),
        ("z/further-up", tmp_path),
        ("a.png", other / "b.png"),
    ):
        (folder / link).symlink_to(target)
    (folder / ".#a.png").symlink_to("user@host.1:2")  # how Emacs locks a file
    (folder / "notes.txt").symlink_to("nowhere.txt")
    assert [path.relative_to(folder).as_posix() for path in list_images(folder)] == ["a.png", "more/b.png", "z/a.png"]
    for name in ("c.png", "DIV2K"):
        (link := folder / name).symlink_to("/nowhere")
        with pytest.raises(ImageError, match=f"{name}: .*a link that leads nowhere"):
            list_images(folder)
        link.unlink()


def test_unknown_output_formats_are_refused(noise: np.random.Generator) -> None:
    with pytest.raises(ImageError, match=r"\.xyz"):
        encode(Image(coloured(noise)), ".xyz")


def test_an_error_of_size_is_whole_after_a_way_between_processes() -> None:
    again = pickle.loads(pickle.dumps(TooLarge("a.png: 9 bytes, more than 5", 5, "max_bytes")))
    assert (str(again), again.limit, again.setting) == (
        "a.png: 9 bytes, more than 5; raise max_bytes to allow it",
        5,
        "max_bytes",
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"", Damaged), (b"\x89PNG\r\n\x1a\n", Damaged), (b"not a picture", Unsupported), (b"8BPS", Unsupported)],
)
def test_what_is_damaged_and_what_is_not_read_are_told_apart(content: bytes, kind: type[ImageError], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(kind, match=r"a\.png"):
            read(tmp_path / "a.png")


def installed(suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed").register_heif_opener()
    if suffix == ".jxl":
        pytest.importorskip("pillow_jxl", reason="the extra 'jxl' is not installed")


def told_and_read(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    image = read_image(path)
    return image_size(path), (image.width, image.height)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".gif", ".bmp", ".avif", ".heic", ".jxl"])
def test_the_size_told_of_a_file_is_that_of_the_picture_read_from_it(suffix: str, tmp_path: Path) -> None:
    installed(suffix)
    path = tmp_path / f"a{suffix}"
    PillowImage.fromarray(np.zeros((24, 38, 3), np.uint8)).save(path)
    assert told_and_read(path) == ((38, 24), (38, 24))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".avif", ".heic", ".jxl"])
def test_the_size_told_of_a_turned_picture_is_that_of_the_picture_read(suffix: str, orientation: int, tmp_path: Path) -> None:
    installed(suffix)
    exif = PillowImage.Exif()
    exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    PillowImage.fromarray(np.zeros((24, 38, 3), np.uint8)).save(path, exif=exif.tobytes())
    told, read = told_and_read(path)
    assert told == read
    if suffix != ".jxl":  # which is turned by its own codestream alone
        assert told == ((24, 38) if orientation in (5, 6, 7, 8) else (38, 24))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_packed_into_jpeg_xl_is_as_upright_as_it_was(orientation: int, tmp_path: Path) -> None:
    installed(".jxl")
    exif = PillowImage.Exif()
    exif[274] = orientation
    stream = io.BytesIO()
    PillowImage.fromarray(np.zeros((24, 38, 3), np.uint8)).save(stream, "JPEG", exif=exif)
    path = tmp_path / "a.jxl"
    path.write_bytes(bytes(imagecodecs.jpegxl_encode_jpeg(stream.getvalue())))
    size = (24, 38) if orientation > 4 else (38, 24)
    assert told_and_read(path) == (size, size)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "RGB"])
def test_a_tiff_that_pillow_decodes_is_told_upright_too(mode: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    PillowImage.fromarray(np.zeros((24, 38, 3), np.uint8)).convert(mode).save(path, tiffinfo={274: orientation})
    size = (24, 38) if orientation > 4 else (38, 24)
    assert told_and_read(path) == (size, size)


@pytest.mark.parametrize("kind", ["EXIF", "XMP"])
def test_an_orientation_behind_the_samples_of_a_png_counts(kind: str, tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[274] = 6
    body = exif.tobytes()[6:] if kind == "EXIF" else b'XML:com.adobe.xmp\0\0\0\0\0<a tiff:Orientation="6"/>'
    chunk = (b"eXIf" if kind == "EXIF" else b"iTXt") + body
    late = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    plain = encode(Image(np.zeros((24, 38, 3), np.uint8)), ".png")
    path = tmp_path / "a.png"
    path.write_bytes(plain[:-12] + late + plain[-12:])
    assert told_and_read(path) == ((24, 38), (24, 38))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".jxl"])
def test_the_size_is_told_without_the_samples(suffix: str, tmp_path: Path, noise: np.random.Generator) -> None:
    installed(suffix)
    path = tmp_path / f"a{suffix}"
    picture = PillowImage.fromarray(noise.integers(0, 256, (200, 380, 3), dtype=np.uint8))
    # A TIFF's directory stands behind its samples: there they are made unreadable instead.
    picture.save(path, **({"compression": "tiff_lzw"} if suffix == ".tiff" else {}))
    data = path.read_bytes()
    path.write_bytes(data[:1000] + b"\xff" * 1000 + data[2000:] if suffix == ".tiff" else data[:2000])
    with pytest.raises(ImageError):
        read_image(path)
    assert image_size(path) == (380, 200)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [1, 50, 95, 100])
def test_a_jpeg_is_the_file_that_pillow_writes(channels: int, quality: int) -> None:
    pixels = synthetic_picture(0, 40)[:33, :, :channels]
    exif = PillowImage.Exif()
    exif[0x010E] = "\u00ff\u00db tables \xff\xdb\x00 within"  # what looks like the end of what a file says of itself
    exif[0xC4A5] = b"\xff\xdb\x00\x43" * 3
    picture = PillowImage.fromarray(pixels if channels == 3 else pixels[..., 0])
    stream = io.BytesIO()
    options: dict[str, Any] = {"exif": exif.tobytes(), "dpi": (300, 300), "icc_profile": b"\xff\xdb\x00" * 50_000}
    picture.save(stream, "JPEG", quality=quality, subsampling=0, **options)
    metadata = Metadata(exif=exif.tobytes(), dpi=(300, 300), icc_profile=options["icc_profile"])
    assert encode(Image(pixels, metadata=metadata), ".jpg", quality) == stream.getvalue()
