"""Clips that players turn or mirror, made by PyAV."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from superscale.inference.upscaler import Upscaler
from superscale.video.options import ClipOptions
from superscale.video.upscaling import upscale_clip

QUICK = ClipOptions(preset="ultrafast")


def turned(path: Path, degrees: int, mirrored: bool) -> Path:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.set_display_rotation(degrees, hflip=mirrored)
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 90 * number, np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


def matrix(path: Path) -> tuple[int, ...]:
    """The part of FFmpeg's display matrix that turns and mirrors: two rows of three."""
    with av.open(str(path)) as container:
        side: Any = next(container.decode(video=0)).side_data
        found = next(bytes(side[number]) for number in range(len(side)) if side[number].type.name == "DISPLAYMATRIX")
    return struct.unpack("=9i", found[:36])[:5]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("degrees", "mirrored"), [(90, False), (180, False), (0, True), (90, True), (180, True), (270, True)])
def test_a_clip_stays_turned_and_mirrored(
    degrees: int, mirrored: bool, suffix: str, upscaler: Upscaler, tmp_path: Path
) -> None:
    clip = turned(tmp_path / f"a.{suffix}", degrees, mirrored)
    upscale_clip(upscaler, clip, larger := tmp_path / f"b.{suffix}", QUICK)
    assert matrix(larger) == matrix(clip)
