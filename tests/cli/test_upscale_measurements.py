"""The options for measurements, as people type them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

Command = Callable[..., int]


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    samples = np.linspace(-1000, 1500, 400).reshape(20, 20).astype(np.int16)
    tifffile.imwrite("scan.tif", samples, photometric="minisblack")
    return tmp_path / "scan.tif"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", [-1000, 1500]), ("-200:600", [-200, 600]), ("full", [-32768, 32767]), ("p0:p100", [-1000, 1500])],
)
def test_the_range_is_said_and_is_in_the_json(
    choice: str, expected: list[int], scan: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("upscale", scan, "--model", model_file, "--range", choice, "--json", "-v") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["results"][0]["range"] == expected
    assert f"black to white: {expected[0]} to {expected[1]}" in captured.err
    assert tifffile.imread("scan_x4.tif").dtype == np.int16


def test_bands_are_chosen_by_their_numbers(
    scan: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite("bands.tif", np.zeros((8, 9, 5), np.uint16), photometric="minisblack", planarconfig="contig")
    assert command("upscale", "bands.tif", "--model", model_file, "--bands", "4,3,2", "-v") == 0
    assert "but 4, 3, 2 together" in capsys.readouterr().err
    assert command("upscale", scan, "--model", model_file, "--bands", "4,3,2") == 1
    assert "1 bands, and no band 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("--range", "much"), ("--range", "5:1"), ("--range", "1:2:3"), ("--range", "p9"), ("--bands", "1,2"), ("--bands", "red")],
)
def test_what_cannot_be_right_is_a_usage_error(
    arguments: tuple[str, str], scan: Path, command: Command, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("upscale", scan, "--model", model_file, *arguments) == 2
    assert arguments[1] in capsys.readouterr().err.replace("(5.0, 1.0)", "5:1").replace("(1, 2)", "1,2")
