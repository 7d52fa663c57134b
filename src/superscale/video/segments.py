"""Segments: a fixed number of frames each, encoded by themselves, so that a run which goes on makes the packets of one that was not killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from superscale.errors import ImageError
from superscale.files import new_file
from superscale.video.encoding import Encoding
from superscale.video.look import Painter

# Segments count frames: their times are those of 25 a second, from `FIRST` on, which leaves room for the order of decoding. The true
# times are the clip's.
CLOCK = Fraction(1, 25)
FIRST = 64


@dataclass(frozen=True)
class Coded:
    """A packet as it is stored: ``place``: of its frame among those of the segment, in the order in which they are shown."""

    place: int
    is_key: bool
    packet: Any


def segment_path(folder: Path, number: int) -> Path:
    """Where the segment ``number``, from 0, is kept."""
    return folder / f"segment-{number:06d}"


@contextmanager
def new_segment(path: Path, encoding: Encoding) -> Iterator[SegmentWriter]:
    """A segment that is at its place when the block ends, whole. Raises OSError."""
    with new_file(path) as stream, av.open(stream, "w", format=encoding.segment_format) as container:
        writer = SegmentWriter(container, encoding)
        yield writer
        writer.finish()


class SegmentWriter:
    """Encodes frames into one segment."""

    def __init__(self, container: Any, encoding: Encoding) -> None:
        self._container, self._encoding = container, encoding
        self._stream = encoding.add_to(container)
        self._stream.time_base = CLOCK
        self._painter = Painter(encoding.look)
        self._places: dict[int, int] = {}
        self._written = 0

    def add(self, pixels: Any, ticks: int, duration: int) -> None:
        """Encode one more frame (H, W, 3)."""
        frame = self._painter.frame(pixels, self._encoding.pixel_format, self._encoding.look)
        frame.pts, frame.time_base, frame.duration = ticks, self._encoding.time_base, duration
        frame.pict_type = 0
        frame.colorspace, frame.color_range = self._encoding.look.matrix, 2 if self._encoding.look.full_range else 1
        frame.color_primaries, frame.color_trc = self._encoding.look.primaries, self._encoding.look.transfer
        self._places[ticks] = len(self._places)
        self._mux(self._stream.codec_context.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds. Raises ImageError where it lost a frame."""
        self._mux(self._stream.codec_context.encode(None))
        if self._written != len(self._places):
            raise ImageError(f"{self._encoding.codec}: the encoder made {self._written} packets of {len(self._places)} frames")

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            place = self._places[packet.pts]
            packet.stream, packet.time_base = self._stream, CLOCK
            packet.pts, packet.dts, packet.duration = place + FIRST, self._written, 1
            self._container.mux(packet)
            self._written += 1


def coded(path: Path) -> Iterator[Coded]:
    """The packets of a segment, in the order in which they are decoded."""
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size:
                assert packet.pts is not None
                yield Coded(round(packet.pts * packet.time_base / CLOCK) - FIRST, packet.is_keyframe, packet)
