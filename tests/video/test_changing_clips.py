"""Clips whose pictures are stored otherwise from some frame on, as recordings of television are: two streams behind one another."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from superscale.errors import Unsupported
from superscale.inference.upscaler import Upscaler
from superscale.video.options import ClipOptions
from superscale.video.upscaling import upscale_clip

QUICK = ClipOptions(preset="ultrafast")
USUAL = {"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1}


def part(path: Path, first: int, **settings: Any) -> bytes:
    with av.open(str(path), "w", format="mpegts") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, settings.pop("pix_fmt", "yuv420p")
        for name, value in {**USUAL, **settings}.items():
            setattr(stream.codec_context, name, value)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 40 * number, np.uint8)).reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = first + number, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path.read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pix_fmt": "yuv422p10le"}, "the pictures change from 420 of 8 bits to 422 of 10 bits"),
        ({"sample_aspect_ratio": Fraction(16, 11)}, "the shape of the pixels changes from 1 to 16/11"),
        ({"colorspace": 6}, "what the colours mean"),
        ({"color_range": 2}, "what the colours mean"),
        ({"color_trc": 16}, "what the colours mean"),
    ],
)
def test_a_clip_that_changes_is_refused_not_read_as_it_began(
    change: dict[str, Any], reason: str, upscaler: Upscaler, tmp_path: Path
) -> None:
    square = {"sample_aspect_ratio": Fraction(1)}
    begin = part(tmp_path / "one.ts", 0, **square)
    clip = tmp_path / "clip.ts"
    clip.write_bytes(begin + part(tmp_path / "two.ts", 100, **{**square, **change}))
    with pytest.raises(Unsupported, match=f"{reason}.* at about frame .*; split the clip there"):
        upscale_clip(upscaler, clip, tmp_path / "larger.mkv", QUICK)
    clip.write_bytes(begin + part(tmp_path / "same.ts", 100, **square, colorspace=2, color_trc=2, color_range=0))
    assert upscale_clip(upscaler, clip, tmp_path / "larger.mkv", QUICK).damage is None
