"""The example photographs: copied once, and never over another file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from superscale.examples import PHOTOS, photo
from superscale.image.io import read_image


def test_examples_are_photographs_large_enough_for_a_patch() -> None:
    assert all(min(read_image(photo(name)).pixels.shape[:2]) >= 160 for name in PHOTOS)


def test_examples_are_copied_and_copied_again(command: object, tmp_path: Path) -> None:
    for _ in range(2):
        assert command("examples", tmp_path / "photos") == 0  # type: ignore[operator]
    assert [path.name for path in sorted((tmp_path / "photos").iterdir())] == list(PHOTOS)


def test_a_file_of_ones_own_is_not_replaced(command: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "coffee.jpg").write_bytes(b"mine")
    assert command("examples", tmp_path) == 2  # type: ignore[operator]
    assert "coffee.jpg exists" in capsys.readouterr().err
    assert (tmp_path / "coffee.jpg").read_bytes() == b"mine"
    assert not (tmp_path / "cat.jpg").exists()


def test_a_pipe_in_the_place_of_an_example_is_not_waited_for(
    command: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "cat.jpg")
    assert command("examples", tmp_path) == 2  # type: ignore[operator]
    assert "is another file" in capsys.readouterr().err
