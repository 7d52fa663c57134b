from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from superscale.cli.main import main
from superscale.cli.progress import Bar
from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, read_image, write_image
from superscale.weights.checkpoint import Model, save_model


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["superscale", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.fixture
def model_file(tiny_model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(path, tiny_model.generator, {"recipe": "none"})
    return path


def test_help_and_version_answer_without_importing_torch() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['superscale', sys.argv[1]]\n"
        "from superscale.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), 'heavy imports'"
    )
    for option in ("--help", "--version"):
        result = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("superscale 0.")


def test_the_installed_command_answers() -> None:
    installed = Path(sys.executable).with_name("superscale")
    result = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("superscale 0.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_interpreters_own_end_is_no_traceback(number: signal.Signals) -> None:
    code = (
        "import atexit, os, sys\n"
        "from superscale.__main__ import main\n"
        f"atexit.register(os.kill, os.getpid(), {int(number)})\n"
        "sys.argv = ['superscale', '--version']\n"
        "main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (-number, "")


def test_a_training_that_is_still_starting_outlives_slurms_warning(commands: Path) -> None:
    code = (
        "import signal, sys\n"
        "from superscale.cli.main import main\n"
        "from superscale.training.recipe import schema\n"
        "def starting(*_):\n"
        "    signal.raise_signal(signal.SIGUSR1)\n"
        "    raise SystemExit(7)\n"
        "schema.load_recipe = starting\n"
        "sys.argv = ['superscale', 'train', 'smoke']\n"
        "main()"
    )
    assert subprocess.run([commands / "python", "-c", code], check=False).returncode == 7


def test_the_help_shows_examples_before_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments, count in (((), 5), (("upscale",), 7)):
        assert run(monkeypatch, *arguments, "--help") == 0
        lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
        examples = [number for number, line in enumerate(lines) if line.startswith("superscale ")]
        assert len(examples) == count
        assert examples[-1] < next(number for number, line in enumerate(lines) if "Options" in line)


def test_unknown_commands_and_options_are_usage_errors_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "upscal", "x.png") == 2
    assert "upscale" in capsys.readouterr().err
    assert run(monkeypatch, "evaluate", "--modle", "bicubic", "--data", ".") == 2
    assert "--model" in capsys.readouterr().err
    assert run(monkeypatch, "train", "smok") == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err


def test_one_photo_goes_beside_itself(
    model_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "upscale", photos / "photo-0.png", "--model", model_file) == 0
    assert read_image(photos / "photo-0_x4.png").pixels.shape == (384, 448, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "photo-0_x4.png" in captured.err


def test_a_bad_file_is_named_the_rest_go_on_and_the_exit_code_is_1(
    model_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "photo-1.png").write_bytes(b"no picture")
    assert run(monkeypatch, "upscale", photos, "--model", model_file, "-o", photos.parent / "out", "--json") == 1
    captured = capsys.readouterr()
    assert "photo-1.png" in captured.err
    result = json.loads(captured.out)
    assert (result["version"], result["done"], result["skipped"], result["failed"]) == (1, 5, 0, 1)
    done = [entry for entry in result["results"] if entry["status"] == "done"]
    assert {(entry["width"], entry["height"]) for entry in done} == {(448, 384)}
    assert sorted(path.name for path in (photos.parent / "out").iterdir()) == [f"photo-{n}_x4.png" for n in (0, 2, 3, 4, 5)]


def test_existing_outputs_are_refused_unless_told(
    model_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, output = photos / "photo-0.png", photos / "photo-0_x4.png"
    output.write_bytes(b"mine")
    assert run(monkeypatch, "upscale", photo, "--model", model_file) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(monkeypatch, "upscale", photo, "--model", model_file, "--skip-existing") == 0
    assert output.read_bytes() == b"mine"
    assert run(monkeypatch, "upscale", photo, "--model", model_file, "--overwrite") == 0
    assert read_image(output).width == 448


def test_a_folder_keeps_its_tree_and_its_own_outputs_are_not_enlarged_again(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "sub/b.jpg", "sub/b.png"):
        write_image(tmp_path / "in" / name, Image(synthetic_picture(1, 16)))
    assert run(monkeypatch, "upscale", tmp_path / "in", "--model", model_file, "-o", tmp_path / "out") == 0
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["a_x4.png", "sub/b_x4.jpg", "sub/b_x4.png"]
    assert run(monkeypatch, "upscale", tmp_path / "in", "--model", model_file) == 0
    assert run(monkeypatch, "upscale", tmp_path / "in", "--model", model_file, "--skip-existing") == 0
    assert not list((tmp_path / "in").rglob("*_x4_x4*"))


def test_two_inputs_never_share_an_output(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "a.png", "sub/a.png"):
        write_image(tmp_path / name, Image(synthetic_picture(1, 16)))
    pair = (tmp_path / "a.jpg", tmp_path / "a.png")
    assert run(monkeypatch, "upscale", *pair, "--model", model_file, "--format", "png") == 0
    assert sorted(path.name for path in tmp_path.glob("*_x4*")) == ["a_jpg_x4.png", "a_x4.png"]
    pair = (tmp_path / "sub" / "a.png", tmp_path / "a.png")
    capsys.readouterr()
    assert run(monkeypatch, "upscale", *pair, "--model", model_file, "-o", tmp_path / "out") == 2
    assert "both be written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_dry_run_writes_nothing(
    model_file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(photos.iterdir())
    monkeypatch.setattr(sys, "argv", ["superscale", "upscale", str(photos), "--model", str(model_file), "--dry-run"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.count(" -> ") == 6
    assert sorted(photos.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (("upscale", "none.png"), 1, "no such file"),
        (("upscale", "x.png", "--tile", "big"), 2, "--tile"),
        (("upscale", "x.png", "--scale", "-1"), 2, "scale"),
        (("upscale", "x.png", "--format", "bmp"), 2, "--format"),
        (("upscale", "x.png", "--overwrite", "--skip-existing"), 2, "exclude each other"),
        (("upscale", "x.png", "--device", "cuda:77"), 2, "cuda:77"),
        (("evaluate", "--data", "nowhere"), 1, "nowhere"),
        (("evaluate", "--data", ".", "--metric", "pnsr"), 2, "did you mean 'psnr'"),
        (("prepare", "nowhere", "-o", "pack"), 1, "nowhere"),
        (("train", "smoke", "--set", "sed=1"), 2, "did you mean 'seed'"),
        (("train", "smoke", "--max-time", "soon"), 2, "--max-time"),
    ],
)
def test_every_error_is_one_line_with_the_right_exit_code(
    arguments: tuple[str, ...],
    code: int,
    match: str,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(b"")
    extra = ("--model", model_file) if arguments[0] == "upscale" else ()
    assert run(monkeypatch, *arguments, *extra) == code
    error = capsys.readouterr().err.strip()
    assert match in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1


def test_prepare_train_evaluate_and_upscale_follow_one_another(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole path of a picture, by its commands."""
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "prepare", photos, "-o", "pack", "--tile", "64") == 0
    assert "sub-images of 6 photos, 0 skipped" in capsys.readouterr().out
    small = ["--set", "stage.psnr.images=32", "--set", "stage.gan.images=16"]
    assert run(monkeypatch, "train", "smoke", "--data", "pack", "--validation", photos, "-o", "run", *small) == 0
    model = capsys.readouterr().out.strip()
    assert model == "run/model.safetensors"
    assert run(monkeypatch, "evaluate", "--model", "bicubic", "--model", model, "--data", photos, "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in table["rows"]} == {"bicubic", model}
    assert all(len(row["images"]) == 6 and np.isfinite(row["mean"]) for row in table["rows"])
    assert run(monkeypatch, "upscale", photos / "photo-0.png", "--model", model, "-o", "big.png") == 0
    with PillowImage.open("big.png") as picture:
        assert picture.size == (448, 384)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_training_state_and_the_same_command_goes_on(
    number: signal.Signals, code: int, commands: Path, tmp_path: Path
) -> None:
    command = [commands / "superscale", "train", "smoke", "-o", tmp_path / "run", "--set", "stage.psnr.images=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "saved; the same command goes on" in errors
    again = subprocess.run([*command, "--max-time", "0"], capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "going on with stage psnr at image" in again.stderr


def test_every_picture_has_a_bar_that_fills_once() -> None:
    with Bar(2, "tiny") as bar:
        task = bar.progress.tasks[0]
        bar.begin("folder/a[b].png", "8x8 to 32x32")
        assert task.description == "a[b].png 8x8 to 32x32"
        for done, total, shown in ((1, 4, 12.5), (4, 4, 50)):
            bar.tile(done, total)
            assert task.percentage == shown
        bar.next(32 * 32)
        bar.tile(1, 2)
        assert (task.percentage, task.fields["finished"]) == (75, 1)
        assert task.fields["rate"].endswith("MP/s")
