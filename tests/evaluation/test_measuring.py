"""Measuring from Python: the numbers of the command line, callables, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from superscale.cli.main import main
from superscale.data.pairs import PairFolder
from superscale.errors import DataError, UnknownNameError, UsageError
from superscale.evaluation import Table, evaluate
from superscale.evaluation.benchmark import benchmark
from superscale.evaluation.report import to_json
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize
from superscale.weights.checkpoint import Model, save_model


def nearest(low_res: np.ndarray) -> np.ndarray:
    return low_res.repeat(4, axis=0).repeat(4, axis=1)


def test_python_and_the_command_line_measure_the_same(
    photos: Path, tmp_path: Path, tiny_model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.safetensors"
    save_model(file, tiny_model.generator, {})
    for pair in PairFolder(photos, 4):
        write_image(tmp_path / "tool" / f"{pair.name}.png", Image(nearest(pair.low_res)))
    line = f"evaluate --model bicubic --model {file} --outputs {tmp_path / 'tool'} --data {photos} --device cpu --json"
    monkeypatch.setattr(sys, "argv", ["superscale", *line.split()])
    with pytest.raises(SystemExit):
        main()
    printed = json.loads(capsys.readouterr().out)
    table = evaluate(["bicubic", file], [photos], outputs=[tmp_path / "tool"], device="cpu")
    content = to_json(table)
    assert content["rows"] == printed["rows"]
    assert content["convention"] == printed["convention"]
    assert [(cost.model, cost.megapixels) for cost in table.costs] == [
        (cost["model"], cost["megapixels"]) for cost in printed["costs"]
    ]
    assert [cost.seconds is None for cost in table.costs] == [False, False, True]


def test_a_callable_is_measured_under_its_name_and_progress_is_told(photos: Path) -> None:
    told: list[tuple[str, str, int, int]] = []
    table = evaluate(
        {"nearest": nearest, "cubic": "bicubic"}, [photos], metrics=["psnr"], progress=lambda *facts: told.append(facts)
    )
    assert isinstance(table, Table)
    assert [row.model for row in table] == ["nearest", "cubic"]
    assert table[0].images == benchmark(nearest, PairFolder(photos, 4))[0].images
    assert table[1].images == benchmark(lambda low_res: imresize(low_res, 4), PairFolder(photos, 4))[0].images
    assert told == [(model, "photos", done, 6) for model in ("nearest", "cubic") for done in range(7)]


def test_memory_on_a_cpu_is_the_processs_though_there_is_a_gpu(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 7)
    (cost,) = evaluate(["bicubic"], [photos], metrics=["psnr"], device="cpu").costs
    assert cost.peak_bytes != 7


def test_what_cannot_be_measured_is_refused_without_a_flag(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="lpips-alex"):
        evaluate(["bicubic"], [photos], metrics=["lpips"])
    with pytest.raises(UsageError, match="at least one folder"):
        evaluate(["bicubic"], [])
    with pytest.raises(UsageError, match="paired for scale 2, expected 4"):
        evaluate(["bicubic"], [PairFolder(photos, 2)])
    with pytest.raises(UsageError, match=r"^two data folders are both called photos; rename one$"):
        evaluate(["bicubic"], [photos, photos])
    with pytest.raises(UsageError, match="two models are both called bicubic"):
        evaluate(["bicubic"], [photos], outputs=[tmp_path / "bicubic"])
    with pytest.raises(DataError, match="nearest made 56x48x3 of photo-0, expected 112x96x3"):
        evaluate({"nearest": lambda low_res: low_res.repeat(2, axis=0).repeat(2, axis=1)}, [photos])
