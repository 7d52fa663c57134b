"""A run that was killed, stopped or starved of disk ends as if nothing had happened, or says in one line why it does not begin."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stopping import after
from superscale.errors import CheckpointError, DataError, ImageError, RecipeError, TrainingError, UsageError
from superscale.losses.pixel import l1
from superscale.training.loop import criteria
from superscale.training.loop.train import train
from superscale.training.recipe.schema import CheckpointConfig, Recipe, to_toml
from superscale.training.run import log
from superscale.training.run.directory import sole_user
from superscale.weights.checkpoint import load_model, load_state, saved_states

Tiny = Callable[..., Recipe]
PATIENCE_SECONDS = 300
# What a row of metrics.jsonl says of the training itself, and not of the machine's speed.
EXACT = {
    *("stage", "images", "learning_rate", "loss", "pixel", "adversarial", "discriminator", "accuracy_real", "accuracy_fake"),
    *("gradient_norm", "discriminator_gradient_norm", "lr_psnr", "sharpness_ratio", "validation_psnr", "validation_ssim"),
}


def record(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key in EXACT} for line in lines]


def assert_the_same_run(whole: Path, parts: Path) -> None:
    """Every loss of every step, every model file and every tensor of the last training state, bit for bit."""
    assert record(parts) == record(whole)
    models = sorted(path.name for path in whole.glob("*.safetensors"))
    assert models == sorted(path.name for path in parts.glob("*.safetensors"))
    for name in models:
        model, expected = (load_model(run_dir / name) for run_dir in (parts, whole))
        assert model.card == expected.card
        assert_equal(model.generator.state_dict(), expected.generator.state_dict())
    assert_equal(*(load_state(next(saved_states(run_dir / "checkpoints")))[0] for run_dir in (parts, whole)))


def assert_equal(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(got[key], tensor), key


def command(recipe: Path, run_dir: Path) -> list[str]:
    return [sys.executable, "-m", "superscale", "train", str(recipe), "-o", str(run_dir), "--device", "cpu", "-q"]


def one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def rows_written(run_dir: Path) -> int:
    path = run_dir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def being_saved(run_dir: Path) -> bool:
    return any((run_dir / "checkpoints").glob(".superscale-*.part"))


def kill(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> None:
    """SIGKILL as soon as ``when`` holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not when():
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def kill_and_finish(recipe: Recipe, tmp_path: Path, moments: list[tuple[int, bool]]) -> None:
    """A whole run, and one killed at each of (rows written, whether in the midst of a save), by the same command line."""
    (tmp_path / "tiny.toml").write_text(to_toml(recipe))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(command(tmp_path / "tiny.toml", whole), env=one_thread(), check=True, capture_output=True)
    for rows, saving in moments:
        process = subprocess.Popen(command(tmp_path / "tiny.toml", parts), env=one_thread(), stderr=subprocess.DEVNULL)
        kill(process, lambda rows=rows, saving=saving: rows_written(parts) >= rows and (not saving or being_saved(parts)))  # type: ignore[misc]
    subprocess.run(command(tmp_path / "tiny.toml", parts), env=one_thread(), check=True, capture_output=True)
    assert_the_same_run(whole, parts)
    assert not list(parts.rglob("*.part"))


def lengthened(recipe: Recipe, steps: int) -> Recipe:
    images = steps * recipe.data.batch
    return replace(recipe, stage={name: replace(stage, images=images) for name, stage in recipe.stage.items()})


@pytest.mark.slow
def test_a_run_killed_in_the_midst_of_a_save_ends_bitwise_as_one_never_killed(tiny: Tiny, tmp_path: Path) -> None:
    kill_and_finish(lengthened(tiny(), 12), tmp_path, [(15, True)])


