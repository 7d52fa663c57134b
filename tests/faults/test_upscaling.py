"""Folder runs: what an output is, who makes it, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from conftest import Run, leftovers
from faults import armed
from superscale.errors import Unsupported
from superscale.image.io import Image, read_image, source_of
from superscale.inference.jobs import check_output_size, run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import Job
from superscale.inference.upscaler import Upscaler
from superscale.reading import fingerprint
from superscale.weights.checkpoint import Model


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("metadata", ["keep", "strip"])
def test_every_format_says_what_an_output_was_made_of_and_only_outputs_do(
    faulty: Run, photos: Path, model_file: Path, suffix: str, metadata: str
) -> None:
    one = photos / "photo-0.png"
    ended = faulty("upscale", one, "-o", f"big.{suffix}", "--metadata", metadata, "--model", model_file)
    assert ended.code == 0, ended.err
    output = photos.parent / f"big.{suffix}"
    assert source_of(output) == fingerprint(one)
    assert source_of(one) is None
    assert read_image(output).metadata.exif is None  # it is of this file, not of the photograph


def test_a_picture_of_the_users_with_the_name_of_an_output_is_enlarged_and_never_replaced(
    faulty: Run, photos: Path, model_file: Path
) -> None:
    for path in photos.glob("photo-[1-5].png"):
        path.unlink()
    own = photos / "photo-0_x4.png"
    shutil.copy(photos / "photo-0.png", own)
    before = own.read_bytes()
    ended = faulty("upscale", "photos", "--overwrite", "--model", model_file)
    ended.failed_naming("photo-0_x4.png is the input")
    assert own.read_bytes() == before
    assert (photos / "photo-0_x4_x4.png").is_file()


@pytest.mark.slow
def test_outputs_in_a_folder_below_the_inputs_are_left_out_whatever_they_are_called_and_it_is_said(
    faulty: Run, photos: Path, model_file: Path
) -> None:
    first = faulty("upscale", "photos", "-o", "photos/out", "--model", model_file)
    assert first.code == 0, first.err
    second = faulty("upscale", "photos", "-o", "photos/out", "--scale", "2", "--model", model_file)
    assert second.code == 0, second.err
    assert "left out: photos/out/photo-0_x4.png and 5 more" in second.err
    assert sorted(path.name for path in (photos / "out").iterdir()) == sorted(
        f"photo-{number}_x{scale}.png" for number in range(6) for scale in (2, 4)
    )
    named = faulty("upscale", "photos/out/photo-0_x4.png", "--model", model_file)
    assert named.code == 0, named.err
    others = faulty("upscale", "photos/out", "-o", "again", "--scale", "1", "--model", model_file)
    assert others.code == 0, others.err
    assert "photo-1_x4_x1.png" in os.listdir(photos.parent / "again")  # made of pictures that are no inputs here


def test_a_header_that_promises_too_large_an_output_is_refused_before_its_samples_are_touched(
    faulty: Run, tmp_path: Path, model_file: Path
) -> None:
    """Compressed data that end at once: to decode them would say damaged."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8000, 7000, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"\0" * 10_000) + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(data)
    ended = faulty("upscale", "large.png", "--max-output-pixels", "1000000", "--model", model_file)
    ended.failed_naming("the output would be 32000x28000")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_counts_every_picture_that_it_wrote(
    photos: Path, model_file: Path, commands: Path, number: signal.Signals
) -> None:
    for index in range(6, 40):
        shutil.copy(photos / "photo-0.png", photos / f"photo-{index}.png")
    command = [
        *(str(commands / "python"), "-c", armed(("signalled", number.name, "0.8")), "upscale", str(photos), "-o"),
        *(str(photos.parent / "out"), "--json", "--failed-list", str(photos.parent / "again"), "--model", str(model_file)),
    ]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    out = photos.parent / "out"
    written = sorted(path.name for path in out.glob("*.png")) if out.exists() else []
    if ended.stdout:
        told = json.loads(ended.stdout)
        assert sorted(Path(one["output"]).name for one in told["results"] if one["status"] == "done") == written
        again = [Path(line).name for line in (photos.parent / "again").read_text().splitlines()]
        assert len(again) + len(written) == 40
    if len(written) < 40:
        assert ended.returncode == 128 + number
    assert leftovers(photos.parent) == []


