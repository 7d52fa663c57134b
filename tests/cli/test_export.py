from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def test_export_writes_a_graph_that_enlarges_and_says_how_near_it_is(
    command: Command, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "tiny.onnx"
    assert command("export", model_file, "-o", target) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(target)
    assert "differs from the original by at most" in said.err
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (large,) = session.run(None, {"low_res": np.zeros((1, 3, 6, 11), np.float32)})
    assert large.shape == (1, 3, 24, 44)
    assert command("export", model_file, "-o", target) == 2
    assert "exists" in capsys.readouterr().err
    assert command("export", model_file, "-o", target, "--overwrite", "--half") == 0
    assert command("export", model_file, "-o", tmp_path / "tiny.pt") == 2
    assert "ends in .onnx" in capsys.readouterr().err


def test_export_neither_replaces_its_own_model_nor_the_numbers_of_another(
    command: Command, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "tiny.onnx"
    assert command("export", model_file, "-o", source) == 0
    before = source.read_bytes()
    assert command("export", source, "-o", source, "--half", "--overwrite") == 2
    assert "is the model that is exported" in capsys.readouterr().err
    assert source.read_bytes() == before
    (tmp_path / "tiny.xml").touch()
    (tmp_path / "tiny.bin").touch()
    assert command("export", model_file, "-o", tmp_path / "tiny.param", "--overwrite") == 2
    assert f"tiny.bin belongs to {tmp_path / 'tiny.xml'}" in capsys.readouterr().err
