"""`Clip`: what a video file says of itself; and its frames, one after another."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import VideoFrame
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from superscale.errors import Damaged, ImageError, Unsupported
from superscale.image.formats import HEADER_BYTES, format_of
from superscale.video.look import MATRICES, UNSPECIFIED, Look, look_of
from superscale.video.wholeness import is_cut_short, torn_places

MICROSECONDS = 1_000_000
# Titles that are no UTF-8: since PyAV 19 they never end the reading of a file.
NOT_UTF_8: Any = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
# What a frame may bring that no encoder here writes.
LOST = {
    "A53_CC": "closed captions inside the pictures",
    "DYNAMIC_HDR_PLUS": "HDR10+ data, which differ from scene to scene",
    "DOVI_RPU_BUFFER": "Dolby Vision data",
    "STEREO3D": "the note that this is a stereoscopic picture",
}
# In WebM a stream says so of its transparency, which lies beside its pictures, and which FFmpeg's own decoders pass over.
ALPHA_TAG = "alpha_mode"
# Of FFmpeg's formats those that hold video; others are lists, which would make it open further files, or the network.
FORMATS = ("mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "asf", "flv", "ogg", "mxf")
# These keep a start offset; other formats have clocks that begin anywhere.
OWN_CLOCKS = ("mov,mp4", "matroska")


@dataclass(frozen=True)
class Mastering:
    """HDR10's static data (SMPTE ST 2086, CTA-861.3): ``display``: x and y of red, green, blue and white, then the least and the greatest
    luminance in candelas a square metre; ``light``: the brightest pixel and the brightest frame, or None."""

    display: tuple[float, ...] | None
    light: tuple[int, int] | None


@dataclass(frozen=True)
class Clip:
    """A video file and its one picture stream. ``frames``: how many it says it has, or None; ``first``: the time of the first of them, and
    ``origin``: of the first of anything in the file.

    ``rotation``: degrees by which players turn it anticlockwise; ``turn``: that and how they mirror it, as FFmpeg's display matrix, whose
    shift is in pixels of the old size and left out; None for upright. ``lost``: what its frames bring that cannot be kept.
    """

    path: Path
    format: str
    index: int
    width: int
    height: int
    codec: str
    time_base: Fraction
    rate: Fraction
    first: Fraction
    origin: Fraction
    seconds: float | None
    frames: int | None
    aspect: Fraction | None
    rotation: int
    turn: tuple[int, ...] | None
    look: Look
    mastering: Mastering | None
    lost: tuple[str, ...]

    @property
    def frames_said(self) -> int:
        """How many frames there should be, as far as the file tells; at least 1."""
        return max(1, self.frames or int((self.seconds or 0) * self.rate))

    @property
    def begin(self) -> Fraction:
        """The time that is 0 in the output: the clip's own, except of formats with a clock that begins anywhere."""
        return Fraction(0) if self.format.startswith(OWN_CLOCKS) else self.origin


@dataclass
class Damage:
    """What was wrong on the way, counted."""

    packets: int = 0
    concealed: int = 0
    untimed: int = 0
    cut: bool = False
    torn: int = 0

    def __str__(self) -> str:
        said = [
            (self.torn, "damaged places in the file, behind which frames or sound are missing"),
            (self.packets, "damaged packets, whose frames are missing"),
            (self.concealed, "damaged frames, concealed as FFmpeg does"),
            (self.untimed, "frames without a time of their own, which was set by the frame rate"),
        ]
        counted = [f"{what}: {count}" for count, what in said if count]
        return "; ".join(["the file is cut short"] * self.cut + counted)


