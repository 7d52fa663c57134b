"""A run that was stopped anywhere goes on, and its clip is that of a run that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clips import Make, frame_sums, probe, times
from superscale.errors import Cancelled, Damaged, ImageError
from superscale.inference.upscaler import Upscaler
from superscale.video.options import ClipOptions
from superscale.video.segments import coded
from superscale.video.upscaling import upscale_clip
from superscale.weights.checkpoint import Model, save_model

SHORT = ClipOptions(segment_frames=10, preset="veryfast")
QUICK = ClipOptions(codec="h264", preset="ultrafast")


def stop_after(frames: int) -> Callable[[int, int], None]:
    """A progress that ends the run when the network has done so many frames."""

    def progress(done: int, total: int) -> None:
        if done == frames:
            raise Cancelled("cancelled")

    return progress


@pytest.fixture
def clip(make: Make, moving: Any) -> Path:
    return make("clip.mp4", *moving, "-bf", "2", "-c:v", "libx264")


def unfinished(target: Path) -> list[str]:
    return sorted(path.name for path in target.with_name(f"{target.name}.unfinished").glob("segment-*"))


@pytest.mark.parametrize("frames", [10, pytest.param(13, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_from_its_last_segment_to_the_same_frames(clip: Path, upscaler: Upscaler, frames: int) -> None:
    upscale_clip(upscaler, clip, whole := clip.with_name("whole.mp4"), SHORT)
    target, done_again = clip.with_name("stopped.mp4"), []
    with pytest.raises(Cancelled):
        upscale_clip(upscaler, clip, target, SHORT, progress=stop_after(frames))
    segments = (frames - 1) // 10
    assert not target.exists()
    assert len(unfinished(target)) == segments
    upscale_clip(upscaler, clip, target, SHORT, progress=lambda done, total: done_again.append(done))
    assert done_again == list(range(segments * 10 + 1, 25))
    assert frame_sums(target) == frame_sums(whole)
    assert target.read_bytes() == whole.read_bytes()
    assert not target.with_name("stopped.mp4.unfinished").exists()


def test_each_segment_begins_with_a_key_frame_and_no_frame_is_lost_between(clip: Path, upscaler: Upscaler) -> None:
    target = clip.with_name("larger.mp4")
    with pytest.raises(Cancelled):
        upscale_clip(upscaler, clip, target, SHORT, progress=stop_after(21))
    folder = target.with_name("larger.mp4.unfinished")
    packets = [list(coded(folder / name)) for name in unfinished(target)]
    assert [len(one) for one in packets] == [10, 10]
    assert all(one[0].is_key and sorted(packet.place for packet in one) == list(range(10)) for one in packets)
    assert any(packet.place != number for number, packet in enumerate(packets[0]))  # they are reordered: B-frames
    upscale_clip(upscaler, clip, target, SHORT)
    assert times(target) == times(clip)


@pytest.mark.slow
def test_another_command_does_not_go_on_with_a_begun_clip_unless_it_may_replace_it(clip: Path, upscaler: Upscaler) -> None:
    target = clip.with_name("larger.mp4")
    with pytest.raises(Cancelled):
        upscale_clip(upscaler, clip, target, SHORT, progress=stop_after(12))
    other = ClipOptions(segment_frames=10, preset="veryfast", crf=30)
    with pytest.raises(ImageError, match="another command has begun"):
        upscale_clip(upscaler, clip, target, other)
    upscale_clip(upscaler, clip, target, other, overwrite=True)
    upscale_clip(upscaler, clip, whole := clip.with_name("whole.mp4"), other)
    assert target.read_bytes() == whole.read_bytes()


def test_a_clip_that_grows_meanwhile_is_not_written(clip: Path, upscaler: Upscaler) -> None:
    def grow(done: int, total: int) -> None:
        if done == 5:
            with open(clip, "ab") as stream:
                stream.write(bytes(8))

    target = clip.with_name("larger.mp4")
    with pytest.raises(Damaged, match="was changed while it was read"):
        upscale_clip(upscaler, clip, target, SHORT, progress=grow)
    assert not target.exists()
    assert not list(clip.parent.glob("*.unfinished"))


def test_on_a_full_disk_what_is_done_stays(clip: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the order, the first segment, the second
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    target = clip.with_name("larger.mp4")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageError, match=r"No space left on device; the same command goes on"):
        upscale_clip(upscaler, clip, target, SHORT)
    assert unfinished(target) == ["segment-000000"]
    assert not list(clip.parent.glob("**/*.part"))
    monkeypatch.undo()
    upscale_clip(upscaler, clip, target, SHORT)
    assert times(target) == times(clip)


def test_a_file_that_may_not_grow_is_named_and_so_is_a_pipe(clip: Path, upscaler: Upscaler) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    target, before = clip.with_name("larger.mp4"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        with pytest.raises(ImageError, match=r"larger\.mp4 cannot be written: File too large"):
            upscale_clip(upscaler, clip, target, SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    os.mkfifo(target)
    with pytest.raises(ImageError, match="got a pipe"):
        upscale_clip(upscaler, clip, target, SHORT, overwrite=True)
    assert not list(clip.parent.glob("*.unfinished"))


@pytest.mark.slow
def test_damaged_packets_are_counted_and_told(make: Make, upscaler: Upscaler) -> None:
    moving = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=0.96"]
    clip = make("clip.mp4", *moving, "-c:v", "libx264", "-g", "8")
    data = bytearray(clip.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    clip.write_bytes(data)
    small = Upscaler(upscaler.model, device="cpu", backend="torch", scale=1)
    made = upscale_clip(small, clip, larger := clip.with_name("larger.mp4"), ClipOptions(preset="ultrafast"))
    counts = probe(clip, "-select_streams", "v", "-count_frames", "-show_entries", "stream=nb_read_frames,nb_frames")[
        "streams"
    ][0]
    assert len(times(larger)) == int(counts["nb_read_frames"]) < int(counts["nb_frames"]) == 24
    assert made.damage == "damaged packets, whose frames are missing: 1; damaged frames, concealed as FFmpeg does: 1"


@pytest.mark.parametrize(
    ("name", "more"), [("clip.mkv", ["-c:v", "ffv1"]), ("clip.mp4", ["-c:v", "mpeg4", "-q:v", "1", "-movflags", "faststart"])]
)
def test_a_file_that_is_cut_short_gives_what_is_there_and_says_so(
    make: Make, moving: Any, upscaler: Upscaler, name: str, more: list[str]
) -> None:
    clip = make(name, *moving, *more)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    made = upscale_clip(upscaler, clip, larger := clip.with_name("larger.mp4"), QUICK)
    assert made.damage is not None
    assert made.damage.startswith("the file is cut short")
    assert 5 < len(times(larger)) < 24


def overwritten(clip: Path, places: list[tuple[int, int]], by: int | None = None) -> None:
    """The file with other bytes from a place on, each: zeros, or any."""
    data = bytearray(clip.read_bytes())
    for place, size in places:
        data[place : place + size] = bytes(size) if by is None else np.random.default_rng(by).bytes(size)
    clip.write_bytes(data)


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_a_damaged_last_packet_is_counted_and_costs_no_other_frame(
    make: Make, moving: Any, upscaler: Upscaler, codec: str
) -> None:
    clip = make("clip.mp4", *moving, "-c:v", codec, "-g", "8")
    with av.open(str(clip)) as container:
        place, size = max((packet.pos, packet.size) for packet in container.demux(video=0) if packet.size)
    count = len(times(clip))
    overwritten(clip, [(place, size)], 1)
    made = upscale_clip(upscaler, clip, larger := clip.with_name("larger.mp4"), QUICK)
    assert made.damage == "damaged packets, whose frames are missing: 1"
    assert len(times(larger)) == count - 1


def test_a_hole_in_a_matroska_file_is_told(make: Make, moving: Any, upscaler: Upscaler) -> None:
    clip = make("clip.mkv", *moving, "-c:v", "libx264", "-g", "8")
    count = len(times(clip))
    with av.open(str(clip)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    overwritten(clip, [(places[count // 2] - 20, 40)])
    made = upscale_clip(upscaler, clip, larger := clip.with_name("larger.mkv"), QUICK)
    assert len(times(larger)) < count
    assert str(made.damage).startswith("damaged places in the file")


def test_sound_that_is_cut_off_is_told(make: Make, moving: Any, upscaler: Upscaler) -> None:
    sound = ["-f", "lavfi", "-i", "sine=duration=3"]
    clip = make("clip.mp4", *moving, *sound, "-c:v", "mpeg4", "-c:a", "aac", "-movflags", "faststart")
    clip.write_bytes(clip.read_bytes()[:-300])
    made = upscale_clip(upscaler, clip, clip.with_name("larger.mp4"), QUICK)
    assert made.damage == "the file is cut short"


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.avi", ["mjpeg"]),
        ("clip.ts", ["mpeg2video"]),
        ("clip.flv", ["flv"]),
        ("clip.mkv", ["mpeg4", "-live", "1"]),  # of no length, as of a recording into a pipe
        ("clip.wmv", ["wmv2"]),
        ("clip.mxf", ["mpeg2video"]),
    ],
)
def test_a_recording_that_is_cut_off_is_told(name: str, codec: list[str], make: Make, moving: Any, upscaler: Upscaler) -> None:
    clip = make(name, *moving, "-c:v", *codec)
    whole = clip.read_bytes()
    target = clip.with_name("larger.mkv")
    assert upscale_clip(upscaler, clip, target, QUICK).damage is None
    clip.write_bytes(whole[: len(whole) * 2 // 3 // 188 * 188 + 100])
    target.unlink()
    assert str(upscale_clip(upscaler, clip, target, QUICK).damage).startswith("the file is cut short")


def test_sound_that_was_lost_on_the_way_is_told_and_costs_no_picture(make: Make, moving: Any, upscaler: Upscaler) -> None:
    sound = ["-f", "lavfi", "-i", "sine=duration=0.96", "-c:a", "aac"]
    clip = make("clip.ts", *moving, *sound, "-c:v", "mpeg2video")
    data = clip.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    of_sound = [number for number, packet in enumerate(packets) if packet[1] & 31 == 1 and packet[2] == 1]
    del packets[of_sound[len(of_sound) // 2]]
    clip.write_bytes(b"".join(packets))
    made = upscale_clip(upscaler, clip, larger := clip.with_name("larger.mkv"), QUICK)
    assert "damaged places in the file, behind which frames or sound are missing: 1" in str(made.damage)
    assert len(times(larger)) == 24


@pytest.mark.slow
def test_a_killed_command_goes_on(clip: Path, nearest: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "nearest.safetensors", nearest.generator, {})
    lines = ["import sys", "from pathlib import Path", "from superscale import Upscaler"]
    lines += ["from superscale.video.options import ClipOptions", "from superscale.video.upscaling import upscale_clip"]
    lines += ["source, target, model = map(Path, sys.argv[1:])", "options = ClipOptions(segment_frames=4)"]
    lines += ["upscale_clip(Upscaler(model, device='cpu', backend='torch'), source, target, options)"]
    target, whole = clip.with_name("killed.mp4"), clip.with_name("whole.mp4")

    def command(path: Path) -> list[str]:
        return [sys.executable, "-c", "\n".join(lines), str(clip), str(path), str(tmp_path / "nearest.safetensors")]

    subprocess.run(command(whole), check=True, timeout=60)
    for segments in (1, 3, 5):
        process = subprocess.Popen(command(target))
        while len(unfinished(target)) < segments and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    subprocess.run(command(target), check=True, timeout=60)
    assert target.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("**/*.part"))
