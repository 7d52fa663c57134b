"""The command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from superscale.cli.main import main
from superscale.weights.checkpoint import Model, save_model

Command = Callable[..., int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs ``superscale`` with these arguments; its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["superscale", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return run


@pytest.fixture
def model_file(tiny_model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model" / "tiny.safetensors"
    save_model(path, tiny_model.generator, {"recipe": "none"})
    return path
