from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, read_image, write_image
from superscale.inference.upscaler import Upscaler

Command = Callable[..., int]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draw(*names: str, side: int = 16) -> None:
    for number, name in enumerate(names):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(synthetic_picture(number, side)).save(path)


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_picture_from_standard_input_goes_to_standard_output_and_nothing_else_does(
    command: Command, model_file: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    draw("a.png")
    given(monkeypatch, Path("a.png").read_bytes())
    assert command("upscale", "-", "--model", model_file, "-v") == 0
    captured = capsysbinary.readouterr()
    with PillowImage.open(io.BytesIO(captured.out)) as picture:
        assert picture.format == "PNG"
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(Upscaler(model_file)("a.png")))
    assert b"model tiny" in captured.err
    assert command("upscale", "a.png", "-o", "-", "--format", "jpg", "--model", model_file) == 0
    with PillowImage.open(io.BytesIO(capsysbinary.readouterr().out)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("a.png", "b.png", "-o", "-"), "takes one picture"),
        (("a.png", "-o", "-", "--json"), "--json"),
        (("a.png", "b.png", "-o", "one.png"), "there are 2 pictures"),
        (("a.png", "-o", "{stme}.png"), "did you mean 'stem'"),
        (("@nowhere",), "no list can be read"),
        (("a.png", "--fidelity", "2"), "between 0"),
        (("a.png", "--fidelity", "0.5"), "partner"),
    ],
)
def test_contradictions_are_usage_errors_of_one_line(
    arguments: tuple[str, ...], match: str, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("a.png", "b.png")
    assert command("upscale", *arguments, "--model", model_file) == 2
    error = capsys.readouterr().err
    assert match in error
    assert len(error.splitlines()) == 1


def test_json_has_the_promised_keys_and_the_order_of_inputs(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("b.png", "a.png", "c.png")
    Path("a.png").write_bytes(b"no picture")
    draw("c_x4.png")
    assert command("upscale", "b.png", "a.png", "c.png", "--skip-existing", "--json", "--model", model_file) == 1
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["version", "results", "done", "skipped", "failed", "backends"]
    assert (answer["version"], answer["done"], answer["skipped"], answer["failed"]) == (1, 1, 1, 1)
    keys = [
        "input",
        "output",
        "status",
        "width",
        "height",
        "seconds",
        "error",
        "code",
        "range",
        "pages",
        "input_width",
        "input_height",
        "model",
    ]
    assert [list(result) for result in answer["results"]] == [keys] * 3
    assert [(result["input"], result["status"]) for result in answer["results"]] == [
        ("b.png", "done"),
        ("a.png", "failed"),
        ("c.png", "skipped"),
    ]
    assert (answer["results"][0]["width"], answer["results"][0]["height"]) == (64, 64)
    assert answer["results"][0]["seconds"] > 0


def test_lenient_writes_what_there_is_of_a_damaged_picture_and_is_no_success(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("a.png", "b.png")
    Path("a.png").write_bytes(Path("a.png").read_bytes()[:-20])
    assert command("upscale", "a.png", "b.png", "--json", "--model", model_file) == 1
    assert [result["status"] for result in json.loads(capsys.readouterr().out)["results"]] == ["failed", "done"]
    assert command("upscale", "a.png", "b.png", "--lenient", "--overwrite", "--json", "--model", model_file) == 1
    captured = capsys.readouterr()
    damaged, whole = json.loads(captured.out)["results"]
    assert (damaged["status"], whole["status"], whole["error"]) == ("done", "done", None)
    assert "damaged picture" in damaged["error"]
    assert "damaged: a.png: damaged picture" in captured.err
    assert Path(damaged["output"]).is_file()


def test_what_failed_can_be_tried_again_from_the_list(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("in/a.png", "in/sub/b.png", "in/sub/c.png")
    whole = Path("in/sub/b.png").read_bytes()
    Path("in/sub/b.png").write_bytes(whole[:100])
    line = ("--model", model_file, "-o", "out", "--failed-list", "failed")
    assert command("upscale", "in", *line) == 1
    captured = capsys.readouterr()
    assert "2 done, 0 skipped, 1 failed of 3" in captured.err
    assert "try these again: superscale upscale @failed" in captured.err
    assert Path("failed").read_text() == "in/./sub/b.png\n"
    Path("in/sub/b.png").write_bytes(whole)
    assert command("upscale", "@failed", *line) == 0
    assert Path("out/sub/b_x4.png").is_file()
    assert Path("failed").read_bytes() == b""
    capsys.readouterr()
    assert command("upscale", "@failed", *line) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_fail_fast_says_how_much_was_not_begun(command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("a.png", "b.png", "c.png", "d.png")
    Path("b.png").write_bytes(b"no picture")
    assert command("upscale", "*.png", "--fail-fast", "--model", model_file) == 1
    assert "1 done, 0 skipped, 1 failed of 4, 2 not begun" in capsys.readouterr().err
    assert sorted(path.name for path in Path().glob("*_x4*")) == ["a_x4.png"]


@pytest.mark.parametrize(
    "name", ["-dash.png", "with space.png", "grüße 中文.png", "bytes-\udcff\udcfe.png", "new\nline.png", "@at.png"]
)
def test_any_name_that_a_file_can_have_works_in_a_folder_and_in_json(
    name: str, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "\udcff" in name and sys.platform != "linux":
        pytest.skip("only Linux has names that are no text")
    Path("in").mkdir()
    with open(os.path.join("in", name), "wb") as stream:
        PillowImage.fromarray(synthetic_picture(1, 16)).save(stream, "PNG")
    assert command("upscale", "in", "--model", model_file) == 0
    stem = Path(name).stem
    assert os.fsencode(f"{stem}_x4.png") in os.listdir(b"in")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert command("upscale", "in", "--json", "--overwrite", "--model", model_file) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["input"] == f"in/{name}"
    os.chdir("in")
    assert command("upscale", "--overwrite", "--model", model_file, "--", f"./{name}") == 0
    if not name.startswith("@"):
        assert command("upscale", "--overwrite", "--model", model_file, "--", name) == 0


def test_quiet_prints_errors_only(command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("a.png", "b.png")
    os.mkfifo("pipe")
    assert command("upscale", ".", "-q", "--model", model_file) == 0
    assert capsys.readouterr() == ("", "")
    Path("a.png").write_bytes(b"no picture")
    assert command("upscale", "a.png", "b.png", "-q", "--overwrite", "--model", model_file) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("failed: a.png: ")
    assert len(captured.err.splitlines()) == 1


def test_a_pipe_in_a_folder_is_skipped_with_a_notice(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("in/a.png")
    os.mkfifo("in/pipe.png")
    assert command("upscale", "in", "--model", model_file) == 0
    assert "skipped: in/pipe.png: a pipe, not a picture" in capsys.readouterr().err


def test_a_dry_run_says_exact_sizes_and_writes_nothing(
    command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("a.png", side=40)
    Path("b.png").write_bytes(b"no picture")
    before = sorted(os.listdir())
    line = ("upscale", "a.png", "b.png", "--model", model_file, "--tile", "16", "--scale", "2.5", "--dry-run")
    assert command(*line, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    job = answer["jobs"][0]
    assert (job["width"], job["height"], job["output_width"], job["output_height"], job["tiles"]) == (40, 40, 100, 100, 9)
    assert job["seconds"] > 0
    assert job["memory_bytes"] > 100 * 100 * 3
    assert answer["jobs"][1]["error"]
    assert command(*line) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("a.png -> a_x2.5.png  40x40 to 100x100, tiles: 9, ")
    assert "would fail: b.png" in captured.err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(("option", "value"), [("--max-pixels", 255), ("--max-output-pixels", 4095), ("--max-bytes", 40)])
def test_limits_can_be_set_and_their_error_says_how(
    option: str, value: int, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("a.png")
    assert command("upscale", "a.png", option, value, "--model", model_file) == 1
    assert option in capsys.readouterr().err
    assert command("upscale", "a.png", option, value, "--json", "--model", model_file) == 1
    assert option in json.loads(capsys.readouterr().out)["results"][0]["error"]
    assert not Path("a_x4.png").exists()


def started(superscale: list[str | Path], model_file: Path, *arguments: str) -> subprocess.Popen[str]:
    line = [*superscale, "upscale", *arguments, "--model", model_file]
    # As a shell starts it in front: whoever runs the tests in the background may have told its children to ignore Ctrl-C.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_files_only_and_the_same_command_does_the_rest(
    number: signal.Signals, code: int, commands: Path, model_file: Path
) -> None:
    draw(*(f"in/{index:03}.png" for index in range(300)), side=96)
    process = started([commands / "superscale"], model_file, "in", "-o", "out", "--json", "--failed-list", "left")
    deadline = time.monotonic() + 60
    while len(list(Path("out").glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "--skip-existing does what is left" in errors
    assert "Traceback" not in errors
    names = sorted(path.name for path in Path("out").iterdir())
    assert 3 <= len(names) < 300
    assert all(name.endswith("_x4.png") for name in names)
    for name in names:
        with PillowImage.open(Path("out") / name) as picture:
            picture.load()
            assert picture.size == (384, 384)
    done = json.loads(out)["done"]
    assert 0 <= len(names) - done <= 1
    # A list that is retried must not lose what was not begun.
    assert len(Path("left").read_text().splitlines()) == 300 - done


@pytest.mark.slow
def test_the_command_killed_ten_times_and_begun_again_ends_with_the_same_bytes(command: Command, model_file: Path) -> None:
    draw(*(f"in/{index:03}.png" for index in range(120)), side=48)
    assert command("upscale", "in", "-o", "whole", "-q", "--model", model_file) == 0
    whole = {path.name: path.read_bytes() for path in Path("whole").iterdir()}
    chance = random.Random(0)
    for _ in range(10):
        wanted = len(list(Path("cut").glob("*.png"))) + chance.randint(0, 6)
        process = started([sys.executable, "-m", "superscale"], model_file, "in", "-o", "cut", "--skip-existing")
        deadline = time.monotonic() + 60
        while len(list(Path("cut").glob("*.png"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert all(path.read_bytes() == whole[path.name] for path in Path("cut").glob("*.png"))
    assert command("upscale", "in", "-o", "cut", "-q", "--skip-existing", "--model", model_file) == 0
    assert {path.name: path.read_bytes() for path in Path("cut").iterdir()} == whole


def test_standard_input_that_was_closed_is_no_hindrance(model_file: Path) -> None:
    draw("a.png")
    line = f"exec {sys.executable} -m superscale upscale a.png --model {model_file} <&-"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["upscale", "blend", "doctor", "models"])
def test_help_of_every_command_answers_without_importing_torch(name: str, command: Command) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['superscale', {name!r}, '--help']\n"
        "from superscale.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), 'heavy imports'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_without_a_home_or_a_temporary_folder_a_picture_is_still_enlarged(model_file: Path) -> None:
    draw("a.png")
    kept = {key: os.environ[key] for key in ("PYTHONPATH", "PATH", "OMP_NUM_THREADS") if key in os.environ}
    line = [sys.executable, "-m", "superscale", "upscale", "a.png", "--model", str(model_file)]
    result = subprocess.run(line, env=kept, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert Path("a_x4.png").is_file()


def test_a_reader_that_goes_away_is_no_traceback(commands: Path, model_file: Path) -> None:
    draw("a.png", side=128)
    process = started([commands / "superscale"], model_file, "a.png", "-o", "-")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert "Traceback" not in errors


def test_twenty_good_pictures_among_all_the_bad_ones_are_enlarged_right_and_every_bad_one_is_named(
    shared: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run([sys.executable, str(shared / "tools" / "make_bad_inputs.py"), "in"], check=True)
    bad = {str(path) for path in Path("in").iterdir() if path.name.startswith(("bad_", "bomb_"))}
    assert len(bad) > 15
    good = [f"in/photo-{number:02}.png" for number in range(20)]
    draw(*good, side=24)
    assert command("upscale", "in", "-o", "out", "--json", "--model", model_file) == 1
    captured = capsys.readouterr()
    results = {result["input"]: result for result in json.loads(captured.out)["results"]}
    upscaler = Upscaler(model_file)
    for name in good:
        assert results[name]["status"] == "done"
        with PillowImage.open(results[name]["output"]) as written:
            np.testing.assert_array_equal(np.asarray(written), np.asarray(upscaler(name)))
    assert bad <= results.keys()
    for name in bad:
        assert results[name]["status"] in ("failed", "skipped")
        assert results[name]["error"]
        assert name in captured.err
    assert {name for name, result in results.items() if result["status"] == "failed"} <= bad
    outputs = {result["output"] for result in results.values() if result["status"] == "done"}
    assert {str(path) for path in Path("out").rglob("*") if not path.is_dir()} == outputs


@pytest.mark.parametrize(
    ("flags", "name", "size"),
    [
        (("--width", "60"), "a_w60.png", (40, 60)),
        (("--height", "60"), "a_h60.png", (60, 90)),
        (("--long-side", "45"), "a_45px.png", (30, 45)),
        (("--fit", "30x90"), "a_30x90.png", (30, 45)),
    ],
)
def test_a_target_size_is_reached_exactly_and_named(
    command: Command, model_file: Path, tmp_path: Path, flags: tuple[str, str], name: str, size: tuple[int, int]
) -> None:
    write_image(tmp_path / "a.png", Image(synthetic_picture(0, 24)[:16]))
    assert command("upscale", tmp_path / "a.png", "--model", model_file, *flags) == 0
    assert read_image(tmp_path / name).pixels.shape[:2] == size
    assert command("upscale", tmp_path / "a.png", "--model", model_file, *flags, "--scale", "2") == 2
