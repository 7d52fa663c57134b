"""Sound and picture stay together: in a clip with a flash and a beep a second, ffmpeg of another build decodes both at once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from clips import Make, output_of, times
from superscale.cli.main import main
from superscale.weights.checkpoint import Model, save_model

HALF_A_FRAME = 0.5 / 25
# Frame 12 of each second is white, and a tone begins with it and ends with it.
AT = [0.48, 1.48, 2.48]
FLASHES = "color=black:size=64x48:rate=25:duration=3,drawbox=color=white:t=fill:enable='eq(mod(n\\,25)\\,12)'"
BEEPS = "aevalsrc='0.8*sin(2*PI*1000*t)*gte(mod(t\\,1)\\,0.48)*lt(mod(t\\,1)\\,0.52)':s=48000:d=3"
CODECS = ("-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k")


def flashes(path: Path, width: int, height: int) -> list[float]:
    """The times of the frames that are bright, in seconds."""
    grey = np.frombuffer(output_of("-i", path, "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo"), np.uint8)
    bright = grey.reshape(-1, height * width).mean(1) > 128
    return [time for time, is_bright in zip(times(path), bright, strict=True) if is_bright]


def beeps(path: Path) -> list[float]:
    """When each tone begins, in seconds: where the energy of a millisecond, after half a second without, passes a quarter of the greatest."""
    decode = ("-copyts", "-i", path, "-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "f32le")
    samples = np.frombuffer(output_of(*decode), np.float32)
    energy = np.square(samples[: samples.size // 48 * 48].reshape(-1, 48)).mean(1)
    loud = np.flatnonzero(energy > energy.max() / 4)
    return [float(at) / 1000 for at in loud[np.diff(loud, prepend=-1000) > 500]]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_flashes_and_beeps_stay_together_to_half_a_frame(
    make: Make, nearest: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    clip = make(f"clip.{suffix}", "-f", "lavfi", "-i", FLASHES, "-f", "lavfi", "-i", BEEPS, *CODECS)
    save_model(model := tmp_path / "nearest.safetensors", nearest.generator, {})
    monkeypatch.setattr(sys, "argv", ["superscale", "upscale", str(clip), "-m", str(model), "--preset", "ultrafast", "-q"])
    with pytest.raises(SystemExit, match=r"^0$"):
        main()
    larger = clip.with_name(f"clip_x4.{suffix}")
    seen, heard = flashes(larger, 256, 192), beeps(larger)
    late = times(clip)[0]  # Matroska has no negative times: ffmpeg shifts all by the first, silent samples of AAC
    assert seen == pytest.approx([at + late for at in AT], abs=0.0011)
    assert heard == pytest.approx(seen, abs=HALF_A_FRAME)
