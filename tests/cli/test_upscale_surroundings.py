"""What lies around the command: a terminal with its bar, full disks, folders that may not be written, names as long as they get."""

from __future__ import annotations

import ctypes
import io
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from superscale.cli.progress import Bar, duration
from superscale.data.synthetic import synthetic_picture
from superscale.inference.upscaler import Upscaler
from superscale.weights.store import CPU_DEFAULT, DAMAGED_DEFAULT

Command = Callable[..., int]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draw(*names: str, side: int = 16) -> None:
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with open(name, "wb") as stream:
            PillowImage.fromarray(synthetic_picture(number, side)).save(stream, "PNG")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class NotedBar(Bar):
    """A bar that remembers what it would show."""

    shown: list[tuple[str, float, int]]

    def tile(self, done: int, total: int) -> None:
        super().tile(done, total)
        task = self.progress.tasks[0]
        self.shown.append((task.description, task.percentage, len(self.progress.tasks)))


def test_on_a_terminal_there_is_one_bar_that_every_picture_fills_once(
    command: Command, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NotedBar.shown = []
    monkeypatch.setattr("superscale.cli.progress.Bar", NotedBar)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    draw("a.png", "b.png", "c.png", side=32)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert command("upscale", "a.png", "b.png", "c.png", "--tile", "16", "--model", model_file) == 0
    shares = [percentage for _, percentage, _ in NotedBar.shown]
    assert shares == pytest.approx([100 * tile / 12 for tile in range(1, 13)])
    assert {bars for *_, bars in NotedBar.shown} == {1}
    assert [said for said, *_ in NotedBar.shown[::4]] == [f"{name}.png 32x32 to 128x128" for name in "abc"]
    assert "━" in terminal.getvalue()
    NotedBar.shown.clear()
    assert command("upscale", "a.png", "-q", "--overwrite", "--model", model_file) == 0
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert command("upscale", "a.png", "--overwrite", "--model", model_file) == 0
    assert not NotedBar.shown, "nobody would see it move"


def test_verbose_says_model_device_tile_and_overlap_and_what_was_chosen(
    command: Command, model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("superscale.machine.memory.free_bytes", lambda: 5_400_000_000)
    draw("a.png")
    line = ("upscale", "a.png", "-v", "--overwrite", "--device", "cpu", "--backend", "torch")
    # One block of this network: 4 (head) + 2 (block) + 1 + 3 (upsampling and tail) pixels.
    assert command(*line, "--model", model_file) == 0
    said = (
        "model tiny, device cpu, backend torch fp32, size x4, tile 256 px (auto: 5.4 GB are free), overlap 10 px "
        "(the network sees 10 px far)"
    )
    assert capsys.readouterr().err.splitlines()[0] == said
    assert command(*line, "--model", model_file, "--tile", "77", "--overlap", "3", "--scale", "2.5") == 0
    said = "model tiny, device cpu, backend torch fp32, size x2.5, tile 77 px, overlap 3 px (the network sees 10 px far)"
    assert capsys.readouterr().err.splitlines()[0] == said
    assert command(*line) == 0
    first = capsys.readouterr().err.splitlines()[0]
    chosen = f"the best-looking that is fast enough on cpu; {DAMAGED_DEFAULT} for JPEG blocks, noise and videos"
    assert first.startswith(f"model {CPU_DEFAULT} ({chosen}; --model names another), ")


def without_privilege() -> None:
    """Root may write everywhere; without this capability it may not, once another program is begun."""
    if sys.platform == "linux" and os.geteuid() == 0:
        drop_from_bounding_set, override_permissions = 24, 1
        ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)


def started(
    superscale: list[str | Path], model_file: Path, *arguments: str, **options: Any
) -> subprocess.CompletedProcess[str]:
    line = [*superscale, "upscale", *arguments, "--model", model_file]
    return subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False, **options)


def test_a_folder_that_may_not_be_written_fails_by_name_and_keeps_what_it_had(model_file: Path) -> None:
    draw("locked/a.png")
    os.chmod("locked", 0o555)
    try:
        result = started([sys.executable, "-m", "superscale"], model_file, "locked/a.png", preexec_fn=without_privilege)
    finally:
        os.chmod("locked", 0o755)
    assert result.returncode == 1
    assert re.fullmatch(
        r"failed: locked/a\.png: locked/a_x4\.png cannot be written: no permission to write into \S*locked\n", result.stderr
    )
    assert os.listdir("locked") == ["a.png"]


