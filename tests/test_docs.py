"""Every code block of the documentation runs, in order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PAGES = [
    ("tutorial.md", "big.png"),
    ("pictures.md", "faithful.png"),
    ("measurements.md", "natural.tif"),
    ("evaluation.md", "report/report.html"),
    ("speed.md", "again.png"),
    ("models.md", "half.png"),
    ("real-world.md", "pack/preview.png"),
    ("training.md", "compared.png"),
    ("finetuning.md", "large.png"),
    ("video.md", "short.mp4"),
]


@pytest.mark.parametrize(("page", "made"), PAGES)
def test_every_block_of_the_page_runs(page: str, made: str, commands: Path, tmp_path: Path) -> None:
    if page == "training.md":
        pytest.importorskip("matplotlib")
    if page == "video.md":
        pytest.importorskip("av")
    blocks = BLOCK.findall((DOCS / page).read_text())
    assert blocks
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    for language, block in blocks:
        command = ["bash", "-euo", "pipefail", "-c", block] if language == "sh" else ["python", "-c", block]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
    assert (tmp_path / made).is_file()
