"""The finished file: the segments' packets at the clip's own times, and everything else of the original beside them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import IO, Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from superscale.errors import ImageError
from superscale.video.clip import ALPHA_TAG, MICROSECONDS, Clip, container_of
from superscale.video.encoding import CONTAINERS, Encoding
from superscale.video.segments import coded

# Of the container itself, which is another one now.
OWN_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
STALE_TAGS = frozenset({"encoder", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "BPS"})
# What a chapter list and a time code of mp4 and mov are stored as: copied, they make a file that no player opens.
UNCOPIED = {"data": "a data stream", "video": "a further stream of pictures", "attachment": "an attachment"}

# A caption may have begun so long before the part that is done, and still be shown in it.
LONGEST_CAPTION_SECONDS = 60


@dataclass(frozen=True)
class Times:
    """When the frames are shown, in ticks that rise, and for how long the last is."""

    ticks: Sequence[int]
    last: int

    def duration(self, number: int) -> int:
        """Of the frame ``number``, in ticks."""
        return self.last if number + 1 == len(self.ticks) else self.ticks[number + 1] - self.ticks[number]


@dataclass(frozen=True)
class Cut:
    """The part of the clip that is done: from ``start`` to ``end``, times of the clip; ``zero``: the time that becomes 0."""

    zero: Fraction = Fraction(0)
    start: Fraction | None = None
    end: Fraction | None = None
    with_sound: bool = True


def join(
    stream: IO[bytes], suffix: str, clip: Clip, encoding: Encoding, segments: Sequence[Path], times: Times, cut: Cut
) -> list[str]:
    """Write the finished file. Return what of the original the container does not hold."""
    options = {"avoid_negative_ts": "disabled"}  # shifting would move every frame
    with container_of(clip.path) as source:
        has_cover = any(one.disposition & Disposition.attached_pic for one in source.streams)
        if CONTAINERS[suffix] in ("mp4", "mov") and not has_cover:
            options["movflags"] = "use_metadata_tags"  # tags of any name, in a list that has no place for a cover
        with av.open(stream, "w", format=CONTAINERS[suffix], container_options=options) as target:
            return _filled(source, target, clip, encoding, segments, times, cut)


def _filled(
    source: InputContainer,
    target: OutputContainer,
    clip: Clip,
    encoding: Encoding,
    segments: Sequence[Path],
    times: Times,
    cut: Cut,
) -> list[str]:
    pictures = encoding.add_to(target)
    original = source.streams[clip.index]
    pictures.metadata.update(_tags(original.metadata))
    pictures.disposition = original.disposition
    if clip.turn is not None:
        pictures.set_display_matrix(clip.turn)
    copies, left_out = _copies(source, target, clip) if cut.with_sound else ({}, [])
    target.metadata.update({key: value for key, value in source.metadata.items() if key not in OWN_TAGS})
    target.set_chapters(_chapters(source, cut))
    target.start_encoding()
    _check_headers(pictures, segments)
    others = _others(source, copies, cut)
    packets = heapq.merge(_pictures(pictures, segments, times, encoding, cut.zero), others, key=_first)
    damaged = 0
    for _, packet in packets:
        try:
            target.mux(packet)
        except av.error.InvalidDataError:
            if packet.stream_index == pictures.index:
                raise
            damaged += 1  # what is left of sound that was lost on the way
    return left_out + [f"damaged packets of sound or of other streams: {damaged}"] * bool(damaged)


def _first(timed: tuple[Fraction, Any]) -> Fraction:
    return timed[0]


def _tags(tags: dict[str, str]) -> dict[str, str]:
    """What a stream says of itself, without that it is transparent and what mkvmerge counted: it adds a language, as in BPS-eng."""
    return {key: value for key, value in tags.items() if key.partition("-")[0] not in STALE_TAGS and key.lower() != ALPHA_TAG}


def _copies(source: InputContainer, target: OutputContainer, clip: Clip) -> tuple[dict[int, Any], list[str]]:
    """The streams that are copied, by their number in the source, and the others in words."""
    copies: dict[int, Any] = {}
    left_out: list[str] = []
    held = target.supported_codecs
    for stream in source.streams:
        if stream.index == clip.index:
            continue
        is_cover = bool(stream.disposition & Disposition.attached_pic)
        name = None if stream.codec_context is None else stream.codec_context.codec.canonical_name
        fits = stream.type in ("audio", "subtitle") or (is_cover and stream.type == "video")
        fits = fits and (name in held or (is_cover and name == "png" and target.format.name == "matroska"))
        fits = fits or (stream.type == "attachment" and target.format.name == "matroska")
        if fits and is_cover and target.format.name == "matroska":
            kind = "jpeg" if name == "mjpeg" else str(name)
            target.add_attachment(
                f"cover.{kind.replace('jpeg', 'jpg')}", f"image/{kind}", _only_packet(clip.path, stream.index)
            )
            continue
        if not fits:
            # The chapters that mp4 stores a second time, as a stream of texts.
            if not (stream.type == "data" and source.chapters() and "mov" in clip.format):
                left_out.append(_named(stream, name))
            continue
        copy = target.add_stream_from_template(stream, opaque=True)
        copy.metadata.update(_tags(stream.metadata))
        copy.disposition = stream.disposition
        if stream.type != "attachment":
            copies[stream.index] = copy
    return copies, left_out


def _only_packet(path: Path, index: int) -> bytes:
    """The picture of a stream that holds one."""
    with container_of(path) as container:
        return next(bytes(packet) for packet in container.demux(container.streams[index]) if packet.size)


def _named(stream: Any, name: str | None) -> str:
    what = UNCOPIED.get(stream.type, f"a stream of {stream.type}")
    said = ", ".join(part for part in (name, stream.language) if part and part != "und")
    return f"{what}{f' ({said})' if said else ''}"


def _chapters(source: InputContainer, cut: Cut) -> list[Any]:
    chapters = []
    for chapter in source.chapters():
        base = Fraction(chapter["time_base"] or 1)
        start, end = (chapter[side] * base for side in ("start", "end"))
        if (cut.start is not None and end <= cut.start) or (cut.end is not None and start >= cut.end):
            continue
        start = max(start, cut.start or start) - cut.zero
        end = min(end, cut.end or end) - cut.zero
        chapters.append({**chapter, "start": round(start / base), "end": round(end / base)})
    return chapters


def _check_headers(pictures: Any, segments: Iterable[Path]) -> None:
    """Every segment must be decodable with the one header of the file."""
    header = pictures.codec_context.extradata
    for segment in segments:
        with av.open(str(segment), "r") as container:
            if container.streams.video[0].codec_context.extradata != header:
                raise ImageError(f"{segment} was encoded in another way than it would be now; delete {segment.parent}")


def _pictures(
    stream: Any, segments: Sequence[Path], times: Times, encoding: Encoding, zero: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """The packets of all segments. They are decoded at the times of the frames that many before as the encoder reorders at most."""
    base = encoding.time_base
    shift = round(zero / base)
    delay = max((number - one.place for path in segments for number, one in enumerate(coded(path))), default=0)
    step = times.duration(0)
    number = begin = 0
    for path in segments:
        for one in coded(path):
            shown = begin + one.place
            packet = one.packet
            dts = times.ticks[number - delay] if number >= delay else times.ticks[0] - (delay - number) * step
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.dts, packet.duration = times.ticks[shown] - shift, dts - shift, times.duration(shown)
            yield (dts - shift) * base, packet
            number += 1
        begin = number


def _others(source: InputContainer, copies: dict[int, Any], cut: Cut) -> Iterator[tuple[Fraction, Any]]:
    if not copies:
        return
    before = LONGEST_CAPTION_SECONDS if any(copy.type == "subtitle" for copy in copies.values()) else 1
    if cut.start is not None and cut.start - before > Fraction(source.start_time or 0, MICROSECONDS):
        source.seek(int((cut.start - before) * MICROSECONDS), backward=True)
    past: set[int] = set()
    for packet in source.demux(*(source.streams[index] for index in copies)):
        if packet.size and packet.stream.disposition & Disposition.attached_pic:
            packet.stream = copies[packet.stream_index]
            packet.pts = packet.dts = 0
            yield Fraction(0), packet
            continue
        at = packet.pts if packet.dts is None else packet.dts
        if not packet.size or at is None:
            continue
        base = packet.time_base
        time = (packet.pts if packet.pts is not None else at) * base
        if cut.end is not None and time >= cut.end:
            past.add(packet.stream_index)
            if len(past) == len(copies):
                return  # what follows is not read: it may be long, or damaged
            continue
        if cut.start is not None and time < cut.start:
            still_shown = time + (packet.duration or 0) * base - cut.start
            if packet.stream.type != "subtitle" or still_shown <= 0:
                continue
            at = packet.pts = packet.dts = ceil(cut.start / base)
            packet.duration = round(still_shown / base)
        shift = round(cut.zero / base)
        packet.stream = copies[packet.stream_index]
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        yield (at - shift) * base, packet


def largest_error(stream: IO[bytes], suffix: str, times: Times, encoding: Encoding, cut: Cut) -> Fraction:
    """By how many seconds a time in the finished file differs from the clip's at most. Raises ImageError where a frame is missing."""
    stream.flush()
    stream.seek(0)
    with av.open(stream, "r", format=CONTAINERS[suffix]) as container:
        pictures = container.streams.video[0]
        packets = (packet for packet in container.demux(pictures) if packet.size)
        written = sorted((packet.pts or 0) * packet.time_base for packet in packets)
    shift = round(cut.zero / encoding.time_base)
    expected = [(ticks - shift) * encoding.time_base for ticks in times.ticks]
    if len(written) != len(expected):
        raise ImageError(f"the finished file holds {len(written)} frames of {len(expected)}")
    return max((abs(one - other) for one, other in zip(written, expected, strict=True)), default=Fraction(0))