@pytest.mark.slow
def test_a_run_killed_five_times_at_random_ends_bitwise_as_one_never_killed(tiny: Tiny, tmp_path: Path, photos: Path) -> None:
    """Both stages; twice in the midst of a save, three times anywhere. One row is one step, but for the validations."""
    recipe = lengthened(tiny(validation={"path": str(photos), "every_images": 20, "samples": 1}), 60)
    places = sorted(random.Random().sample(range(1, 110), 5))
    kill_and_finish(recipe, tmp_path, [(rows, number in (1, 3)) for number, rows in enumerate(places)])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_killed_before_any_change_that_a_save_makes_has_two_whole_states_and_ends_the_same(
    tiny: Tiny, tmp_path: Path
) -> None:
    """The third save of a GAN stage, the first after which a state is deleted; nothing by its name is ever in part."""
    recipe = lengthened(tiny(), 6)
    recipe = replace(recipe, checkpoint=CheckpointConfig(every_images=4), stage={"gan": recipe.stage["gan"]})
    (tmp_path / "tiny.toml").write_text(to_toml(recipe))
    script = [sys.executable, str(Path(__file__).with_name("killed_everywhere.py")), str(tmp_path / "tiny.toml"), str(tmp_path)]
    result = subprocess.run(script, env=one_thread(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    kills = [json.loads(line) for line in (tmp_path / "kills.jsonl").read_text().splitlines()]
    before = " ".join(kill["before"] for kill in kills)
    for change in (
        "os.mkdir .superscale",
        "open .superscale",
        "os.rename .superscale",
        "os.rename step",
        "shutil.rmtree",
        "os.rmdir",
    ):
        assert change in before
    for number, kill in enumerate(kills):
        assert len(kill["states"]) >= 2, kill
        assert all(kill["states"].values()), kill
        assert_the_same_run(tmp_path / "whole", tmp_path / f"killed-{number}")
        assert not list((tmp_path / f"killed-{number}").rglob("*.part"))


def test_a_run_stopped_again_and_again_leaves_the_same_record_and_the_best_of_each_stage(
    tiny: Tiny, tmp_path: Path, photos: Path
) -> None:
    """The report interval does not divide the places of the stops, and some of them come amid a validation."""
    for path in sorted(photos.iterdir())[2:]:
        path.unlink()
    recipe = tiny(report_every_images=6, validation={"path": str(photos), "every_images": 8, "samples": 1})
    assert train(recipe, tmp_path / "whole", quiet=True).finished
    for stop_at in (3, 4, 5, 6):
        assert not train(recipe, tmp_path / "parts", stop=after(stop_at), quiet=True).finished
    assert train(recipe, tmp_path / "parts", quiet=True).finished
    assert_the_same_run(tmp_path / "whole", tmp_path / "parts")
    validations = [row for row in record(tmp_path / "whole") if "validation_psnr" in row]
    for name in recipe.stage:
        measured = [row["validation_psnr"] for row in validations if row["stage"] == name]
        assert len(measured) == 2
        assert load_model(tmp_path / "whole" / f"model-best-{name}.safetensors").card["validation_psnr"] == max(measured)


def test_whatever_draws_from_torchs_generator_in_a_step_draws_the_same_after_resuming(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def random_loss(super_res: Tensor, high_res: Tensor) -> Tensor:
        weight = torch.rand(())
        if not super_res.is_meta:  # where shapes alone are checked, before the first step
            drawn.append(weight.item())
        return weight * l1(super_res, high_res)

    monkeypatch.setitem(criteria.PIXEL_LOSSES, "l1", random_loss)
    train(tiny(), tmp_path / "whole", quiet=True)
    assert len(set(drawn)) == 16, "every step draws its own"
    train(tiny(), tmp_path / "parts", stop=after(5), quiet=True)
    torch.rand(7)
    train(tiny(), tmp_path / "parts", quiet=True)
    assert drawn[16:] == drawn[:16]
    assert_the_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_state_holds_all_that_decides_how_the_run_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(report_every_images=8)
    train(recipe, tmp_path / "run", stop=after(11), quiet=True)
    tensors, facts = load_state(next(saved_states(tmp_path / "run" / "checkpoints")))
    kinds = {key.split("/")[0] for key in tensors}
    parts = {"generator", "average", "generator_optimizer", "discriminator", "discriminator_optimizer", "interval"}
    assert kinds == parts
    assert {"generator_optimizer/0.step", "generator_optimizer/0.exp_avg", "generator_optimizer/0.exp_avg_sq"} <= tensors.keys()
    assert (facts["stage_number"], facts["images"], facts["steps"]) == (1, 4, 2)
    assert facts["settings"]["stage.gan.adversarial.loss"] == "relativistic"
    assert facts["versions"]["torch"] == torch.__version__


def test_a_full_disk_keeps_the_last_good_state_says_so_and_the_run_goes_on_when_there_is_room(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny(), tmp_path / "whole", quiet=True)
    synced = iter(range(10**6))
    sound = os.fsync

    def full_for_a_while(descriptor: int) -> None:
        if next(synced) >= 12:
            raise OSError(28, "No space left on device")
        sound(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_for_a_while)
        with pytest.raises((CheckpointError, TrainingError), match=r"No space left on device.* is kept"):
            train(tiny(), tmp_path / "parts", quiet=True)
    assert load_state(next(saved_states(tmp_path / "parts" / "checkpoints")))[1]["images"] < 16
    train(tiny(), tmp_path / "parts", quiet=True)
    assert_the_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_record_that_cannot_be_written_is_told_as_a_full_disk(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *how: Any, **more: Any) -> Any:
        return open("/dev/full" if Path(path).name == "metrics.jsonl" else path, *how, **more)

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").touch()
    monkeypatch.setattr(log, "open", full, raising=False)
    with pytest.raises(TrainingError, match=r"run: No space left on device; nothing had been saved yet"):
        train(tiny(), tmp_path / "run", quiet=True)


def test_a_validation_picture_that_cannot_be_read_costs_no_step(tiny: Tiny, tmp_path: Path, photos: Path) -> None:
    """Cut short, as its header does not tell; without it the same command goes on to what a run ends with that never met it."""
    validation = {"path": str(photos), "every_images": 8, "samples": 1}
    train(tiny(validation=validation), tmp_path / "whole", quiet=True)
    damaged = photos / "photo-9.png"
    damaged.write_bytes((photos / "photo-0.png").read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"photo-9\.png"):
        train(tiny(validation=validation), tmp_path / "parts", quiet=True)
    assert load_state(next(saved_states(tmp_path / "parts" / "checkpoints")))[1]["images"] == 8
    damaged.unlink()
    train(tiny(validation=validation), tmp_path / "parts", quiet=True)
    assert_the_same_run(tmp_path / "whole", tmp_path / "parts")


def test_other_photos_are_not_trained_on_under_the_name_of_the_first(tiny: Tiny, tmp_path: Path, photos: Path) -> None:
    """The run prepared them and was stopped before it had a state that would tell."""
    first = replace(tiny(), data=replace(tiny().data, path=str(photos)))
    assert not train(first, tmp_path / "run", stop=after(6), quiet=True).finished
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    shutil.copytree(photos, tmp_path / "others")
    others = replace(first, data=replace(first.data, path=str(tmp_path / "others")))
    with pytest.raises(DataError, match=rf"prepared from {re.escape(str(photos))} at scale 4.*begin anew"):
        train(others, tmp_path / "run", quiet=True)
    assert train(first, tmp_path / "run", quiet=True).finished


def test_a_lost_pack_is_made_again_of_the_same_photos_only(tiny: Tiny, tmp_path: Path, photos: Path) -> None:
    recipe = replace(tiny(), data=replace(tiny().data, path=str(photos)))
    train(recipe, run := tmp_path / "run", stop=after(len(list(photos.iterdir())) + 20), quiet=True)
    assert list(run.glob("checkpoints/*"))
    shutil.rmtree(run / "pack")
    train(recipe, run, stop=after(len(list(photos.iterdir())) + 20), quiet=True)
    shutil.rmtree(run / "pack")
    (run / "pack-source.json").unlink()
    first, second = sorted(photos.iterdir())[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(RecipeError, match="packed_photos was"):
        train(recipe, run, quiet=True)


def test_preparing_photos_ends_at_the_photo_in_progress_when_asked_to(tiny: Tiny, tmp_path: Path, photos: Path) -> None:
    recipe = replace(tiny(), data=replace(tiny().data, path=str(photos)))
    result = train(recipe, tmp_path / "run", stop=after(2), quiet=True)
    assert (result.finished, result.images) == (False, 0)
    assert not (tmp_path / "run" / "pack").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_when_every_state_is_damaged_nothing_is_begun_anew_behind_ones_back(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", stop=after(5), quiet=True)
    for folder in saved_states(tmp_path / "run" / "checkpoints"):
        (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"none of step-\d+, step-\d+ is whole.*begin anew"):
        train(tiny(), tmp_path / "run", quiet=True)
    assert train(tiny(), tmp_path / "run", quiet=True, fresh=True).finished


def test_a_second_run_in_the_same_directory_is_refused_and_names_the_process(tiny: Tiny, tmp_path: Path) -> None:
    with sole_user(tmp_path / "run"):
        for fresh in (False, True):
            with pytest.raises(TrainingError, match=rf"process {os.getpid()} is training here"):
                train(tiny(), tmp_path / "run", quiet=True, fresh=fresh)
    with sole_user(tmp_path / "run"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_the_lock_dies_with_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from superscale.training.run.directory import sole_user\n"
        "with sole_user(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TrainingError, match=f"process {holder.pid} is"), sole_user(tmp_path):
            pass
        holder.kill()
    with sole_user(tmp_path) as locked:
        assert locked


def test_fresh_empties_run_directories_only(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds dear\.png"):
        train(tiny(), tmp_path / "photos", quiet=True, fresh=True)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["dear.png"]
    # Nor once a mistyped run has been there.
    with pytest.raises(DataError):
        train(replace(tiny(), data=replace(tiny().data, path="/nowhere")), tmp_path / "photos", quiet=True)
    with pytest.raises(UsageError, match=r"holds dear\.png"):
        train(tiny(), tmp_path / "photos", quiet=True, fresh=True)
    assert (tmp_path / "photos" / "dear.png").exists()
    train(tiny(), tmp_path / "run", stop=after(3), quiet=True)
    assert not train(tiny(), tmp_path / "run", stop=after(0), quiet=True, fresh=True).finished
    assert not list(saved_states(tmp_path / "run" / "checkpoints"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_a_process_that_is_deep_in_one_long_call(number: signal.Signals, code: int) -> None:
    """The call is C that would go on for a day, as a backward pass might for a minute."""
    program = (
        "import hashlib; from superscale.cli.train import StopOnSignal\n"
        "with StopOnSignal(): print('busy', flush=True); hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2**31 - 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        assert process.stdout.readline() == b"busy\n"
        process.send_signal(number)
        assert b"again to stop at once" in process.stderr.readline()
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == code
