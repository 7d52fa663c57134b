"""Files <-> pictures: PNG, JPEG, WebP and TIFF at 8 bits, recognised by content; the only owner of image codecs."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as PillowImage
from PIL.Image import DecompressionBombError
from PIL.Image import Image as PillowPicture

from superscale.errors import ImageError
from superscale.image.pixels import peak, round_half_up

__all__ = [
    "Image",
    "PillowPicture",
    "decode",
    "encode",
    "list_images",
    "over_white",
    "read_image",
    "to_pillow",
    "write_bytes",
    "write_image",
]

Array = NDArray[np.uint8]

# file suffix -> Pillow's name of the format
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
READABLE = tuple(sorted(set(SUFFIXES.values())))
QUALITY = 95
# Modes that 8-bit grey or colour with or without alpha hold without loss; anything deeper is refused, never squeezed.
DECODED_AS = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
}


@dataclass(frozen=True)
class Image:
    """A decoded picture: ``pixels`` uint8 (H, W, C), C = 1 grey or 3 RGB, upright; ``alpha`` (H, W) or None.

    ``metadata`` is what `write_image` puts back: ICC profile, EXIF (orientation removed, since it has been applied), dpi.
    """

    pixels: Array
    alpha: Array | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def with_pixels(self, pixels: Array, alpha: Array | None) -> Image:
        return replace(self, pixels=pixels, alpha=alpha)


def read_image(source: Path | str | bytes, max_pixels: int | None = None) -> Image:
    """Decode one still picture from a file or from bytes.

    Raises ImageError when it is no picture, is damaged or cut short, has more than ``max_pixels`` pixels, is animated, or
    holds samples of more than 8 bits (which are not squeezed silently).
    """
    name = "<bytes>" if isinstance(source, bytes) else str(source)
    try:
        with _opened(source) as picture:
            return decode(picture, name, max_pixels)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name}: expected a picture, got a folder") from error
    except DecompressionBombError as error:
        raise ImageError(f"{name}: too large to decode safely ({error})") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in any of {', '.join(READABLE)}") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise ImageError(f"{name}: damaged picture ({error})") from error


@contextmanager
def _opened(source: Path | str | bytes) -> Iterator[PillowPicture]:
    with warnings.catch_warnings():
        # Damage is an error here, and the limit on pixels is ours to check from the header before anything is decoded.
        warnings.simplefilter("ignore")
        stream = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
        with stream, PillowImage.open(stream, formats=READABLE) as picture:
            yield picture


def decode(picture: PillowPicture, name: str = "<picture>", max_pixels: int | None = None) -> Image:
    """A Pillow picture -> Image, turned upright. Raises ImageError as `read_image` does."""
    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the header says {width}x{height} pixels")
    if max_pixels is not None and width * height > max_pixels:
        raise ImageError(f"{name}: {width}x{height} is more than {max_pixels} pixels; raise --max-pixels to allow it")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise ImageError(f"{name}: {frames} frames; expected one still picture")
    mode = _eight_bit_mode(picture, name)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    # After turning: reading the metadata takes the orientation out of Pillow's own copy.
    metadata = _metadata(picture)
    samples = np.asarray(upright.convert(mode))
    if mode in ("LA", "RGBA"):
        return Image(np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1]), metadata)
    return Image(samples if samples.ndim == 3 else samples[..., None], None, metadata)


def _eight_bit_mode(picture: PillowPicture, name: str) -> str:
    # Pillow opens 16-bit RGB PNG and TIFF as 8 bits; the header says what the file holds.
    tile: Any = getattr(picture, "tile", None)
    rawmode = str(tile[0].args) if tile else ""
    deep = "16" in rawmode if picture.format == "PNG" else max(_tiff_bits(picture), default=8) > 8
    if picture.mode not in DECODED_AS or deep:
        raise ImageError(
            f"{name}: expected 8 bits a sample in grey, RGB or palette, with or without alpha; got "
            f"{picture.mode}{' with more than 8 bits' if deep else ''}. Convert it to 8-bit RGB first"
        )
    if picture.mode == "P" and "transparency" in picture.info:
        return "RGBA"
    if "transparency" in picture.info and picture.mode in ("1", "L", "RGB"):
        return "RGBA" if picture.mode == "RGB" else "LA"
    return DECODED_AS[picture.mode]


def _tiff_bits(picture: PillowPicture) -> tuple[int, ...]:
    tags = getattr(picture, "tag_v2", None)
    return tuple(tags.get(258, (8,))) if tags is not None else (8,)


def _metadata(picture: PillowPicture) -> dict[str, Any]:
    kept = {key: picture.info[key] for key in ("icc_profile", "dpi") if picture.info.get(key)}
    # A TIFF's own tags (sizes, strips, compression) describe the old file; only real EXIF is carried over.
    if picture.format != "TIFF":
        exif = picture.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        if len(exif):
            kept["exif"] = exif.tobytes()
    return kept


def to_pillow(image: Image) -> PillowPicture:
    """Image -> Pillow picture in mode L, LA, RGB or RGBA, metadata in ``info``."""
    samples = image.pixels if image.alpha is None else np.concatenate((image.pixels, image.alpha[..., None]), axis=-1)
    picture = PillowImage.fromarray(samples[..., 0] if samples.shape[-1] == 1 else np.ascontiguousarray(samples))
    picture.info.update(image.metadata)
    return picture


def encode(image: Image, suffix: str, quality: int = QUALITY) -> bytes:
    """The bytes of a file of the format that ``suffix`` names (".png", ".jpg", ".webp", ".tiff").

    JPEG is written 4:4:4 and holds no alpha: what is transparent is laid over white. Raises ImageError for any other suffix.
    """
    if suffix.lower() not in SUFFIXES:
        raise ImageError(f"cannot write {suffix or 'a file without suffix'!r}; expected one of {', '.join(SUFFIXES)}")
    form = SUFFIXES[suffix.lower()]
    options: dict[str, Any] = dict(image.metadata)
    picture = to_pillow(over_white(image) if form == "JPEG" else image)
    picture.info.clear()
    if form == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
    elif form == "WEBP":
        options |= {"quality": quality}
        options.pop("dpi", None)
    elif form == "TIFF":
        options |= {"compression": "tiff_deflate"}
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def over_white(image: Image) -> Image:
    """The picture laid over white, without alpha."""
    if image.alpha is None:
        return image
    white = peak(np.uint8)
    alpha = image.alpha[..., None].astype(np.float32) / white
    blended = round_half_up(np.uint8)(image.pixels * alpha + white * (1 - alpha))
    return replace(image, pixels=blended.astype(np.uint8), alpha=None)


def write_image(path: Path | str, image: Image, quality: int = QUALITY) -> None:
    """Encode by the suffix of ``path`` and replace it in one step: another reader sees the old file or the new one."""
    path = Path(path)
    write_bytes(path, encode(image, path.suffix, quality))


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a whole file or nothing: a temporary name in the same folder, fsync, rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".superscale-", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def list_images(folder: Path | str) -> list[Path]:
    """The files below a folder whose suffix is one we write, in the order of their relative paths."""
    folder = Path(folder)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
