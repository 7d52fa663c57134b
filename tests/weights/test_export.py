"""Exported files run in the programs that they are for, which nobody here wrote, and give torch's numbers at odd sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights import ncnn as ncnn_module
from superscale.weights.checkpoint import Model, stored_of
from superscale.weights.export import TOLERANCE, export
from superscale.weights.store import find_model, find_stored

ENGINES = {".xml": "openvino", ".param": "ncnn"}


@pytest.mark.parametrize("suffix", ENGINES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("srresnet", {"blocks": 1, "features": 8}),
        ("srresnet", {"blocks": 1, "features": 8, "batch_norm": False, "scale": 8, "channels": 1}),
        ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4}),
        ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 2}),
        ("compact", {"features": 8, "convolutions": 2, "scale": 3, "channels": 4}),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_every_network_is_the_same_in_its_own_program(
    suffix: str, name: str, options: dict[str, Any], half: bool, tmp_path: Path
) -> None:
    pytest.importorskip(ENGINES[suffix])
    torch.manual_seed(1)
    model = stored_of(Model("any", build_generator(name, options).eval(), {"recipe": "r"}))
    path = tmp_path / f"any{suffix}"
    assert export(model, path, half) <= TOLERANCE[half]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["any.bin", path.name]


def test_ncnn_itself_enlarges_with_the_files_of_a_trained_model(tmp_path: Path) -> None:
    ncnn = pytest.importorskip("ncnn")
    export(find_stored("compact-x4"), tmp_path / "compact.param")
    net = ncnn.Net()
    assert net.load_param(str(tmp_path / "compact.param")) == net.load_model(str(tmp_path / "compact.bin")) == 0
    extractor = net.create_extractor()
    picture = np.random.default_rng(0).random((3, 13, 21), np.float32)
    extractor.input("data", ncnn.Mat(picture))
    _, found = extractor.extract("output")
    with torch.inference_mode():
        expected = find_model("compact-x4").generator(torch.from_numpy(picture)[None])[0].numpy()
    assert np.abs(np.array(found) - expected).max() < 2e-3  # as ncnn computes when nothing is set


def test_a_wrong_export_leaves_neither_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn")
    monkeypatch.setattr(ncnn_module, "ADD", 1)  # subtracts
    with pytest.raises(ModelError, match="differs by"):
        export(find_stored("compact-x4"), tmp_path / "wrong.param")
    assert not list(tmp_path.iterdir())
