"""A newcomer's first minutes: the README and the tutorial, top to bottom, after ``pip install .`` alone in a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The commands of a page, without those that install the package."""
    found = [
        (language, re.sub(r"^pip install .*\n", "", block, flags=re.MULTILINE))
        for language, block in BLOCK.findall(page.read_text())
    ]
    assert found, page
    return found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of a newcomer who has installed the package and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    installed = subprocess.run(
        [binaries / "pip", "install", "--quiet", "--no-compile", str(ROOT)], capture_output=True, text=True, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"nothing can be installed here: {installed.stderr.strip()[-300:]}")
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "SUPERSCALE_CACHE": str(folder / "cache")}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize(("page", "made"), [("README.md", "photos/cat_x4.jpg"), ("docs/tutorial.md", "big.png")])
def test_a_newcomer_can_type_the_page_from_top_to_bottom(page: str, made: str, fresh: dict[str, str], tmp_path: Path) -> None:
    for language, block in blocks(ROOT / page):
        command = ["bash", "-euo", "pipefail", "-c", block] if language == "sh" else ["python", "-c", block]
        result = subprocess.run(command, cwd=tmp_path, env=fresh, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
    assert (tmp_path / made).is_file()
