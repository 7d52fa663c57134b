"""Every code block of the documentation runs, in order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from s3_server import S3Server
from superscale.remote.names import parsed

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


# test_readme.py types the tutorial.
PAGES = [
    ("evaluation.md", "report/report.html"),
    ("speed.md", "again.png"),
    ("real-world.md", "pack/preview.png"),
]
LONG_PAGES = [
    ("pictures.md", "faithful.png"),
    ("measurements.md", "natural.tif"),
    ("models.md", "half.png"),
    ("training.md", "compared.png"),
    ("finetuning.md", "large.png"),
    ("video.md", "short.mp4"),
]


@pytest.mark.parametrize(("page", "made"), PAGES + [pytest.param(*page, marks=pytest.mark.slow) for page in LONG_PAGES])
def test_every_block_of_the_page_runs(page: str, made: str, commands: Path, tmp_path: Path) -> None:
    if page == "training.md":
        pytest.importorskip("matplotlib")
    if page == "video.md":
        pytest.importorskip("av")
    run_blocks((DOCS / page).read_text(), commands, tmp_path)
    assert (tmp_path / made).is_file()


def run_blocks(text: str, commands: Path, folder: Path) -> None:
    blocks = BLOCK.findall(text)
    assert blocks
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    for language, block in blocks:
        command = ["bash", "-euo", "pipefail", "-c", block] if language == "sh" else ["python", "-c", block]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_every_line_for_an_object_store_works_as_written(s3: S3Server, tmp_path: Path) -> None:
    text = (DOCS / "a-million-pictures.md").read_text().replace("http://127.0.0.1:8333", s3.url)
    run_blocks(text, Path(sys.executable).parent, tmp_path)
    made = {one.address.key for one in s3.store.listed(parsed("s3://pictures/out/")) if ".superscale/" not in one.address.key}
    assert made == {f"out/{path.stem}_x4{path.suffix}" for path in (tmp_path / "photos").iterdir()}


@pytest.mark.slow
def test_every_line_for_the_server_works_as_written(commands: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
    from live_server import Running

    server = Running({"spool": str(tmp_path / "spool"), "model": "compact-x4"}, dict(os.environ))
    try:
        server.wait_until_ready()
        text = (DOCS / "server.md").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        run_blocks(text, commands, tmp_path)
    finally:
        server.close()
    for name, size in (("job.jpg", (1084, 720)), ("big.webp", (542, 360))):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size