@dataclass(frozen=True)
class Timed:
    """A frame and its time in ticks of the clip's time base."""

    ticks: int
    duration: int
    frame: VideoFrame = field(repr=False)


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A file, open for reading; whatever FFmpeg raises is Damaged."""
    with explained(path), container_of(path) as container:
        yield container


def container_of(path: Path) -> InputContainer:
    """A file, open for reading. Raises FFmpeg's errors."""
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    container: InputContainer = av.open(str(path.absolute()), "r", container_options=options, **NOT_UTF_8)
    return container


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever FFmpeg raises while a file is read is Damaged."""
    try:
        yield
    except av.FFmpegError as error:
        raise Damaged(f"{path}: not a video that can be read ({error.strerror or error})") from error


def read_clip(path: Path) -> Clip:
    """What a file says of itself, its first frame decoded. Raises Damaged, Unsupported."""
    with open(path, "rb") as stream:
        form = format_of(stream.read(HEADER_BYTES))
    if form is not None:
        raise Unsupported(f"{path}: a {form} file with the name of a video; give it the name of a picture")
    with opened(path) as container:
        stream_ = picture_stream(container, path)
        frame = next(decoded(container, stream_, Damage()), None)
        if frame is None:
            raise Damaged(f"{path}: holds no frame that can be decoded")
        return _described(path, container, stream_, frame)


def picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of pictures that is not a cover. Raises Unsupported."""
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            if stream.codec_context is None:
                raise Unsupported(f"{path}: its pictures are encrypted, or by a codec that is not read")
            return stream
    raise Unsupported(f"{path}: holds no video")


def _described(path: Path, container: InputContainer, stream: VideoStream, frame: VideoFrame) -> Clip:
    refuse_interlaced(frame, path)
    look, side = look_of(frame), _side_data(frame)
    has_alpha = look.has_alpha or any(key.lower() == ALPHA_TAG and value != "0" for key, value in stream.metadata.items())
    assert stream.time_base is not None
    # PyAV 19 has ratios of its own.
    time_base, rate = Fraction(stream.time_base), Fraction(stream.average_rate or stream.guessed_rate or 25)
    origin = Fraction(container.start_time or 0, MICROSECONDS)
    return Clip(
        path=path,
        format=container.format.name,
        index=stream.index,
        width=frame.width,
        height=frame.height,
        codec=stream.codec_context.codec.canonical_name,
        time_base=time_base,
        rate=rate,
        first=origin if stream.start_time is None else stream.start_time * time_base,
        origin=origin,
        seconds=None if container.duration is None else container.duration / MICROSECONDS,
        frames=stream.frames or None,
        aspect=Fraction(stream.sample_aspect_ratio or 0) or None,
        rotation=int(frame.rotation) % 360,
        turn=_turn(side),
        look=look,
        mastering=_mastering(side),
        lost=tuple(what for kind, what in LOST.items() if kind in side) + ("its transparency",) * has_alpha,
    )


def _side_data(frame: VideoFrame) -> dict[str, bytes]:
    """What a frame brings besides its picture, by FFmpeg's names."""
    side: Any = frame.side_data
    return {side[number].type.name: bytes(side[number]) for number in range(len(side))}


def _turn(side: dict[str, bytes]) -> tuple[int, ...] | None:
    if "DISPLAYMATRIX" not in side:
        return None
    numbers = struct.unpack("=9i", side["DISPLAYMATRIX"][:36])
    return (*numbers[:6], 0, 0, numbers[8])


def _mastering(side: dict[str, bytes]) -> Mastering | None:
    """As FFmpeg's structures AVMasteringDisplayMetadata and AVContentLightMetadata lie in memory."""
    display = light = None
    if "MASTERING_DISPLAY_METADATA" in side:
        numbers = struct.unpack("=22i", side["MASTERING_DISPLAY_METADATA"][:88])
        if all(numbers[20:22]):
            display = tuple(top / bottom for top, bottom in zip(numbers[0:20:2], numbers[1:20:2], strict=True))
    if "CONTENT_LIGHT_LEVEL" in side:
        light = struct.unpack("=2I", side["CONTENT_LIGHT_LEVEL"][:8])
    return None if display is None and light is None else Mastering(display, light)


def refuse_interlaced(frame: VideoFrame, path: Path) -> None:
    """Raise Unsupported for a frame of two half pictures."""
    if frame.interlaced_frame:
        raise Unsupported(
            f"{path}: interlaced: each frame holds two half pictures; make whole ones first: "
            f"ffmpeg -i {path.name} -vf bwdif -c:a copy deinterlaced.mkv"
        )


