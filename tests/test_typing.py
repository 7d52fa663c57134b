"""What a user's type checker makes of the package."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import superscale

SAMPLE = """
import threading
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import assert_type

from superscale import SuperscaleError, Upscaler


def told(done: int, tiles: int) -> None:
    assert 0 < done <= tiles


upscaler = Upscaler("srresnet-x4", scale=2.5, tile="auto")
assert_type(upscaler("photo.jpg", progress=told, cancel=threading.Event()), Image.Image)
assert_type(upscaler(Path("photo.jpg")), Image.Image)
assert_type(upscaler(Image.new("RGB", (4, 4))), Image.Image)
assert_type(upscaler(torch.zeros(1, 3, 4, 4)), torch.Tensor)
small: NDArray[np.uint8] = np.zeros((4, 4, 3), np.uint8)
large: NDArray[np.uint8] = upscaler(small)
try:
    upscaler("nothing.png").save("big.png")
except SuperscaleError as error:
    print(error)
"""
WRONG = "from superscale import Upscaler\nnumber: int = Upscaler()('photo.jpg')\nUpscaler(tile='large')\n"


def checked(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "sample.py").write_text(code)
    environment = os.environ | {"MYPYPATH": str(Path(superscale.__file__).parents[1])}
    line = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "sample.py"]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_users_sample_passes_mypy_strict_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    right = checked(tmp_path, SAMPLE)
    assert right.returncode == 0, right.stdout
    wrong = checked(tmp_path, WRONG)
    assert wrong.returncode == 1
    assert "sample.py:2" in wrong.stdout
    assert "sample.py:3" in wrong.stdout
