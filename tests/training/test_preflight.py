"""What would keep a run from its end is found before it begins."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image
from superscale.training.loop import preflight as module
from superscale.training.loop.preflight import preflight
from superscale.training.loop.train import train
from superscale.training.recipe.schema import CheckpointConfig, Recipe, load_recipe, survey_recipe
from superscale.weights.checkpoint import saved_states

Usage = namedtuple("Usage", "total used free")
PSNR_ONLY = ["stage.psnr.images=8", "data.batch=4"]


@pytest.fixture
def recipe() -> Recipe:
    recipe = load_recipe("smoke", PSNR_ONLY)
    return replace(recipe, stage={"psnr": recipe.stage["psnr"]})


def problems(overrides: list[str], run_dir: Path) -> list[str]:
    return preflight(load_recipe("smoke", overrides), run_dir, "cpu").problems


def test_a_sound_recipe_has_no_problems_and_looking_at_it_writes_nothing(tmp_path: Path) -> None:
    found = preflight(load_recipe("smoke"), tmp_path / "run", "cpu")
    assert (found.problems, found.notes) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_all_problems_are_found_at_once_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    overrides = [
        "data.patch_px=50",
        "data.path=/nowhere",
        "validation.path=/elsewhere",
        "generator.blcks=3",
        "generator.features=wide",
        "stage.gan.perceptual.network=vgg19",
        "stage.gan.perceptual.weights=/nowhere/vgg19.pth",
        "stage.gan.adversarial.discriminator.hiden=8",
    ]
    recipe, wrong = survey_recipe("smoke", overrides)
    assert recipe is not None
    found = wrong + preflight(recipe, tmp_path / "file" / "run", "cpu").problems
    expected = [
        "generator.features: expected int, got 'wide'",
        "unknown key generator.blcks (did you mean 'blocks'?)",
        "unknown key stage.gan.adversarial.discriminator.hiden (did you mean 'hidden'?)",
        "file: expected a folder for the run",
        "data.patch_px: 50 is not a multiple of the scale 4; the nearest are 48 and 52",
        "/nowhere: no such folder of photographs",
        "/elsewhere: expected a folder of high-resolution pictures",
        "the feature network 'vgg19' needs published weights",
    ]
    assert len(found) == len(expected)
    for problem, text in zip(found, expected, strict=True):
        assert text in problem


def test_photos_that_are_too_small_or_damaged_are_named(tmp_path: Path, photos: Path) -> None:
    """A photo of 520 pixels is cut in two halves of 260: it is the halves that must hold a patch."""
    write_image(photos / "tiny.png", Image(synthetic_picture(0, 40)))
    write_image(photos / "wide.png", Image(synthetic_picture(1, 520)))
    (photos / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    overrides = [f"data.path={str(photos)!r}", "data.patch_px=48"]
    found = preflight(load_recipe("smoke", overrides), tmp_path / "run", "cpu")
    assert [re.findall(r"\w+\.png", problem) for problem in found.problems] == [["tiny.png"]]
    assert "1 of 9" in found.problems[0]
    assert len(found.notes) == 1
    assert "damaged.png" in found.notes[0]
    halves = problems([f"data.path={str(photos)!r}", "data.patch_px=280"], tmp_path / "run")
    assert any("9 of 9" in problem or "8 of 9" in problem for problem in halves)


def test_validation_pictures_that_cannot_be_measured_are_named(recipe: Recipe, tmp_path: Path, photos: Path) -> None:
    def found() -> list[str]:
        return problems([f"validation.path={str(photos)!r}"], tmp_path / "run")

    assert found() == []
    damaged = photos / "cut.png"
    damaged.write_bytes((photos / "photo-0.png").read_bytes()[:-200])
    assert ["cut.png" in problem for problem in found()] == [True]
    damaged.unlink()
    write_image(photos / "photo-0.jpg", Image(synthetic_picture(0, 96)))
    assert found() == [f"{photos}: two pictures are called photo-0; rename one, since values are kept by name"]
    (photos / "photo-0.jpg").unlink()
    write_image(photos / "small.png", Image(synthetic_picture(0, 16)))
    assert found() == [f"{photos / 'small.png'}: 16x16 pixels are too few to validate on; at least 19x19"]


def test_a_pack_made_of_other_photos_is_found(recipe: Recipe, tmp_path: Path, photos: Path) -> None:
    first = replace(recipe, data=replace(recipe.data, path=str(photos), patch_px=32))
    train(first, tmp_path / "run", device="cpu", quiet=True)
    other = replace(first, data=replace(first.data, path=str(tmp_path)))
    assert [f"prepared from {photos}" in problem for problem in preflight(other, tmp_path / "run", "cpu").problems] == [True]


def test_a_full_disk_is_foretold_from_the_true_size_of_a_state(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size foretold is compared with what a training then wrote; the limit lies where three states no longer fit."""
    train(recipe, tmp_path / "run", device="cpu", quiet=True)
    written = (next(saved_states(tmp_path / "run" / "checkpoints")) / "state.safetensors").stat().st_size
    shutil.rmtree(tmp_path / "run")
    recipe = replace(recipe, checkpoint=CheckpointConfig(keep=2))
    for free, fits in ((3.1 * written, True), (2.8 * written, False)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, free=free: Usage(0, 0, int(free)))
        found = preflight(recipe, tmp_path / "run", "cpu").problems
        assert (found == []) is fits
    assert "disk: 3 training states" in found[0]


