"""Runs that are refused, disturbed or gone on with under other circumstances."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import Run
from faults import armed
from stopping import after
from superscale.data.synthetic import synthetic_picture
from superscale.errors import CheckpointError, RecipeError, TrainingError, UsageError
from superscale.image.io import Image, write_image
from superscale.networks.catalog import discriminator_of
from superscale.training.loop import whole_run
from superscale.training.loop.train import train
from superscale.training.recipe.schema import load_recipe
from superscale.weights.checkpoint import load_state, save_state, saved_states

TINY = """
report_every_images = 2
generator = { name = "srresnet", features = 4, blocks = 1, batch_norm = false }
data = { patch_px = 32, batch = 2 }
checkpoint = { every_images = 4 }
[stage.psnr]
images = 8
pixel = {}
[stage.gan]
images = 8
pixel = {}
adversarial = { discriminator = { name = "vgg", features = 2, hidden = 4 } }
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def short(tiny: Path, photos: Path, *settings: str) -> Any:
    return load_recipe(str(tiny), [f"data.path='{photos}'", *settings])


@pytest.mark.slow
def test_training_names_damaged_photos_even_when_quiet_and_refuses_many(faulty: Run, photos: Path, tiny: Path) -> None:
    for number in range(6, 20):
        shutil.copy(photos / "photo-0.png", photos / f"photo-{number}.png")
    (photos / "photo-1.png").write_bytes(b"no picture")
    command = ("train", tiny, "--data", "photos", "--device", "cpu", "-q")
    ended = faulty(*command, "-o", "run")
    assert ended.code == 0, ended.err
    assert "skipped photo-1.png" in ended.err
    for number in range(2, 8):
        (photos / f"photo-{number}.png").write_bytes(b"no picture")
    for output in (
        "other",
        "run-of-others",
        "run-of-others",
    ):  # the last two: a directory that stays, with no pack to go on with
        (photos.parent / "run-of-others" / "samples").mkdir(parents=True, exist_ok=True)
        faulty(*command, "-o", output).failed_naming("7 of 20 photos cannot be used")
    assert not (photos.parent / "other").exists()


@pytest.mark.slow
def test_a_mask_of_permissions_holds_for_packs_and_runs(faulty: Run, photos: Path, tiny: Path) -> None:
    assert faulty("prepare", "photos", "-o", "pack", faults=[("masked", "077")]).code == 0
    command = ("train", tiny, "--data", "photos", "-o", "run", "--device", "cpu", "-q")
    assert faulty(*command, faults=[("masked", "077")]).code == 0
    for top in (photos.parent / "pack", photos.parent / "run"):
        for path in (top, *top.rglob("*")):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


REFUSED = [
    "data.batch=1000000",
    "data.batch=0",
    "data.patch_px=100000",
    "data.patch_px=-32",
    *(f"generator.features={value}" for value in ("0", "-1", "100000000")),
    "generator.blocks=100000000",
    "generator={ name = 'srresnet', features = 4096, blocks = 100 }",  # of 121 GB
    "generator.channels=0",
    "validation.samples=-3",
    *(f"stage.psnr.pixel.weight={value}" for value in ("-1.0", "nan", "inf", "0.0")),
    *(f"stage.gan.adversarial.weight={value}" for value in ("-1.0", "nan", "inf")),
    "stage.gan.adversarial.discriminator.features=0",
    "stage.gan.adversarial.discriminator.hidden=0",
    "stage.gan.grid_weight=nan",
    "stage.psnr.milestones_images=[-1]",
    *(f"stage.gan.perceptual={{ {text} }}" for text in ("layers = {}", "shift_px = -5", "shift_px = 100000", "weight = inf")),
    "stage.gan.perceptual={ layers = { conv5_4 = nan } }",
    "stage.gan.perceptual={ shift_px = 20 }",
    'name="../../../x"',
    'name=""',
    'stage."../x"={ images = 2, pixel = {} }',
    "scale=10000",
    "seed=100000000000000000000",
    "stage.psnr.images=" + "9" * 5000,
    ".".join(["a"] * 20_000) + "=1",
]


@pytest.mark.parametrize("setting", REFUSED, ids=lambda setting: setting[:60])
def test_values_out_of_bounds_are_refused_before_anything_is_made(tiny: Path, photos: Path, setting: str) -> None:
    before = sorted(photos.parent.iterdir())
    with pytest.raises(UsageError):
        train(short(tiny, photos, setting), photos.parent / "run", device="cpu", quiet=True)
    assert sorted(photos.parent.iterdir()) == before


