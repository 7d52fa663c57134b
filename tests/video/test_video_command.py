"""`superscale upscale` takes videos like pictures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clips import Make, probe, times
from superscale.cli.main import main
from superscale.errors import UnknownNameError, UsageError
from superscale.video.options import ClipOptions, seconds
from superscale.weights.store import DAMAGED_DEFAULT

FAST = ["-m", "compact-x4", "--preset", "ultrafast"]


@dataclass
class Ran:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs ``superscale upscale``, or another command, in this process."""
    monkeypatch.chdir(tmp_path)

    def run_(*arguments: str | Path, command: str = "upscale") -> Ran:
        monkeypatch.setattr(sys, "argv", ["superscale", command, *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Ran(code, *capsys.readouterr())

    return run_


def test_a_video_is_written_beside_itself_and_an_image_with_it(run: Any, make: Make, moving: Any, photos: Path) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "libx264")
    done = run(clip, photos / "photo-0.png", *FAST, "-s", "2", "--json", "-q")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [one["status"] for one in results] == ["done", "done"]
    assert [one["model"] for one in results] == ["compact-x4", "compact-x4"]
    assert (results[0]["width"], results[0]["height"]) == (96, 64)
    assert times(clip.with_name("clip_x2.mp4")) == times(clip)
    again = run(clip, *FAST, "-s", "2")
    assert again.returncode == 1
    assert "exists" in again.stderr


def test_an_option_of_pictures_is_refused_for_a_video(run: Any, make: Make, moving: Any) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "libx264")
    for option in (("--quality", "20"), ("-f", "png")):
        refused = run(clip, *FAST, *option)
        assert (refused.returncode, "for pictures only" in refused.stderr) == (2, True)


def test_a_video_gets_the_model_for_photographs_where_none_is_named_and_it_is_said(run: Any, make: Make, moving: Any) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "libx264")
    done = run(
        clip, "-s", "1", "--sample", "0.1", "--preset", "ultrafast", "--backend", "onnx", "--device", "cpu", "--json", "-q"
    )
    assert [one["model"] for one in json.loads(done.stdout.splitlines()[-1])["results"]] == [DAMAGED_DEFAULT]


def test_other_containers_become_matroska_and_a_sample_has_a_name_of_its_own(run: Any, make: Make, moving: Any) -> None:
    clip = make("clip.avi", *moving, "-c:v", "mpeg4")
    done = run("clip.avi", *FAST, "-s", "1.5", "--sample", "0.2")
    assert done.returncode == 0, done.stderr
    said = probe(clip.with_name("clip_x1.5_sample.mkv"))
    assert (said["streams"][0]["width"], said["streams"][0]["codec_name"], len(said["frames"])) == (144, "h264", 5)


def test_what_is_left_out_is_named_and_the_exit_code_is_1(run: Any, make: Make, moving: Any, tmp_path: Path) -> None:
    (tmp_path / "said.srt").write_text("1\n00:00:00,100 --> 00:00:00,700\nHello\n")
    clip = make("clip.mkv", *moving, "-i", str(tmp_path / "said.srt"), "-c:v", "libx264", "-c:s", "srt")
    done = run(clip, "-o", "clip_x4.mp4", *FAST, "--json")
    assert done.returncode == 1
    *events, results = map(json.loads, done.stdout.splitlines())
    assert [one["done"] for one in events] == sorted({1, *(one["done"] for one in events), 24})
    assert {(one["event"], one["input"], one["total"]) for one in events} == {("frames", str(clip), 24)}
    assert events[-1]["frames_per_second"] > events[-1]["seconds_left"] == 0
    assert results["results"][0]["code"] == "left-out"
    assert "incomplete: " in done.stderr
    assert "left out: a stream of subtitle (subrip); what there is of it is in clip_x4.mp4" in done.stderr
    assert len(times(tmp_path / "clip_x4.mp4")) == 24


def test_a_dry_run_tells_the_frames_and_writes_nothing(run: Any, make: Make, moving: Any, tmp_path: Path) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "libx264")
    for part, tiles in ([], 24), (["--start", "0.6"], 9), (["--sample", "0.2"], 5):
        done = run(clip, "-n", "--json", *FAST, *part)
        assert json.loads(done.stdout)["jobs"][0]["tiles"] == tiles
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "-"], 1, "cannot go to standard output"),
        pytest.param(["-o", "out.png"], 2, "expected a video, as .m4v, .mkv, .mov, .mp4, .webm", marks=pytest.mark.slow),
        (["--codec", "h266"], 2, "did you mean 'h264'?"),
        (["--preset", "fastest"], 1, "did you mean 'faster'?"),
        (["--crf", "52"], 1, "from 0 to 51, got 52"),
        (["--duration", "1:2:3:4"], 2, "hours:minutes:seconds"),
        (["--max-pixels", "100"], 1, "48x32 is more than 100 pixels"),
        (["--consistent"], 1, "for pictures only"),
    ],
)
def test_what_cannot_be_is_refused(run: Any, make: Make, moving: Any, arguments: list[str], code: int, said: str) -> None:
    make("clip.mp4", *moving, "-c:v", "libx264")
    done = run("clip.mp4", *arguments, "-m", "compact-x4")
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_times_and_codecs_are_read_as_people_write_them() -> None:
    assert [seconds(text) for text in ("90", "1:30", "1:01:30.5", "0.25")] == [90, 90, 3690.5, 0.25]
    assert [ClipOptions(codec=name).codec for name in ("x265", "H264", "libsvtav1")] == ["hevc", "h264", "av1"]
    with pytest.raises(UsageError, match="must not be negative"):
        ClipOptions(crf=-1)
    with pytest.raises(UnknownNameError):
        ClipOptions(codec="theora")


def test_evaluate_measures_the_frames_of_a_clip_and_how_steady_they_are(
    run: Any, make: Make, moving: Any, tmp_path: Path
) -> None:
    clip = make("clip.mp4", *moving, "-vf", "scale=64:64", "-frames:v", "4", "-c:v", "libx264")
    done = run("--data", clip, "--json", "--metric", "psnr,warping,flicker", "-o", "report", command="evaluate")
    rows = [row for row in json.loads(done.stdout)["rows"] if row["model"] == "bicubic"]
    counts = [(row["data"], row["metric"], len(row["images"])) for row in rows]
    assert counts == [("clip.mp4", "psnr", 4), ("clip.mp4", "warping", 3), ("clip.mp4", "flicker", 3)]
    assert "4 pictures" in (tmp_path / "report" / "report.html").read_text()
    assert "FLICKER" in run("--data", clip, command="evaluate").stdout


def test_evaluate_refuses_a_damaged_clip(run: Any, make: Make, moving: Any) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "mpeg4", "-movflags", "faststart")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    done = run("--data", clip, "--metric", "psnr", command="evaluate")
    assert done.returncode == 1
    assert "cut short" in done.stderr