def decoded(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[VideoFrame]:
    """Its frames as they are shown; what is damaged is counted and passed over."""
    # Not frame by frame: with that FFmpeg drops what is in flight when the last packets are damaged, and says nothing.
    stream.thread_type = "SLICE"
    for packet in _packets(container, stream, damage):
        if packet.has_sidedata("encryption_info"):
            raise Unsupported(f"{container.name}: its pictures are encrypted")
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damage.packets += 1
            continue
        for frame in frames:
            damage.concealed += frame.is_corrupt
            yield frame


def _packets(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[Any]:
    try:
        yield from container.demux(stream)
    except av.error.InvalidDataError:
        damage.packets += 1


def frames(
    clip: Clip, damage: Damage, start: Fraction | None = None, end: Fraction | None = None
) -> Generator[Timed, None, None]:
    """The frames from ``start`` to before ``end``, times of the clip in seconds, with times that rise. ``damage`` is counted on.

    Raises Unsupported where the size of the pictures changes or a frame is interlaced, Damaged.
    """
    with opened(clip.path) as container:
        stream: Any = container.streams[clip.index]
        damage.cut = is_cut_short(clip.path, container)
        if start is None and end is None:  # of a part, what lies elsewhere does not matter
            with container_of(clip.path) as other:
                damage.torn, has_no_end = torn_places(other, clip.index)
            damage.cut = damage.cut or has_no_end
        if start is not None and start - 1 > clip.origin:
            # A second early: the key frame before may be stored by the time at which it is decoded.
            container.seek(int((start - 1) * MICROSECONDS), backward=True)
        for timed in _timed(decoded(container, stream, damage), clip, stream, damage):
            time = timed.ticks * clip.time_base
            if start is not None and time < start:
                continue
            if end is not None and time >= end:
                return
            yield timed


def _timed(raw: Iterator[VideoFrame], clip: Clip, stream: VideoStream, damage: Damage) -> Iterator[Timed]:
    usual = max(round(1 / (clip.rate * clip.time_base)), 1)
    before: int | None = None
    first_shape = None
    for number, frame in enumerate(raw):
        refuse_interlaced(frame, clip.path)
        shape = Fraction(stream.codec_context.sample_aspect_ratio or 0) or None
        first_shape = first_shape or shape
        changes = _changes(frame, clip, (first_shape, shape))
        if changes is not None:
            raise Unsupported(f"{clip.path}: {changes} at about frame {number}; split the clip there")
        ticks = frame.pts
        if ticks is None or (before is not None and ticks <= before):
            damage.untimed += 1
            ticks = 0 if before is None else before + usual
        before = ticks
        yield Timed(ticks, frame.duration or usual, frame)


def _changes(frame: VideoFrame, clip: Clip, shapes: tuple[Fraction | None, Fraction | None]) -> str | None:
    """How a frame is stored otherwise than the first; ``shapes``: of its pixels, then and now. Of what it does not say, nothing changes."""
    now, then = look_of(frame), clip.look
    if (frame.width, frame.height) != (clip.width, clip.height):
        return f"the size changes from {clip.width}x{clip.height} to {frame.width}x{frame.height}"
    if shapes[0] != shapes[1]:
        return f"the shape of the pixels changes from {shapes[0]} to {shapes[1]}"
    if (now.chroma, now.depth, now.has_alpha) != (then.chroma, then.depth, then.has_alpha):
        return f"the pictures change from {then.chroma} of {then.depth} bits to {now.chroma} of {now.depth} bits"
    changed = (
        not now.guessed and MATRICES.get(now.matrix) != MATRICES.get(then.matrix),
        (frame.color_range or now.full_range) and now.full_range != then.full_range,
        now.primaries not in (0, UNSPECIFIED, then.primaries),
        now.transfer not in (0, UNSPECIFIED, then.transfer),
    )
    return "what the colours mean (matrix, range, primaries or transfer) changes" if any(changed) else None


def checked_stamp(path: Path) -> list[Any]:
    """What changes when a file does. Raises ImageError where it is gone."""
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    return [path.name, status.st_size, status.st_mtime_ns]
