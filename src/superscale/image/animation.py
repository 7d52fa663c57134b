"""Animations: GIF, WebP and APNG, frame by frame, each the whole picture that is then seen; with their times and how often they run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL.Image import Image as PillowPicture

from superscale.errors import Damaged, TooLarge, Unsupported
from superscale.image import png, profile
from superscale.image.codecs import open_picture, png_colours, png_text, read_pillow, with_colours
from superscale.image.formats import HEADER_BYTES, format_of
from superscale.image.metadata import Metadata, read_metadata, upright
from superscale.image.picture import RGB, Image, at_depth, checked_size, to_pillow
from superscale.image.pixels import white
from superscale.image.stack import Stack, StackWriter

Reader = Callable[[IO[bytes], str, int | None], Image]
FORMATS = ("GIF", "WEBP", "PNG")
# Bytes by which the blocks of a GIF begin.
GIF_IMAGE, GIF_EXTENSION, GIF_END = 0x2C, 0x21, b";"
# What a browser takes for a frame that states no time.
UNSTATED_MS = 100.0
# The units in which formats count the times of frames; those of the others are milliseconds.
CLOCK_MS = {"GIF": 10}


class Animation:
    """Frames that are read when they are asked for, upright and composed: what was drawn before is there where a frame leaves it."""

    def __init__(self, picture: PillowPicture, name: str, colours: dict[bytes, bytes]) -> None:
        self._picture, self._name, self._colours = picture, name, colours
        # The first picture of an APNG may be one for programs that know no animations.
        self._first = int(bool(picture.info.get("default_image")))
        self.count = int(getattr(picture, "n_frames", 1)) - self._first

    def page(self, number: int) -> Image:
        """The frame ``number``, from 0. Raises whatever Pillow stumbles over."""
        picture = self._picture
        picture.seek(self._first + number)
        picture.load()
        samples = np.asarray(picture.convert("RGBA"))
        metadata, orientation, notices = read_metadata(picture)
        samples = upright(samples, orientation)
        if self._first:
            notices += ("its picture for programs that know no animations was left out",)
        alpha = samples[..., 3]
        shown = float(picture.info.get("duration") or UNSTATED_MS)
        icc, unfit = profile.fitting(picture.info.get("icc_profile"), RGB)
        metadata = with_colours(replace(metadata, frame_ms=shown, loops=self._loops(), icc_profile=icc), self._colours)
        notices += unfit
        opaque = bool(alpha.min() == white(alpha.dtype))
        return Image(np.ascontiguousarray(samples[..., :3]), None if opaque else alpha.copy(), metadata, notices)

    def _loops(self) -> int | None:
        """How often it runs; 0: for ever. A GIF that says nothing runs once, and one that says n, n times more."""
        said = self._picture.info.get("loop")
        if self._picture.format == "GIF":
            return 1 if said is None else (said + 1 if said else 0)
        return 0 if said is None else int(said)


class One:
    """A still picture, as a stack of one."""

    count = 1

    def __init__(self, read: Callable[[], Image]) -> None:
        self._read = read

    def page(self, _number: int) -> Image:
        """The picture."""
        return self._read()


def frames_of(form: str, read: Reader, stream: IO[bytes], name: str, max_pixels: int | None) -> Stack:
    """The frames of an animation, or the picture that ``read`` reads of any other file. Raises TooLarge where the frames together have
    more than ``max_pixels``."""
    picture = open_picture(stream, form, name)
    if not getattr(picture, "is_animated", False):
        stream.seek(0)
        return One(partial(read, stream, name, max_pixels))
    _check_whole(form, stream, name)
    animation = Animation(picture, name, _colours(form, stream))
    checked_size(*picture.size, 1, max_pixels, name)
    total = picture.width * picture.height * animation.count
    if max_pixels is not None and total > max_pixels:
        raise TooLarge(
            f"{name}: {animation.count} frames of {picture.width}x{picture.height} are more than {max_pixels} pixels",
            max_pixels,
        )
    return animation


def _colours(form: str, stream: IO[bytes]) -> dict[bytes, bytes]:
    if form != "PNG":
        return {}
    place = stream.seek(0)
    colours = png_colours(stream.read())
    stream.seek(place)
    return colours


def _check_whole(form: str, stream: IO[bytes], name: str) -> None:
    """Raise Damaged for an animation that was cut between two frames, or says that it has fewer: Pillow plays what is left."""
    place = stream.seek(0)
    data = stream.read() if form in ("GIF", "PNG") else b""
    stream.seek(place)
    if form == "GIF" and not _gif_ends(data):
        raise Damaged(f"{name}: damaged picture (cut short: no end)")
    if form == "PNG":
        png.check_chunks(data, name)
        png.check_rows(data, name)
        promised = [int.from_bytes(whole[8:12], "big") for _, whole in png.chunks(io.BytesIO(data), (b"acTL",))]
        found = sum(1 for _ in png.chunks(io.BytesIO(data), (b"fcTL",)))
        if promised[:1] != [found]:
            raise Damaged(
                f"{name}: damaged picture ({found} frames, and its header says {promised[0] if promised else 'none'})"
            )


def _gif_ends(data: bytes) -> bool:
    """Whether the blocks of a GIF lead to its trailer (GIF89a, appendix B)."""
    place = 13 + _table_bytes(data[10:11])
    while place < len(data) and data[place : place + 1] != GIF_END:
        kind, place = data[place], place + 1
        if kind == GIF_IMAGE:
            place += 9 + _table_bytes(data[place + 8 : place + 9]) + 1
        elif kind == GIF_EXTENSION:
            place += 1
        else:  # decoders pass over what is no block
            continue
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    return data[place : place + 1] == GIF_END


def _table_bytes(flags: bytes) -> int:
    """The length of the table of colours that a byte of flags announces."""
    return 3 * (2 << (flags[0] & 7)) if flags and flags[0] & 0x80 else 0


class AnimationWriter:
    """Writes an animation when its last frame is there: the encoders take all of them at once."""

    def __init__(self, form: str, stream: IO[bytes], count: int) -> None:
        self._form, self._stream, self._count = form, stream, count
        self._frames: list[PillowPicture] = []
        self._times: list[float] = []
        self._metadata = Metadata()
        self.notices: tuple[str, ...] = ()

    def add(self, image: Image) -> None:
        """Take one more frame. Raises Unsupported for what is no frame of an animation."""
        if (shown := image.metadata.frame_ms) is None:
            raise Unsupported(f"{self._form} holds one picture, and there are {self._count}; choose tiff, or dcm for DICOM")
        image = at_depth(image, np.uint8)
        if self._form == "GIF" and image.alpha is not None:
            image = replace(
                image,
                alpha=np.where(image.alpha < white(np.dtype(np.uint8)) / 2, 0, white(np.dtype(np.uint8))).astype(np.uint8),
            )
        self._frames.append(to_pillow(image))
        self._times.append(shown)
        self._metadata = image.metadata

    def finish(self) -> None:
        """Write the file."""
        mode = "RGBA" if any(frame.mode == "RGBA" for frame in self._frames) else "RGB"
        first, *rest = (frame.convert(mode) for frame in self._frames)
        loops = self._metadata.loops or 0
        options: dict[str, Any] = {
            "duration": _ticked(self._times, CLOCK_MS.get(self._form, 1)),
            "save_all": True,
            "append_images": rest,
        }
        if self._form == "GIF":
            # 2: each frame begins with nothing, so that what is transparent in it shows nothing of the frame before.
            options["disposal"] = 2 if mode == "RGBA" else 1
            options |= {"loop": max(loops - 1, 0)} if loops != 1 else {}
        else:
            options |= {"loop": loops, **self._metadata.said("exif", "icc_profile")}
        if self._form == "WEBP":
            options |= {**self._metadata.said("xmp"), "lossless": True, "quality": 75, "method": 4, "exact": True}
        if self._form == "PNG":
            options |= {"pnginfo": png_text(self._metadata), "disposal": 0, "blend": 0, "default_image": False}
        if self._form != "PNG" and (chunks := self._metadata.only_in_png()):
            self.notices += (
                f"only PNG holds what its colours are said to mean ({chunks}); as {self._form} they may look different",
            )
        if self._form == "GIF" and self._metadata.icc_profile is not None:
            self.notices += ("GIF holds no colour profile: its colours may look different",)
        first.save(self._stream, self._form, **options)


def _ticked(times_ms: Sequence[float], tick_ms: int) -> list[int]:
    """Times in whole ticks, of which none is nothing, that end where the frames end: 60 frames last a second at 16.7 ms each, too."""
    ticked: list[int] = []
    end, begin = 0.0, 0
    for time in times_ms:
        end += time
        ticked.append(max(round(end / tick_ms) * tick_ms - begin, tick_ms))
        begin += ticked[-1]
    return ticked


def animated(
    form: str, read: Reader
) -> tuple[Callable[[IO[bytes], str, int | None], Stack], Callable[[IO[bytes], int], StackWriter]]:
    """How animations of a format are read and written; ``read``: its still pictures."""
    return partial(frames_of, form, read), partial(AnimationWriter, form)


def read_gif(stream: IO[bytes], name: str, max_pixels: int | None) -> Image:
    """A still GIF. Raises ImageError."""
    return read_pillow("GIF", stream, name, max_pixels)


def is_animated(path: Path) -> bool:
    """Whether a GIF, WebP or PNG holds several frames; False where it cannot be read, which reading it tells."""
    try:
        with open(path, "rb") as stream:
            form = format_of(stream.read(HEADER_BYTES))
            stream.seek(0)
            return form in FORMATS and bool(getattr(open_picture(stream, form, str(path)), "is_animated", False))
    except Exception:  # whatever Pillow stumbles over
        return False