def test_a_full_disk_fails_every_picture_by_name_and_leaves_no_file(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("in/a.png", "in/b.png", side=32)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses the write in the middle.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        code = command("upscale", "in", "-o", "out", "--model", model_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    errors = capsys.readouterr().err
    for name in ("a", "b"):
        assert f"failed: in/{name}.png: out/{name}_x4.png cannot be written: File too large" in errors
    assert not os.path.exists("out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_standard_output_on_a_full_disk_is_a_failure_of_one_line(commands: Path, model_file: Path) -> None:
    draw("a.png")
    with open("/dev/full", "wb") as full:
        result = started([commands / "superscale"], model_file, "a.png", "-o", "-", stdout=full)
    assert result.returncode == 1
    assert result.stderr == "superscale: standard output: not all was written (No space left on device)\n"


@pytest.mark.parametrize("stem", ["n" * 246, "ü" * 123])
def test_a_name_of_250_bytes_is_enlarged_beside_itself(stem: str, command: Command, model_file: Path) -> None:
    name = f"{stem}.png"
    assert len(os.fsencode(name)) == 250
    draw(name)
    for _ in range(2):
        assert command("upscale", name, "--model", model_file, "--overwrite") == 0
        (made,) = set(os.listdir()) - {name, "model"}
        assert made.endswith("_x4.png")
        with PillowImage.open(made) as picture:
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(Upscaler(model_file)(name)))


def test_a_link_into_a_loop_and_a_device_end_the_command_with_their_names(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("in/a.png")
    os.symlink(".", "in/again")
    os.symlink("round.png", "in/round.png")
    assert command("upscale", "in", "--model", model_file) == 0
    errors = capsys.readouterr().err
    assert "skipped: in/again: a link to a folder that is read elsewhere" in errors
    assert "skipped: in/round.png: a link that leads back to itself" in errors
    assert sorted(os.listdir("in")) == ["a.png", "a_x4.png", "again", "round.png"]
    assert command("upscale", "/dev/null", "in/round.png", "--model", model_file) == 1
    errors = capsys.readouterr().err
    assert "failed: /dev/null: a device, not a picture" in errors
    assert "failed: in/round.png: a link that leads back to itself" in errors


def test_a_tile_size_that_was_given_is_not_changed_when_memory_is_short(
    command: Command, model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from superscale.errors import OutOfMemoryError
    from superscale.inference.backends.torch_backend import TorchBackend

    run, seen = TorchBackend.__call__, []

    def small(self: Any, low_res: Any) -> Any:
        seen.append(max(low_res.shape[-2:]))
        if seen[-1] > 40:
            raise OutOfMemoryError("cpu is full: no memory for a tile; give a smaller --tile, or 'auto'")
        return run(self, low_res)

    monkeypatch.setattr(TorchBackend, "__call__", small)
    draw("a.png", side=64)
    assert command("upscale", "a.png", "--backend", "torch", "--tile", "64", "--overlap", "2", "--model", model_file) == 1
    assert seen == [64]
    assert "give a smaller --tile, or 'auto'" in capsys.readouterr().err
    assert not Path("a_x4.png").exists()
    assert command("upscale", "a.png", "--backend", "torch", "--overlap", "2", "--model", model_file) == 0
    assert min(seen) <= 40
    with PillowImage.open("a_x4.png") as picture:
        assert picture.size == (256, 256)


def test_what_was_done_is_said_with_sizes_time_and_model(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("a.png")
    assert command("upscale", "a.png", "--model", model_file) == 0
    assert re.fullmatch(r"done: a_x4\.png \(16x16 to 64x64, \d+\.\d s, tiny\)\n", capsys.readouterr().err)


def test_a_folder_ends_with_counts_reasons_time_and_how_to_try_again(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("in/a.png", "in/b.png", "in/c.png", "in/d.png")
    for name in ("b", "c"):
        Path(f"in/{name}.png").write_bytes(b"\x89PNG\r\n\x1a\nshort")
    draw("out/d_x4.png")
    line = ("upscale", "in", "-o", "out/", "--model", model_file, "--scale", "4x", "--failed-list", "again.txt")
    assert command(*line) == 1
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"1 done, 0 skipped, 3 failed of 4; \d+\.\d s, \d+\.\d megapixels a second", said[-3])
    assert said[-2] == "failed: 2 damaged, 1 exists"
    assert said[-1] == f"try these again: superscale upscale @again.txt --output out/ --model {model_file} --scale 4x"
    assert sum("b.png" in one for one in said) == 1, "each failure is said once"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--tile", "3"), "tile must be 'auto', 0 (the whole image) or at least 16 pixels, got 3"),
        (("--tile", 5000 * "9"), "--tile must be 'auto' or a number of pixels, got '9"),
        (("--bands", 5000 * "9"), "bands must be 'auto', 'all', 'rgb+rest' or three"),
        (("--fit", 5000 * "9" + "x1"), "or WIDTHxHEIGHT such as 1920x1200, got '9"),
        (("--width", 400 * "9"), "a target size must be from one pixel to 1,000,000,000, got 9"),
        (("--scale", "four"), "--scale must be a number such as 2 or 3.5, got 'four'"),
        (("--scale", "0"), "scale must be above 0 and at most 64, got 0"),
        (("-o", "q.xyz"), "q.xyz: unknown format; expected one of .png"),
        (("--fidelity", "0.5"), "has no PSNR-oriented partner; fidelity works with srgan-x4"),
        (("--start", "1"), "--start: for videos only, got a.png"),
        (("--crf", "3"), "--crf: for videos only, got a.png"),
        (("--workers", "3"), "--workers: for the workers of --on ray only"),
        (("--endpoint-url", "http://here"), "--endpoint-url: for pictures in an object store only"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_plain_words(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, str], reason: str
) -> None:
    draw("a.png")
    assert command("upscale", "a.png", "--model", model_file, *flags) == 2
    assert reason in capsys.readouterr().err
    assert not Path("q.xyz").exists()


def test_options_of_videos_do_no_harm_to_a_folder_that_may_hold_some(command: Command, model_file: Path) -> None:
    draw("in/a.png")
    assert command("upscale", "in", "-o", "out", "--model", model_file, "--crf", "20") == 0


def test_a_video_that_is_to_lose_its_metadata_is_refused(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("clip.mp4").write_bytes(b"\0")
    assert command("upscale", "clip.mp4", "--model", model_file, "--metadata", "strip") == 1
    assert "metadata strip: for pictures only" in capsys.readouterr().err


def test_a_dot_before_the_extension_is_written_once(command: Command, model_file: Path) -> None:
    draw("a.png")
    assert command("upscale", "a.png", "--model", model_file, "-o", "{stem}_big.{ext}") == 0
    assert Path("a_big.png").is_file()


def test_a_list_may_have_comments(command: Command, model_file: Path) -> None:
    draw("a.png", "#b.png")
    Path("list").write_text("# pictures of today\na.png\n./#b.png\n")
    assert command("upscale", "@list", "--model", model_file) == 0
    assert Path("a_x4.png").is_file()
    assert Path("#b_x4.png").is_file()


def test_a_dry_run_refuses_what_the_run_refuses(command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("a.png", "b.png", "c.png")
    draw("a_x4.png")
    draw("c.png", side=40)
    line = ("upscale", "a.png", "b.png", "c.png", "--model", model_file, "--max-output-pixels", "5000")
    assert command(*line, "--dry-run") == 1
    planned = capsys.readouterr()
    assert "would fail: a.png: a_x4.png exists" in planned.err
    assert "would fail: c.png: the output would be 160x160" in planned.err
    assert re.search(r"^3 images, about \d+\.\d s and \d+ MB; 2 would fail$", planned.err, re.MULTILINE)
    assert [one.split()[0] for one in planned.out.splitlines()] == ["b.png"]
    assert command(*line) == 1
    assert "1 done, 0 skipped, 2 failed of 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.24, "3.2 s"), (59.97, "1 min 0 s"), (252, "4 min 12 s"), (12239, "3 h 23 min")]
)
def test_long_times_are_said_in_minutes_and_hours(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_nothing_heavy_is_loaded_to_say_that_there_is_no_such_file(tmp_path: Path) -> None:
    code = """
import sys
from superscale.cli.main import main
sys.argv = ["superscale", "upscale", "none.png", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    loaded = {"torch", "onnxruntime", "superscale.inference.jobs"} & set(sys.modules)
    print(stop.code, *loaded)
"""
    for extra, expected in (((), "1\n"), (("--model", "nope"), "2\n")):
        done = subprocess.run([sys.executable, "-c", code, *extra], capture_output=True, text=True, check=True)
        assert done.stdout == expected
