from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stopping import after
from superscale.cli.rehearsal import rehearsal
from superscale.errors import DataError, RecipeError, TrainingError
from superscale.files import Claims
from superscale.networks.catalog import build_generator
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe, load_recipe, parse_recipe, to_toml
from superscale.weights.checkpoint import load_model, save_model

TAUGHT: dict[str, Any] = {
    "name": "taught",
    "generator": {"name": "compact", "features": 8, "convolutions": 1},
    "data": {"path": "synthetic", "patch_px": 32, "batch": 2, "low_res": "degraded", "degradation": {"name": "photograph"}},
    "report_every_images": 4,
    "stage": {"psnr": {"images": 8, "pixel": {}}},
}


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(3)
    save_model(tmp_path / "teacher.safetensors", build_generator("compact", {"features": 8, "convolutions": 2}), {})
    return tmp_path / "teacher.safetensors"


def recipe(teacher: Path, **changes: Any) -> Recipe:
    return parse_recipe(TAUGHT | {"teacher": {"model": str(teacher), "patches": 3, "patch_px": 64} | changes})


def weights(path: Path | None) -> torch.Tensor:
    assert path is not None
    return torch.cat([tensor.flatten() for tensor in load_model(path).generator.state_dict().values()])


def test_a_student_learns_from_answers_that_are_asked_for_once(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(recipe(teacher), tmp_path / "first", device="cpu", quiet=True)
    (answers,) = (tmp_path / "cache" / "teacher").iterdir()
    assert (answers / "teacher.u8").stat().st_size == 3 * 64 * 64 * 3
    monkeypatch.setattr("superscale.training.loop.teaching.Upscaler", None)  # nobody is asked again
    again = train(recipe(teacher), tmp_path / "again", device="cpu", quiet=True)
    assert torch.equal(weights(first.model), weights(again.model))
    truth = train(recipe(teacher, weight=0.0), tmp_path / "truth", device="cpu", quiet=True)
    assert not torch.equal(weights(first.model), weights(truth.model)), "the teacher would make no difference"
    assert first.model is not None
    assert load_model(first.model).card["teacher"]["weight"] == 1.0


def test_stopped_while_the_teacher_works_it_goes_on_where_it_was(teacher: Path, tmp_path: Path) -> None:
    asked = iter([False, False, True])  # after the third
    stopped = train(recipe(teacher), tmp_path / "run", device="cpu", quiet=True, stop=lambda: next(asked))
    assert not stopped.finished
    fewer = train(recipe(teacher, patches=2), tmp_path / "fewer", device="cpu", quiet=True)
    assert fewer.finished, "there are more answers than it asks for"
    assert train(recipe(teacher), tmp_path / "run", device="cpu", quiet=True).finished


def test_a_run_goes_on_with_its_teacher_elsewhere_and_not_with_another_in_its_place(teacher: Path, tmp_path: Path) -> None:
    taught = recipe(teacher)
    stopped = train(taught, tmp_path / "run", device="cpu", quiet=True, stop=after(6))
    assert not stopped.finished
    assert stopped.images
    moved = shutil.move(teacher, tmp_path / "elsewhere.safetensors")
    torch.manual_seed(4)
    save_model(teacher, build_generator("compact", {"features": 8, "convolutions": 2}), {})
    with pytest.raises(RecipeError, match=r"teacher\.model was file [0-9a-f]{64}, is file"):
        train(taught, tmp_path / "run", device="cpu", quiet=True)
    assert train(recipe(moved), tmp_path / "run", device="cpu", quiet=True).finished


def test_one_process_at_a_time_asks_a_teacher_about_the_same_patches(teacher: Path, tmp_path: Path) -> None:
    train(recipe(teacher), tmp_path / "run", device="cpu", quiet=True)
    (answers,) = (tmp_path / "cache" / "teacher").iterdir()
    more = recipe(teacher, patches=5)
    claims = Claims()
    assert claims.take(answers)
    with pytest.raises(TrainingError, match="another process asks this teacher"):
        train(more, tmp_path / "more", device="cpu", quiet=True)
    assert (answers / "teacher.u8").stat().st_size == 3 * 64 * 64 * 3
    claims.drop_all()
    with open(answers / "teacher.u8", "ab") as file:
        file.write(bytes(64 * 64 * 3))  # the other has begun
    with open(answers / "low_res.u8", "ab") as file:
        file.write(bytes(16 * 16 * 3))
    assert train(recipe(teacher), tmp_path / "meanwhile", device="cpu", quiet=True).finished
    assert train(more, tmp_path / "more", device="cpu", quiet=True).finished
    assert [path.name for path in (tmp_path / "cache" / "teacher").iterdir()] == [answers.name]


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("name", ["low_res.u8", "teacher.u8"])
def test_answers_that_were_damaged_since_are_not_learned_from(teacher: Path, tmp_path: Path, name: str, weight: float) -> None:
    train(recipe(teacher, patches=2, colors_px=0.0), tmp_path / "run", device="cpu", quiet=True)
    train(recipe(teacher, colors_px=0.0), tmp_path / "more", device="cpu", quiet=True)
    (answers,) = (tmp_path / "cache" / "teacher").iterdir()
    with open(answers / name, "r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 4]))
    if (name, weight) == ("teacher.u8", 0.0):  # which has no part in the truth
        assert train(recipe(teacher, weight=weight, colors_px=0.0), tmp_path / "again", device="cpu", quiet=True).finished
        return
    for patches in (2, 3):
        with pytest.raises(DataError, match=f"{name}: damaged .* delete {answers}"):
            train(
                recipe(teacher, weight=weight, colors_px=0.0, patches=patches),
                tmp_path / f"again-{patches}",
                device="cpu",
                quiet=True,
            )


def test_a_dry_run_asks_about_the_first_patches_only_and_tells_the_time_for_all(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taught.toml").write_text(to_toml(recipe(teacher, patches=1000)))
    assert rehearsal(str(tmp_path / "taught.toml"), [], tmp_path / "run", "cpu") == 0
    assert re.search(r"teacher: about \S+ for 1,000 patches", capsys.readouterr().out)
    (answers,) = (tmp_path / "cache" / "teacher").iterdir()
    assert (answers / "teacher.u8").stat().st_size == 4 * 64 * 64 * 3, "two steps of two patches"


def test_another_teacher_scale_seed_or_damage_has_answers_of_its_own(teacher: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    torch.manual_seed(4)
    save_model(other, build_generator("compact", {"features": 8, "convolutions": 2}), {})
    plain = recipe(teacher)
    degradation = {"name": "photograph", "noise_sigma": [0.0, 1.0]}
    quiet = parse_recipe(
        TAUGHT
        | {
            "data": TAUGHT["data"] | {"degradation": degradation},
            "teacher": {"model": str(teacher), "patches": 1, "patch_px": 64},
        }
    )
    for number, one in enumerate((plain, recipe(other), replace(plain, seed=1), quiet)):
        train(one, tmp_path / f"run-{number}", device="cpu", quiet=True)
        shutil.rmtree(tmp_path / f"run-{number}")
        assert len(list((tmp_path / "cache" / "teacher").iterdir())) == number + 1


def test_a_teacher_of_another_scale_and_stored_pictures_are_refused(teacher: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "x2.safetensors", build_generator("compact", {"features": 8, "convolutions": 1, "scale": 2}), {})
    with pytest.raises(RecipeError, match="enlarges 2 times"):
        train(recipe(tmp_path / "x2.safetensors"), tmp_path / "run", device="cpu", quiet=True)
    with pytest.raises(RecipeError, match="must not be"):
        parse_recipe(TAUGHT | {"data": {"low_res": "stored"}, "teacher": {"model": str(teacher)}})
    with pytest.raises(RecipeError, match="at least"):
        recipe(teacher, patch_px=16)


def test_a_recipe_with_a_teacher_is_written_and_read_back(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "taught.toml").write_text(to_toml(recipe(teacher)))
    assert load_recipe(str(tmp_path / "taught.toml")) == recipe(teacher)
