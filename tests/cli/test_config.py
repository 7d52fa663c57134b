"""Settings from files and from the environment: which goes before which, and what may not stand there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from superscale.image.io import Image, read_image, write_image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPERSCALE_CONFIG", str(tmp_path / "user.toml"))
    write_image(tmp_path / "a.png", Image(np.full((8, 9, 3), 90, np.uint8)))
    return tmp_path


def run(commands: Path, *line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([commands / "superscale", *line], capture_output=True, text=True, check=False)


def origins(commands: Path, *line: str) -> dict[str, tuple[str, str]]:
    done = run(commands, "config", "show", *line, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["settings"]
    return {f"{one['command']}.{one['option']}": (one["value"], one["origin"]) for one in found}


def test_the_environment_goes_before_the_project_before_the_user(
    commands: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "user.toml").write_text("[upscale]\nmodel = 'compact-x4'\nscale = 2\nquality = 80\n")
    (folder / "superscale.toml").write_text("[upscale]\nscale = 3\nquality = 90\n[evaluate]\ncolor = 'rgb'\n")
    monkeypatch.setenv("SUPERSCALE_UPSCALE_QUALITY", "70")
    assert origins(commands) == {
        "upscale.model": ("compact-x4", str(folder / "user.toml")),
        "upscale.scale": ("3", "superscale.toml"),
        "upscale.quality": ("70", "SUPERSCALE_UPSCALE_QUALITY"),
        "evaluate.color": ("rgb", "superscale.toml"),
    }
    # a command does as its settings say, and the command line goes before them all
    for flags, side in (((), 24), (("--scale", "2"), 16)):
        assert run(commands, "upscale", "a.png", *flags, "-o", f"{side}.png").returncode == 0
        assert read_image(f"{side}.png").height == side


@pytest.mark.parametrize("name", ["SUPERSCALE_UPSCALE_QUALTY", "SUPERSCALE_EVALUATE_MODEL", "SUPERSCALE_UPSCALE_OVERWRITE"])
def test_a_variable_that_would_do_nothing_is_an_error(
    commands: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    done = run(commands, "upscale", "a.png")
    assert done.returncode == 2
    assert f"unknown setting in the environment '{name}'" in done.stderr
    assert not (folder / "a_x4.png").exists()


def test_show_lists_defaults_of_a_command_too(commands: Path, folder: Path) -> None:
    assert origins(commands) == {}
    assert origins(commands, "upscale")["upscale.quality"] == (95, "default")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[upscale]\nmodle = 'x'", "'modle' (did you mean 'model'?)"),
        ("[upsacle]\nmodel = 'x'", "'upsacle' (did you mean 'upscale'?)"),
        ("model = 'x'", "stands in no table"),
        ("[upscale]\noverwrite = true", "--overwrite can only be given on the command line"),
        ("[upscale]\nmodel = ['x']", "model must be one value"),
        ("[evaluate]\nmodel = 'x'", "model must be a list"),
        ("[upscale", "superscale.toml"),
        ("[upscale]\nquality = 'high'", "--quality"),
        ("[upscale]\nquality = true", "[upscale] quality must be a value, got true"),
    ],
)
def test_a_wrong_file_is_one_error_and_nothing_is_done(commands: Path, folder: Path, text: str, reason: str) -> None:
    (folder / "superscale.toml").write_text(text)
    done = run(commands, "upscale", "a.png")
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "a_x4.png").exists()
    assert run(commands, "upscale", "--help").returncode == 0


def test_a_limit_from_the_environment_holds_for_scenes_by_windows_too(
    commands: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(folder / "a.tif", np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    line = ("upscale", str(folder / "a.tif"), "-o", str(folder / "b.tif"), "--model", "compact-x4", "--device", "cpu")
    monkeypatch.setenv("SUPERSCALE_UPSCALE_MAX_PIXELS", "1000")
    refused = run(commands, *line)
    assert (refused.returncode, (folder / "b.tif").exists()) == (1, False)
    assert "1000" in refused.stderr
