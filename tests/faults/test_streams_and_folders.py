"""Folders that cannot be read, and standard streams that are closed, slow or gone."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from conftest import Ended, Run
from faults import armed
from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image

NO_PRIVILEGES = ("without_privileges",)


def slow(*command: str) -> object:
    return pytest.param(command, marks=pytest.mark.slow)


@pytest.fixture
def hidden(photos: Path) -> Path:
    """A folder beside the photos that may not be listed, with one in it."""
    folder = photos / "sub"
    write_image(folder / "inside.png", Image(synthetic_picture(9, 96)))
    folder.chmod(0)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--data", "photos"),
        ("prepare", "photos", "-o", "pack"),
        ("train", "smoke", "--data", "photos", "-o", "run", "--device", "cpu"),
        ("upscale", "photos/**/*.png", "-o", "out", "--model", "MODEL"),
        slow("train", "smoke", "--data", "photos", "-o", "run", "--device", "cpu", "--dry-run"),
        slow("train", "smoke", "--validation", "photos", "-o", "run", "--device", "cpu"),
        slow("fit-niqe", "photos", "-o", "niqe.json"),
        slow("evaluate", "--data", "photos", "--outputs", "photos"),
        slow("upscale", "photos/*/*.png", "-o", "out", "--model", "MODEL"),
        slow("upscale", "photos", "-o", "out", "--model", "MODEL"),
    ],
)
def test_a_folder_that_cannot_be_listed_ends_in_its_name(
    faulty: Run, hidden: Path, model_file: Path, command: tuple[str, ...]
) -> None:
    arguments = [str(model_file) if word == "MODEL" else word for word in command]
    faulty(*arguments, faults=[NO_PRIVILEGES]).failed_naming(hidden.relative_to(hidden.parents[1]))


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(faulty: Run, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints").chmod(0)
    faulty("train", "smoke", "-o", "run", "--device", "cpu", faults=[NO_PRIVILEGES]).failed_naming("checkpoints")


def streaming(photos: Path, model_file: Path, commands: Path, *faults: tuple[str, ...]) -> list[str]:
    picture = photos / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8)
    write_image(picture, Image(noise))
    return [
        str(commands / "python"),
        "-c",
        armed(*faults),
        "upscale",
        str(picture),
        "-o",
        "-",
        "--model",
        str(model_file),
        "--device",
        "cpu",
    ]


@pytest.mark.parametrize("faults", [(), (("unbuffered",),)])
def test_a_reader_that_goes_away_is_a_failure(
    photos: Path, model_file: Path, commands: Path, faults: tuple[tuple[str, ...], ...]
) -> None:
    command = streaming(photos, model_file, commands, *faults)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        assert b"standard output" in process.stderr.read()
        assert process.wait() == 1


@pytest.mark.parametrize("faults", [(), (("unbuffered",),)])
def test_a_pipe_that_does_not_wait_gets_every_byte(
    photos: Path, model_file: Path, commands: Path, faults: tuple[tuple[str, ...], ...]
) -> None:
    command = streaming(photos, model_file, commands, *faults)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(command, stdout=writing) as process, open(reading, "rb") as stream:
        os.close(writing)
        data = stream.read()
    assert process.returncode == 0
    assert len(data) > 2**16
    with Pillow.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.size == (768, 768)


@pytest.mark.parametrize(
    "command", [("models", "list", "--json"), ("upscale", "photos", "-o", "out", "--json", "--model", "MODEL")]
)
@pytest.mark.parametrize("how", ["closed", "full"])
def test_json_that_cannot_be_written_is_a_failure(
    faulty: Run, photos: Path, model_file: Path, commands: Path, command: tuple[str, ...], how: str
) -> None:
    arguments = [str(model_file) if word == "MODEL" else word for word in command]
    if how == "closed":
        ended = faulty(*arguments, faults=[("closed", "1")])
    elif Path("/dev/full").exists():
        program = f"import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n{armed()}"
        done = subprocess.run(
            [str(commands / "python"), "-c", program, *arguments],
            capture_output=True,
            check=False,
            cwd=photos.parent,
            text=True,
        )
        ended = Ended(done.returncode, b"", done.stderr)
    else:
        pytest.skip("needs /dev/full")
    ended.failed_naming("standard output")


@pytest.mark.parametrize(
    "command", [("upscale", "photos", "-o", "out", "--model", "MODEL"), ("evaluate", "--data", "photos", "--json")]
)
def test_without_standard_error_the_work_is_done(faulty: Run, photos: Path, model_file: Path, command: tuple[str, ...]) -> None:
    arguments = [str(model_file) if word == "MODEL" else word for word in command]
    ended = faulty(*arguments, faults=[("closed", "2")])
    assert ended.code == 0
    if command[0] == "upscale":
        names = sorted(path.name for path in (photos.parent / "out").iterdir())
        assert names == [f"photo-{number}_x4.png" for number in range(6)]
    else:
        assert json.loads(ended.out)["version"] == 1


def test_a_picture_for_a_closed_standard_output_is_a_failure(faulty: Run, photos: Path, model_file: Path) -> None:
    arguments = ("upscale", "photos/photo-0.png", "-o", "-", "--model", model_file)
    faulty(*arguments, faults=[("closed", "1")]).failed_naming("standard output")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_for_a_picture_that_nobody_sends(
    photos: Path, model_file: Path, commands: Path, number: signal.Signals
) -> None:
    program = armed(("signalled", number.name, "1"))
    command = [str(commands / "python"), "-c", program, "upscale", "-", "-o", "x.png", "--model", str(model_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=photos) as process:
        try:
            assert process.wait(timeout=40) == 128 + number
        finally:
            process.kill()


def test_a_list_from_a_closed_standard_input_is_refused(faulty: Run, model_file: Path) -> None:
    faulty("upscale", "@-", "--model", model_file, faults=[("closed", "0")]).failed_naming("@-", code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("upscale", ""),
        ("train", "smoke", "-o", ""),
        ("train", "smoke", "--output="),
        ("evaluate", "--data", ""),
        ("prepare", "", "-o", "x"),
    ],
)
def test_an_empty_argument_is_refused(faulty: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    before = sorted(tmp_path.iterdir())
    faulty(*arguments).failed_naming("empty", code=2)
    assert sorted(tmp_path.iterdir()) == before


def test_names_that_are_no_text_are_measured_and_written(faulty: Run, photos: Path) -> None:
    os.rename(photos / "photo-0.png", os.fsencode(photos) + b"/photo-\xff.png")
    ended = faulty("evaluate", "--data", "photos", "-o", "report")
    assert ended.code == 0, ended.err
    report = photos.parent / "report"
    assert {path.name for path in report.iterdir()} == {
        "results.csv",
        "results.json",
        "results.md",
        "results.tex",
        "report.html",
    }
    assert "photo-\udcff" in json.loads((report / "results.json").read_text())["rows"][0]["images"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_one_error_of_reading_costs_no_image_of_an_evaluation(faulty: Run, photos: Path, after: int) -> None:
    ended = faulty("evaluate", "--data", "photos", "--json", faults=[("failing_reads", "*photo-3.png", "1", str(after))])
    assert ended.code == 0, ended.err
    assert len(json.loads(ended.out)["rows"][0]["images"]) == 6