@pytest.mark.parametrize(
    "text",
    [
        "\xff".encode("latin-1"),
        b"a = " + b"[" * 100_000,
        b"a = " + b"9" * 5000,
        b".".join([b"a"] * 20_000) + b" = 1",
        b"\0",
        b"=",
        b"[",
    ],
    ids=["not UTF-8", "nested", "digits", "dotted", "NUL", "no key", "open"],
)
def test_what_is_no_recipe_is_refused_in_a_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(text)
    with pytest.raises(RecipeError, match=r"bad\.toml"):
        load_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.slow
def test_a_stage_that_cannot_be_computed_is_found_before_the_first_step(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stage has a discriminator for pictures of five channels."""
    monkeypatch.setattr(whole_run, "discriminator_of", lambda config: discriminator_of(replace(config, channels=5)))
    with pytest.raises(RecipeError, match=r"stage\.gan: a step of it cannot be computed"):
        train(short(tiny, photos), photos.parent / "run", device="cpu", quiet=True)
    assert not (photos.parent / "run").exists()


def facts_changed(state: Path, **changes: object) -> None:
    tensors, facts = load_state(state)
    shutil.rmtree(state)
    save_state(state, tensors, facts | changes)


@pytest.fixture(scope="module")
def begun_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, photos, and a run of them that was stopped in its first stage."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "tiny.toml").write_text(TINY)
    for number in range(6):
        write_image(folder / "photos" / f"photo-{number}.png", Image(synthetic_picture(number, 64)))
    with contextlib.chdir(folder):
        train(short(Path("tiny.toml"), Path("photos")), Path("run"), device="cpu", quiet=True, stop=after(9))
    assert any(saved_states(folder / "run" / "checkpoints"))
    return folder


@pytest.fixture
def begun(begun_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the test works."""
    shutil.copytree(begun_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("run")


def go_on(**options: Any) -> Any:
    return train(short(Path("tiny.toml"), Path("photos")), Path("run"), device="cpu", **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"stage_number": 99},
        {"stage_number": -1},
        {"stage_number": "0"},
        {"images": 1e400},
        {"images": -2},
        {"steps": None},
        {"best_psnr": "x"},
        {"settings": 3},
        {"settings": {"data.batch": "many"}},
        {"rollbacks": {"psnr": -1}},
        {"versions": 7},
        {"log_bytes": -5},
    ],
    ids=str,
)
def test_a_state_that_no_run_saves_is_no_state(begun: Path, changes: dict[str, object]) -> None:
    for state in list(saved_states(begun / "checkpoints")):
        facts_changed(state, **changes)
    with pytest.raises((CheckpointError, RecipeError)):
        go_on(quiet=True)
    assert not (begun / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pack-source.json", "rollbacks.json"])
@pytest.mark.parametrize(
    "text", ["", "7", "[]", "{", '{"psnr": -1}', '{"psnr": 1e400}', '{"psnr": "x"}', "[" * 100_000, "\udcff"]
)
def test_files_of_a_run_that_say_nonsense_are_named(tiny: Path, photos: Path, begun: Path, name: str, text: str) -> None:
    (begun / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Exception, match=name) as error:
        go_on(quiet=True)
    assert type(error.value).__module__ == "superscale.errors"


@pytest.mark.slow
def test_going_on_under_other_circumstances_is_said_by_a_quiet_run_too(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(Path("photos", "later.png"), Image(synthetic_picture(9, 96)))
    os.truncate(begun / "metrics.jsonl", 10)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert go_on(quiet=True).finished
    finally:
        torch.set_num_threads(threads)
    said = " ".join(capsys.readouterr().err.split())
    assert "is not what it was when this run was begun" in said
    assert f"threads {threads}, now {threads + 1}" in said
    assert "bytes shorter than when the state was saved" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_save_a_state(photos: Path, tiny: Path, commands: Path, number: signal.Signals) -> None:
    command = [str(commands / "superscale"), "train", str(tiny), "--data", str(photos), "-o", str(photos.parent / "run")]
    command += ["--device", "cpu", "--set", "stage.psnr.images=10000000", "--set", "checkpoint.every_images=10000000"]
    program = f"import threading, os, signal, time\n{armed()}"
    metrics, states_folder = photos.parent / "run" / "metrics.jsonl", photos.parent / "run" / "checkpoints"
    with subprocess.Popen(
        [
            str(commands / "python"),
            "-c",
            program.replace(
                "main()\n",
                f"""
def send():
    while not (os.path.exists({str(metrics)!r}) and os.path.getsize({str(metrics)!r})): time.sleep(0.02)
    os.kill(os.getpid(), {int(number)})
    saved = lambda: os.path.isdir({str(states_folder)!r}) and any(n[:4] == "step" for n in os.listdir({str(states_folder)!r}))
    while not saved(): time.sleep(0.02)
    time.sleep({0.2 if number == signal.SIGUSR1 else 60})
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=send, daemon=True).start()
main()
""",
            ),
            *command[1:],
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        told = process.communicate(timeout=120)[1]
    assert any(saved_states(states_folder)), told
    if number == signal.SIGUSR1:
        assert process.returncode == 256 - signal.SIGKILL  # it went on until it was killed
        assert b"going on" in told
    else:
        assert process.returncode == 128 + number, told


@pytest.mark.slow
def test_refused_starts_leave_no_trace(faulty: Run, tmp_path: Path, photos: Path, tiny: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    for extra in (
        ["--data", "absent"],
        ["--data", "photos", "--set", "data.patch_px=128"],
        ["--data", "photos", "--validation", "absent"],
    ):
        for output in ("runs/deep/run", "empty"):
            faulty("train", tiny, "-o", output, "--device", "cpu", *extra).failed_naming("", code=1)
    faulty("train", tiny, "--data", "photos", "--set", "stage.psnr.images=0").failed_naming("images", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not list((tmp_path / "empty").iterdir())


def test_a_disk_that_is_full_before_the_first_state_promises_none(faulty: Run, photos: Path, tiny: Path) -> None:
    command = ("train", tiny, "--data", "photos", "-o", "run", "--device", "cpu", "-q")
    ended = faulty(*command, faults=[("full_disk", "*")])
    ended.failed_naming("No space left")
    assert "is kept" not in ended.err
    assert not (photos.parent / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--data", "photos", "-o", "closed/report"),
        ("prepare", "photos", "-o", "closed/pack"),
        ("fit-niqe", "photos", "-o", "closed/niqe.json"),
        ("train", "smoke", "-o", "closed/run", "--device", "cpu"),
        ("export", "compact-x4", "-o", "closed/x.onnx"),
        ("blend", "srresnet-x4", "srgan-x4", "-o", "closed/x.safetensors"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_before_the_work(faulty: Run, photos: Path, command: tuple[str, ...]) -> None:
    (photos.parent / "closed").mkdir(mode=0o500)
    faulty(*command, faults=[("without_privileges",)]).failed_naming("closed")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model-best-psnr.safetensors", "rollbacks.json", "checkpoints", "samples"]
)
def test_what_lies_in_the_place_of_a_late_file_is_named_before_the_first_step(tiny: Path, photos: Path, name: str) -> None:
    run_dir = tiny.parent / "run"
    run_dir.mkdir()
    (run_dir / name).touch() if name in ("checkpoints", "samples") else (run_dir / name).mkdir()
    with pytest.raises(OSError, match=f"expected a (file|folder), got .*{name}"):
        train(short(tiny, photos), run_dir)
    assert not list(run_dir.glob("**/step-*"))
    assert (run_dir / name).exists()


# TensorBoard's thread finds it at its next flush, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("tensorboard", [True, False])
def test_a_run_directory_that_is_deleted_while_training_is_no_success(
    tiny: Path, tensorboard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not tensorboard:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run_dir, asked = tiny.parent / "run", iter(range(100))

    def deleted() -> bool:
        if next(asked) == 3:
            shutil.rmtree(run_dir)
        return False

    with pytest.raises((TrainingError, OSError), match="run"):
        train(short(tiny, Path("synthetic")), run_dir, device="cpu", quiet=True, stop=deleted)
    assert not (run_dir / "model.safetensors").exists()


@pytest.mark.slow
def test_the_clock_may_go_back_while_training(faulty: Run, photos: Path, tiny: Path) -> None:
    command = ("train", tiny, "--data", "photos", "--device", "cpu", "-q", "-o")
    assert faulty(*command, "one").code == 0
    assert faulty(*command, "two", faults=[("clock_back", "3600")]).code == 0
    one, two = ((photos.parent / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