@pytest.mark.slow
def test_two_runs_on_one_folder_share_the_pictures(photos: Path, model_file: Path, commands: Path) -> None:
    for index in range(6, 24):
        shutil.copy(photos / "photo-0.png", photos / f"photo-{index}.png")
    command = [str(commands / "superscale"), "upscale", str(photos), "-o", str(photos.parent / "out"), "--json"]
    command += ["--model", str(model_file), "--device", "cpu"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    told = [json.loads(process.communicate()[0]) for process in both]
    done = [Path(one["output"]).name for half in told for one in half["results"] if one["status"] == "done"]
    assert sorted(done) == sorted(f"photo-{number}_x4.png" for number in range(24))
    # A run that begins when the other has written some is refused those, as ever.
    assert all(process.returncode == int(half["failed"] > 0) for process, half in zip(both, told, strict=True))
    assert leftovers(photos.parent) == []


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_one_error_of_reading_costs_no_picture_whichever_read_it_is(
    faulty: Run, photos: Path, model_file: Path, after: int
) -> None:
    faults = [("failing_reads", "*photo-3.png", "1", str(after))]
    ended = faulty("upscale", "photos", "-o", "out", "--model", model_file, faults=faults)
    assert ended.code == 0, ended.err
    assert len(os.listdir(photos.parent / "out")) == 6


def test_lasting_errors_of_reading_cost_that_picture_alone(faulty: Run, photos: Path, model_file: Path) -> None:
    faults = [("failing_reads", "*photo-3.png", "99")]
    faulty("upscale", "photos", "-o", "out", "--model", model_file, faults=faults).failed_naming("photo-3.png")
    assert len(os.listdir(photos.parent / "out")) == 5


def test_a_full_disk_names_the_picture_and_leaves_nothing(faulty: Run, photos: Path, model_file: Path) -> None:
    ended = faulty("upscale", "photos", "-o", "out", "--model", model_file, faults=[("full_disk", "*.superscale-*-*")])
    ended.failed_naming("out/photo-0_x4.png cannot be written: No space left")
    assert not (photos.parent / "out").exists()


def test_a_list_of_failures_that_cannot_be_written_is_refused_before_the_work(
    faulty: Run, photos: Path, model_file: Path
) -> None:
    (photos.parent / "closed").mkdir(mode=0o500)
    arguments = ("upscale", "photos", "-o", "out", "--failed-list", "closed/again", "--model", model_file)
    faulty(*arguments, faults=[("without_privileges",)]).failed_naming("closed/again")
    assert not (photos.parent / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "folder"])
@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--data", "photos", "--metric", "niqe", "--niqe-model", "X"),
        ("upscale", "@X", "--model", "MODEL"),
        ("upscale", "photos", "--model", "X"),
        ("evaluate", "--data", "photos", "--model", "X"),
        ("train", "X.toml", "-o", "run"),
        ("train", "smoke", "--data", "X", "-o", "run"),
        ("prepare", "X", "-o", "pack"),
        ("export", "X", "-o", "x.onnx"),
        ("blend", "X", "X", "-o", "x.safetensors"),
        ("models", "info", "./X"),
        ("plot", "X"),
    ],
)
def test_what_is_no_file_is_named_and_never_waited_for(
    faulty: Run, photos: Path, model_file: Path, command: tuple[str, ...], kind: str
) -> None:
    for path in (photos.parent / "X", photos.parent / "X.toml"):
        {
            "fifo": lambda path: os.mkfifo(path),
            "device": lambda path: path.symlink_to("/dev/zero"),
            "loop": lambda path: path.symlink_to(path.name),
            "folder": lambda path: path.mkdir(),
        }[kind](path)
    ended = faulty(*(str(model_file) if word == "MODEL" else word for word in command), seconds=40)
    assert ended.code in (1, 2), ended.err
    ended.failed_naming("X", code=ended.code)


def test_a_photograph_keeps_what_it_says_of_its_own_maker(faulty: Run, tmp_path: Path, model_file: Path) -> None:
    exif = Pillow.Exif()
    exif[11], exif[271] = "darktable 4.6", "Camera"
    Pillow.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert faulty("upscale", "a.jpg", "--model", model_file).code == 0
    with Pillow.open(tmp_path / "a_x4.jpg") as picture:
        assert picture.getexif()[271] == "Camera"
        assert picture.getexif()[11].startswith("superscale ")


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16_383), (".jpg", 65_500)])
def test_sides_that_a_format_does_not_hold_are_said_before_the_work(
    suffix: str, side: int, faulty: Run, model_file: Path, tmp_path: Path
) -> None:
    Pillow.new("L", (side // 64 + 1, 1)).save(tmp_path / "a.png")
    for more in ((), ("--dry-run",)):
        ended = faulty("upscale", "a.png", "-o", f"out{suffix}", "--model", model_file, "--scale", 64, *more)
        ended.failed_naming(f"at most {side} pixels; choose png or tiff")
    with pytest.raises(Unsupported, match=f"at most {side} pixels"):
        check_output_size(side // 64 + 1, 1, Settings(scale=64.0), suffix)
    assert not (tmp_path / f"out{suffix}").exists()


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="folders cannot be kept open")
def test_outputs_that_were_deleted_with_their_folder_are_not_all_done(tiny_model: Model, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = [Job(path, out / path.name) for path in sorted(photos.glob("*.png"))]
    upscaler, enlarged = Upscaler(tiny_model, device="cpu"), iter(range(100))

    def enlarge(image: Image, **options: Any) -> Image:
        if next(enlarged) == 3:
            while not (out / "photo-2.png").exists():  # it is written meanwhile
                time.sleep(0.01)
            os.replace(out, tmp_path / "gone")  # at once, as claims are laid there meanwhile
            shutil.rmtree(tmp_path / "gone")
        return upscaler.enlarge(image, **options)

    outcomes = list(run_jobs(jobs, enlarge, Settings(scale=4.0)))
    lost = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert lost
    assert all("was deleted while the run went on" in str(outcome.error) for outcome in lost)
