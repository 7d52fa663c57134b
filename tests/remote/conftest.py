"""Object stores for tests: what lies in them, and commands on them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from s3_server import S3Server
from superscale.cli.main import main
from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image
from superscale.remote.names import Address
from superscale.weights.checkpoint import Model, save_model

Command = Callable[..., int]


@pytest.fixture
def bucket(s3: S3Server, tmp_path: Path) -> Address:
    """A prefix of its own for each test: a bucket of its own would take volumes of the server's."""
    return Address(s3.place.bucket, f"{tmp_path.name}/")


@pytest.fixture
def model_file(tiny_model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model" / "tiny.safetensors"
    save_model(path, tiny_model.generator, {"recipe": "none"})
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, s3: S3Server, model_file: Path) -> Command:
    """Runs ``superscale upscale`` on the server with a tiny model; its exit code."""

    def run(*arguments: object, endpoint: str = s3.url) -> int:
        fixed = ["--endpoint-url", endpoint, "--model", str(model_file), "--backend", "torch", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["superscale", "upscale", *map(str, arguments), *fixed])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return run


@pytest.fixture
def draw(s3: S3Server, tmp_path: Path) -> Callable[..., Path]:
    """Writes pictures below a prefix, and into a folder, which is returned."""

    def pictures(prefix: Address, *names: str, side: int = 16) -> Path:
        folder = tmp_path / "local"
        for number, name in enumerate(names):
            path = folder / name
            write_image(path, Image(synthetic_picture(number, side)))
            s3.store.put(prefix.below(name), path, {})
        return folder

    return pictures
