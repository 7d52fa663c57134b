"""What commands say of themselves, and of options and commands that do not exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from superscale.cli.help import GROUPS
from superscale.cli.main import app
from superscale.cli.settings import plain_commands

ROOT: Any = typer.main.get_command(app)
COMMANDS = plain_commands(ROOT)
GROUPED = [name for name in ROOT.commands if name not in COMMANDS]
ALL = [[], *([name] for name in ROOT.commands), *([group, name] for group in GROUPED for name in ROOT.commands[group].commands)]


def said(commands: Path, *line: str) -> str:
    done = subprocess.run([commands / "superscale", *line], capture_output=True, text=True, check=False, env={"COLUMNS": "80"})
    return done.stdout + done.stderr


@pytest.mark.parametrize("line", ALL, ids=" ".join)
def test_help_fits_80_columns_and_names_values_in_words(commands: Path, line: list[str]) -> None:
    text = said(commands, *line, "--help")
    assert text.startswith("Usage: superscale")
    assert max(map(len, text.splitlines())) <= 80
    # nothing cut off, no names of Python types
    assert not re.search(r"[a-z]\.\.\.$|<\w+>", text, re.MULTILINE), text


@pytest.mark.parametrize("name", GROUPS)
def test_groups_name_parameters_that_exist_each_once(name: str) -> None:
    grouped = [parameter for group in GROUPS[name].values() for parameter in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= {parameter.name for parameter in COMMANDS[name].params}


def test_help_lists_options_in_groups_and_the_default_model(commands: Path) -> None:
    text = said(commands, "upscale", "--help")
    titles = re.findall(r"^(\w[\w ]+):$", text, re.MULTILINE)
    assert titles == ["Arguments", *GROUPS["upscale"], "Options"]
    assert "Default: auto," in text


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (("upscale", "--mdoel", "x", "y.png"), "did you mean --model?"),
        (("upscale", "--skip", "y.png"), "did you mean --skip-existing?"),
        (("evaluate", "--metrics", "psnr"), "did you mean --metric?"),
        (("models", "list", "--jsn"), "did you mean --json?"),
        (("uspcale",), "Did you mean 'upscale'?"),
    ],
)
def test_a_misspelt_option_or_command_names_the_nearest(commands: Path, line: tuple[str, ...], meant: str) -> None:
    done = subprocess.run([commands / "superscale", *line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert meant in done.stderr


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", "complete -"), ("zsh", "#compdef superscale"), ("fish", "complete --command")]
)
def test_completion_is_offered_for_every_usual_shell(commands: Path, shell: str, script: str) -> None:
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # else it is for the shell that is found among the parents
    line = [commands / "superscale", "--show-completion", shell]
    assert script in subprocess.run(line, capture_output=True, text=True, check=True, env=named).stdout


def test_completion_knows_models_and_recipes(commands: Path) -> None:
    def completed(*words: str) -> list[str]:
        env = {"_SUPERSCALE_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        done = subprocess.run([commands / "superscale"], capture_output=True, text=True, check=True, env=env)
        return done.stdout.split()

    assert completed("superscale", "upscale", "--model", "srg") == ["srgan-x4"]
    assert "bicubic" in completed("superscale", "evaluate", "--model", "bi")
    assert completed("superscale", "train", "srgan_") == ["srgan_x4", "srgan_x4_fast"]
    assert "--max-pixels" in completed("superscale", "upscale", "--max")
