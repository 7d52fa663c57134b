"""`--keep-partial`: what a stopped run has done is a file that plays, until the same command has done all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import Make, frame_sums, probe, times
from superscale.errors import Cancelled, ImageError
from superscale.inference.upscaler import Upscaler
from superscale.video import upscaling
from superscale.video.options import ClipOptions
from superscale.video.upscaling import upscale_clip
from superscale.weights.checkpoint import Model, save_model

SHORT = ClipOptions(segment_frames=10, preset="ultrafast")
SOUND = ["-f", "lavfi", "-i", "sine=duration=30", "-shortest", "-c:v", "libx264", "-bf", "2", "-c:a", "aac"]


@pytest.fixture
def clip(make: Make, moving: Any) -> Path:
    return make("clip.mp4", *moving, *SOUND)


def stop(upscaler: Upscaler, clip: Path, frames: int, **more: Any) -> list[str]:
    """End a run when the network has done so many frames, and return what it said."""
    said: list[str] = []

    def progress(done: int, total: int) -> None:
        if done == frames:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        upscale_clip(
            upscaler, clip, clip.with_name("larger.mp4"), SHORT, keep_partial=True, progress=progress, say=said.append, **more
        )
    return said


def end_of_sound(path: Path) -> float:
    packet = probe(path, "-select_streams", "a", "-show_entries", "packet=pts_time,duration_time")["packets"][-1]
    return float(packet["pts_time"]) + float(packet["duration_time"])


def test_whole_segments_and_their_sound_are_kept_and_go_when_all_is_done(clip: Path, upscaler: Upscaler) -> None:
    partial, target = clip.with_name("larger.partial.mp4"), clip.with_name("larger.mp4")
    assert f"{partial} holds the 20 frames that are done" in stop(upscaler, clip, 24)[-1]
    assert times(partial) == times(clip)[:20]
    # A packet of AAC is 1024 samples of 44,100 a second; the last one begins before the last frame ends.
    assert 0.8 <= end_of_sound(partial) < 0.8 + 1024 / 44100
    sums = frame_sums(partial).splitlines()
    upscale_clip(upscaler, clip, target, SHORT)
    assert [line for line in frame_sums(target).splitlines() if not line.startswith(b"#")][:20] == sums[-20:]
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.mp4", "larger.mp4"]


@pytest.mark.slow
def test_a_later_stop_makes_the_part_longer_and_never_shorter(
    clip: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for frames, whole in (13, 10), (24, 20):
        assert f"holds the {whole} frames" in stop(upscaler, clip, frames)[-1]
    read = upscaling._read

    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield from islice(read(*arguments), 15)  # while those that are done are passed over
        raise KeyboardInterrupt

    monkeypatch.setattr(upscaling, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upscale_clip(upscaler, clip, clip.with_name("larger.mp4"), SHORT, keep_partial=True)
    assert times(clip.with_name("larger.partial.mp4")) == times(clip)[:20]


def test_nothing_is_kept_unless_asked_and_before_the_first_segment(clip: Path, upscaler: Upscaler) -> None:
    stop(upscaler, clip, 5)
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]

    def progress(done: int, total: int) -> None:
        if done == 12:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        upscale_clip(upscaler, clip, clip.with_name("larger.mp4"), SHORT, progress=progress)
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.mp4", "larger.mp4.unfinished"]


def test_a_file_of_that_name_that_is_another_is_neither_replaced_nor_deleted(clip: Path, upscaler: Upscaler) -> None:
    (other := clip.with_name("larger.partial.mp4")).write_bytes(b"mine")
    with pytest.raises(ImageError, match="this command did not make it"):
        upscale_clip(upscaler, clip, clip.with_name("larger.mp4"), SHORT, keep_partial=True)
    upscale_clip(upscaler, clip, clip.with_name("larger.mp4"), SHORT)
    assert other.read_bytes() == b"mine"


def test_where_the_disk_has_no_room_for_it_the_segments_stay_and_it_is_said(
    clip: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) >= 3:  # the order, the first segment, the second and all after
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    said: list[str] = []
    target = clip.with_name("larger.mp4")
    with pytest.raises(ImageError, match="No space left on device; the same command goes on"):
        upscale_clip(upscaler, clip, target, SHORT, keep_partial=True, say=said.append)
    assert "larger.partial.mp4 could not be made of the 10 frames that are done" in said[-1]
    assert not target.with_name("larger.partial.mp4").exists()
    assert target.with_name("larger.mp4.unfinished").joinpath("segment-000000").exists()
    assert not list(clip.parent.glob("**/*.part"))


@pytest.mark.slow
def test_of_a_clip_that_fails_in_its_middle_the_part_before_is_kept(make: Make, upscaler: Upscaler) -> None:
    clip = make("clip.ts", "-f", "lavfi", "-i", "testsrc2=size=48x32:duration=0.96", "-c:v", "mpeg2video")
    other = make("other.ts", "-f", "lavfi", "-i", "testsrc2=size=64x32:duration=0.96", "-c:v", "mpeg2video")
    clip.write_bytes(clip.read_bytes() + other.read_bytes())
    with pytest.raises(ImageError, match="the size changes"):
        upscale_clip(upscaler, clip, clip.with_name("larger.mkv"), SHORT, keep_partial=True)
    assert len(times(clip.with_name("larger.partial.mkv"))) == 20


def test_sigterm_leaves_a_part_that_plays(make: Make, nearest: Model, commands: Path, tmp_path: Path) -> None:
    clip = make("clip.mp4", "-f", "lavfi", "-i", "testsrc2=size=48x32:rate=25:duration=20", *SOUND)
    save_model(model := tmp_path / "nearest.safetensors", nearest.generator, {})
    line = [commands / "superscale", "upscale", clip, "-m", model, "--keep-partial"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    segment = tmp_path / "clip_x4.mp4.unfinished" / "segment-000000"
    deadline = time.monotonic() + 60
    while not segment.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "clip_x4.partial.mp4 holds the " in errors
    frames = len(times(tmp_path / "clip_x4.partial.mp4"))
    assert 48 <= frames < 500
    assert frames % 48 == 0
    assert np.isclose(end_of_sound(tmp_path / "clip_x4.partial.mp4"), frames / 25, atol=1024 / 44100)
    assert segment.exists()
