"""What `superscale train` and `plot` say to a person."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superscale.cli.train import next_commands
from superscale.errors import CheckpointError
from superscale.training.loop import train as loop
from superscale.training.recipe.schema import load_recipe

Command = Callable[..., int]
SHORT = ("--set", "stage.psnr.images=8", "--set", "stage.gan.images=8")


def tree(folder: Path) -> list[Path]:
    """What lies below, but for the cache folder that torch makes when it is first used."""
    return sorted(path for path in folder.rglob("*") if not path.name.startswith("torchinductor"))


def test_a_dry_run_tries_every_stage_and_leaves_nothing(
    command: Command, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before = tree(tmp_path)
    assert command("train", "smoke", "--data", photos, "--validation", photos, "--dry-run") == 0
    assert tree(tmp_path) == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["psnr", "gan", "in all about 0"]
    assert all("ms a step of 4" in line and "images/s" in line and "a training state has" in line for line in lines[:2])


def test_a_dry_run_saves_every_stage_and_goes_on_from_what_it_saved(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: list[tuple[int, int]] = []
    loaded: list[tuple[int, int]] = []
    save, restore = loop.states.save, loop.restore

    def watched_save(folder: Path, tensors: Any, facts: Any, keep: int) -> None:
        save(folder, tensors, facts, keep)
        saved.append((facts["stage_number"], facts["steps"]))

    def watched_restore(state: Any, tensors: Any, facts: Any, name: str) -> None:
        restore(state, tensors, facts, name)
        loaded.append((facts["stage_number"], state.steps))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop.states, "save", watched_save)
    monkeypatch.setattr(loop, "restore", watched_restore)
    assert command("train", "smoke", "--dry-run") == 0
    assert saved == loaded == [(0, 2), (1, 2)]

    def damaged(*_: object) -> None:
        raise CheckpointError("the state that was saved cannot be loaded")

    monkeypatch.setattr(loop, "restore", damaged)
    assert command("train", "smoke", "--dry-run") == 1
    assert "cannot be loaded" in capsys.readouterr().err


def test_a_dry_run_says_all_problems_and_exits_1(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = ("--data", "nowhere", "--validation", "elsewhere", "--set", "sed=1", "--set", "data.bach=3")
    assert command("train", "smoke", "--dry-run", *wrong) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith("problem: ") for line in said] == [True] * 4 + [False] * 2
    assert said[-2] == "options for that: --data DIR"
    for text in ("did you mean 'seed'", "did you mean 'batch'", "nowhere", "elsewhere"):
        assert any(text in line for line in said), text
    assert command("train", "smok", "--dry-run") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_that_is_broken_off_leaves_nothing(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("superscale.training.loop.rehearsal.find_model", interrupted)
    assert command("train", "smoke", "--dry-run", "--set", "data.batch=1") in (1, 130)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_said_at_the_end_run_as_they_are(
    command: Command, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder whose name needs quoting."""
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "my photos")
    assert command("train", "smoke", *SHORT, "--validation", "my photos", "-o", "my runs/one") == 0
    said = capsys.readouterr().err.splitlines()[-2:]
    for line in said:
        words = shlex.split(line.removeprefix("next:"))
        assert words[0] == "superscale"
        assert command(*words[1:]) == 0, line
    assert (tmp_path / "my photos" / "photo-0_x4.png").is_file()
    out = capsys.readouterr().out
    assert "bicubic" in out
    assert "my runs/one/model.safetensors" in out


def test_the_commands_at_the_end_say_the_scale_and_name_what_is_not_known() -> None:
    recipe = load_recipe("smoke", ["scale=2", "generator.scale=2"])
    measure, enlarge = next_commands(recipe, Path("model.safetensors"))
    assert measure[-4:] == ["--data", "DIR", "--scale", "2"]
    assert enlarge == ["superscale", "upscale", "PHOTO", "--model", "model.safetensors"]


def test_fresh_does_not_delete_what_the_run_starts_from(
    command: Command, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model_file.parent / "recipe.toml").write_text("")
    assert command("train", "finetune_x4", "--fresh", "-o", model_file.parent, "--set", f"start={str(model_file)!r}") == 2
    assert "which the run needs" in capsys.readouterr().err
    assert model_file.is_file()


def test_an_error_names_the_options_that_would_help(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ("train", "smoke", *SHORT, "-q", "-o", tmp_path / "run")
    assert command(*run) == 0
    assert command(*run, "--set", "seed=1") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "superscale: options for that: -o DIR, --fresh"
    for dry_run in ((), ("--dry-run",)):
        assert command("train", "finetune_x4", *dry_run, "-o", tmp_path / "other") != 0
        assert "options for that: --data DIR" in capsys.readouterr().err
    assert command("train", "finetune_x4", "--data", tmp_path, "--set", "scale=2") == 2
    assert "options for that: --set scale=4" in capsys.readouterr().err


def test_plot_says_where_the_curves_are_and_refuses_other_formats(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "metrics.jsonl").write_text('{"stage": "psnr", "images": 10, "loss": 0.5}\n')
    assert command("plot", tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'curves.png'}\n"
    assert (tmp_path / "curves.png").is_file()
    assert command("plot", tmp_path, "-o", tmp_path / "curves.svg") == 2
    assert command("plot", tmp_path / "nowhere") == 2