def test_a_batch_that_does_not_fit_into_memory_is_foretold_with_one_that_does(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda device: 30_000_000)
    found = preflight(replace(recipe, data=replace(recipe.data, batch=64)), tmp_path / "run", "cpu").problems
    assert len(found) == 1
    fits = re.search(r"data\.batch=(\d+) would fit", found[0])
    assert fits is not None
    assert preflight(replace(recipe, data=replace(recipe.data, batch=int(fits[1]))), tmp_path / "run", "cpu").problems == []
    assert preflight(replace(recipe, data=replace(recipe.data, batch=int(fits[1]) + 1)), tmp_path / "run", "cpu").problems


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a process as Linux counts it")
def test_the_memory_foretold_is_what_a_step_takes() -> None:
    """The peak of a process that makes one step, less what it held before it: between two thirds and one and a half times."""
    code = """
import torch
from superscale.data.loader import Batch
from superscale.losses.pixel import PIXEL_LOSSES
from superscale.networks.catalog import build_generator
from superscale.training.recipe.schema import load_recipe
from superscale.training.loop.step_memory import step_memory
from superscale.training.loop.stage_state import new_state
from superscale.training.loop.steps import Criteria, pixel_step
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
torch.set_num_threads(1)
criteria = Criteria(pixel=PIXEL_LOSSES["l1"])
state = new_state(load_recipe("smoke").stage["psnr"], build_generator("srresnet", {"blocks": 4, "batch_norm": False}), None)
before = kilobytes("VmRSS")
pixel_step(state.generator, Batch((0,) * 8, torch.rand(8, 3, 24, 24), torch.rand(8, 3, 96, 96)), criteria, None)
state.generator_optimizer.step()
peak = kilobytes("VmHWM")
print(step_memory(state, criteria, None, 96, 4).of(8), 1024 * (peak - before))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foretold, taken = map(int, result.stdout.split())
    assert 1 / 1.5 < foretold / taken < 1.5, f"{foretold:,} foretold, {taken:,} taken"


def test_a_directory_in_which_another_run_is_at_work_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process is training here" in preflight(recipe, tmp_path / "run", "cpu").problems[0]
    assert preflight(recipe, tmp_path / "run", "cpu").problems == []


def test_states_of_another_recipe_and_damaged_ones_are_found(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", device="cpu", quiet=True)
    other = replace(recipe, generator=replace(recipe.generator, blocks=3))
    assert "generator.blocks was" in preflight(other, tmp_path / "run", "cpu").problems[0]
    (next(saved_states(tmp_path / "run" / "checkpoints")) / "state.safetensors").write_bytes(b"damaged")
    found = preflight(other, tmp_path / "run", "cpu")
    assert "none of step-" in found.problems[0], "as the training itself would say"
    assert "passed over" in found.notes[0]
