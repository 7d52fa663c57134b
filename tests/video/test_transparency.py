"""Clips that are transparent, or deeper than any encoder, made by PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from superscale.errors import Unsupported
from superscale.inference.upscaler import Upscaler
from superscale.video.options import ClipOptions
from superscale.video.upscaling import upscale_clip

QUICK = ClipOptions(preset="ultrafast")


def clip(path: Path, codec: str, pixels: str) -> Path:
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 4), 90 * number, np.uint8), format="rgba")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


def test_the_transparency_of_webm_which_lies_beside_its_pictures_is_named(upscaler: Upscaler, tmp_path: Path) -> None:
    made = upscale_clip(upscaler, clip(tmp_path / "a.webm", "libvpx-vp9", "yuva420p"), tmp_path / "b.webm", ClipOptions())
    assert made.damage == "left out: its transparency"
    with av.open(str(tmp_path / "b.webm")) as larger:
        assert "alpha_mode" not in {key.lower() for key in larger.streams.video[0].metadata}


def test_where_no_codec_holds_a_depth_none_is_advised(upscaler: Upscaler, tmp_path: Path) -> None:
    deep = clip(tmp_path / "a.mkv", "ffv1", "gbrp16le")
    with pytest.raises(Unsupported, match="of 16 bits, rgb; no other codec here does"):
        upscale_clip(upscaler, deep, tmp_path / "b.mkv", QUICK)
