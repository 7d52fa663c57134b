"""Exported graphs run in ONNX Runtime, which nobody here wrote, against the networks they were written from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superscale.errors import ModelError
from superscale.networks.catalog import GENERATORS, build_generator
from superscale.networks.generator import Generator
from superscale.weights import onnx as module
from superscale.weights.checkpoint import Model
from superscale.weights.onnx import BUILDERS, INPUT, OUTPUT, TOLERANCE, export_onnx, max_difference, onnx_bytes
from superscale.weights.store import find_model

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("srresnet", {"blocks": 2, "features": 8}),
    ("srresnet", {"blocks": 1, "features": 8, "batch_norm": False, "scale": 2, "channels": 1}),
    ("srresnet", {"blocks": 1, "features": 8, "batch_norm": False, "scale": 8}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 2}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 1}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 8, "upsamplings": 3}),
    ("compact", {"features": 8, "convolutions": 2}),
    ("compact", {"features": 8, "convolutions": 1, "scale": 3, "channels": 4}),
]


def shaken(name: str, options: dict[str, Any]) -> Generator:
    """A network whose every weight and running statistic matters."""
    torch.manual_seed(1)
    generator = build_generator(name, options)
    with torch.no_grad():
        for tensor in generator.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return generator.eval()


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_every_network_is_the_same_in_onnx_runtime_on_odd_sizes(name: str, options: dict[str, Any]) -> None:
    generator = shaken(name, options)
    assert max_difference(generator, onnx_bytes(generator, {})) <= TOLERANCE[False]


def test_there_is_a_builder_for_every_network_of_the_catalog() -> None:
    assert BUILDERS.keys() == GENERATORS.keys()


def test_a_trained_model_in_half_precision_stays_within_half_a_level(tmp_path: Path) -> None:
    model = find_model("compact-x4")
    export_onnx(model, tmp_path / "half.onnx", half=True)
    session = onnxruntime.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(0).random((2, 3, 24, 31), np.float32)
    (found,) = session.run([OUTPUT], {INPUT: picture})
    with torch.inference_mode():
        expected = model.generator(torch.from_numpy(picture)).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).mean() * 255 < 0.5


def test_the_file_says_what_it_is_and_is_the_same_at_every_writing(tmp_path: Path) -> None:
    generator = shaken("compact", {"features": 8, "convolutions": 1})
    data = onnx_bytes(generator, {"recipe": "r"})
    assert data == onnx_bytes(generator, {"recipe": "r"})
    facts = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert json.loads(facts["superscale.contract"])["scale"] == 4
    assert json.loads(facts["superscale.card"]) == {"recipe": "r"}


def test_a_wrong_export_leaves_no_file_and_says_how_far_off_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = shaken("compact", {"features": 8, "convolutions": 1})
    monkeypatch.setattr(
        module._Graph, "shuffle", lambda self, given, factor: self.node("DepthToSpace", [given], blocksize=factor)
    )
    with pytest.raises(ModelError, match="differs by"):
        export_onnx(Model("wrong", generator, {}), tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())
