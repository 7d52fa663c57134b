"""Clips made by Debian's ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("av", reason="the extra 'video' is not installed")

from clips import Make
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None or shutil.which("ffprobe") is None:
        pytest.skip("there is no ffmpeg and ffprobe on this machine")
    return found


@pytest.fixture(scope="session")
def clips() -> dict[tuple[str, ...], bytes]:
    """What was made already."""
    return {}


@pytest.fixture
def make(ffmpeg: str, tmp_path: Path, clips: dict[tuple[str, ...], bytes]) -> Make:
    """make(name, *arguments) -> a clip."""

    def made(name: str, *arguments: str) -> Path:
        path = tmp_path / name
        if (clip := clips.get((path.suffix, *arguments))) is not None:
            path.write_bytes(clip)
            return path
        run = [ffmpeg, "-nostdin", "-v", "error", "-y", *arguments, "-threads", "1", str(path)]
        subprocess.run(run, check=True, capture_output=True, timeout=60)
        clips[(path.suffix, *arguments)] = path.read_bytes()
        return path

    return made


@pytest.fixture
def moving() -> list[str]:
    """The arguments for an input of 24 frames of 48x32 that move."""
    return ["-f", "lavfi", "-i", "testsrc2=size=48x32:rate=25:duration=0.96"]


@pytest.fixture
def nearest() -> Model:
    """A ×4 network that adds nothing to the nearest pixel."""
    generator = build_generator("compact", {"features": 4, "convolutions": 1})
    for parameter in generator.parameters():
        parameter.data.zero_()
    return Model("nearest", generator.eval(), {})


@pytest.fixture
def upscaler(nearest: Model) -> Upscaler:
    return Upscaler(nearest, device="cpu", backend="torch")
