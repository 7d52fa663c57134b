"""Commands under faults, each in a process of its own, and what must hold of every one that failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faults import armed
from superscale.weights.checkpoint import Model, save_model


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    def failed_naming(self, *names: object, code: int = 1) -> None:
        """It failed, and a line that is no traceback names what was at fault."""
        assert "Traceback" not in self.err
        assert self.code == code, self.err
        for name in names:
            assert any(str(name) in line for line in self.err.splitlines()), (name, self.err)


Run = Callable[..., Ended]


@pytest.fixture
def faulty(commands: Path, tmp_path: Path) -> Run:
    """Runs ``superscale`` with arguments and ``faults=[(name, arguments...)]`` in ``tmp_path``."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")

    def run(*arguments: object, faults: Any = (), seconds: float = 60, **options: Any) -> Ended:
        command = [str(commands / "python"), "-c", armed(*faults), *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("environment", {})
        ended = subprocess.run(
            command, capture_output=True, timeout=seconds, check=False, cwd=tmp_path, env=environment, **options
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr.decode(errors="backslashreplace"))

    return run


@pytest.fixture
def model_file(tiny_model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model" / "tiny.safetensors"
    save_model(path, tiny_model.generator, {"recipe": "none"})
    return path


def leftovers(folder: Path) -> list[str]:
    """What no command may leave behind: temporary files and claims."""
    return sorted(path.name for path in folder.rglob(".superscale-*"))
