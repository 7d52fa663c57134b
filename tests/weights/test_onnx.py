"""Exported graphs run in ONNX Runtime, which nobody here wrote, against the networks they were written from."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superscale.errors import ModelError
from superscale.networks.catalog import GENERATORS, build_generator
from superscale.weights.checkpoint import Model, stored_of
from superscale.weights.export import TOLERANCE, export, max_difference
from superscale.weights.graph import BUILDERS, INPUT, OUTPUT, folded, from_phases, to_phases
from superscale.weights.onnx import KINDS, _node, onnx_bytes, read_onnx
from superscale.weights.store import BUNDLED, find_model, find_stored
from superscale.weights.stored import StoredModel

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("srresnet", {"blocks": 2, "features": 8}),
    ("srresnet", {"blocks": 1, "features": 8, "batch_norm": False, "scale": 2, "channels": 1}),
    ("srresnet", {"blocks": 1, "features": 8, "batch_norm": False, "scale": 8}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 2}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 1}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 8, "upsamplings": 3}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "plus": True}),
    ("compact", {"features": 8, "convolutions": 2}),
    ("compact", {"features": 8, "convolutions": 1, "activation": "relu"}),
    ("compact", {"features": 8, "convolutions": 1, "activation": "leakyrelu"}),
    ("compact", {"features": 8, "convolutions": 1, "scale": 3, "channels": 4}),
]


def shaken(name: str, options: dict[str, Any]) -> StoredModel:
    """A network whose every weight and running statistic matters."""
    torch.manual_seed(1)
    generator = build_generator(name, options)
    with torch.no_grad():
        for tensor in generator.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return stored_of(Model("shaken", generator.eval(), {"recipe": "r"}))


def run_of(data: bytes) -> Any:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda low_res: session.run([OUTPUT], {INPUT: low_res})[0]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_every_network_is_the_same_in_onnx_runtime_on_odd_sizes(name: str, options: dict[str, Any]) -> None:
    model = shaken(name, options)
    assert max_difference(model, run_of(onnx_bytes(model))) <= TOLERANCE[False]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_model_is_the_same_in_onnx_runtime_on_odd_sizes(name: str) -> None:
    model = find_stored(name)
    assert max_difference(model, run_of(onnx_bytes(model))) <= TOLERANCE[False]


def test_there_is_a_builder_for_every_network_of_the_catalog() -> None:
    assert BUILDERS.keys() == GENERATORS.keys()


def test_onnx_itself_finds_no_fault_with_the_files() -> None:
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    for name, options in NETWORKS:
        for half in (False, True):
            model = onnx.load_from_string(onnx_bytes(shaken(name, options), half))
            onnx.checker.check_model(model, full_check=True)
            used = {node.op_type for node in model.graph.node}
            assert model.opset_import[0].version == 17
            assert len({node.name for node in model.graph.node}) == len(model.graph.node)
            assert used
    assert len(KINDS) == 8


def test_a_kernel_before_the_shuffle_is_the_one_after_it() -> None:
    weight = np.random.default_rng(0).random((3, 5, 9, 9), np.float32)
    features, bias = torch.rand(1, 20, 6, 7), torch.rand(3)
    expected = torch.nn.functional.conv2d(torch.pixel_shuffle(features, 2), torch.from_numpy(weight), bias, padding=4)
    phases = torch.from_numpy(to_phases(weight))
    found = torch.pixel_shuffle(torch.nn.functional.conv2d(features, phases, bias.repeat_interleave(4), padding=2), 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(from_phases(to_phases(weight)), weight)


def test_a_trained_model_in_half_precision_stays_within_half_a_level(tmp_path: Path) -> None:
    export(find_stored("compact-x4"), tmp_path / "half.onnx", half=True)
    picture = np.random.default_rng(0).random((2, 3, 24, 31), np.float32)
    found = run_of((tmp_path / "half.onnx").read_bytes())(picture)
    with torch.inference_mode():
        expected = find_model("compact-x4").generator(torch.from_numpy(picture)).numpy()
    assert found.dtype == np.float32
    assert np.abs(found - expected).mean() * 255 < 0.5


def test_the_file_says_what_it_is_and_is_the_same_at_every_writing() -> None:
    model = shaken("compact", {"features": 8, "convolutions": 1})
    data = onnx_bytes(model)
    assert data == onnx_bytes(model)
    facts = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    assert json.loads(facts["superscale.contract"])["scale"] == 4
    assert json.loads(facts["superscale.card"]) == {"recipe": "r"}


def test_a_wrong_export_leaves_no_file_and_says_how_far_off_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = partial(_node, "DepthToSpace", blocksize=4)  # in ONNX's other order of channels
    monkeypatch.setitem(KINDS, "shuffle", lambda writer, node, inputs, output: [wrong(inputs, output)])
    with pytest.raises(ModelError, match="differs by"):
        export(shaken("compact", {"features": 8, "convolutions": 1}), tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_a_written_file_is_read_as_the_model_that_it_was(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = shaken(name, options)
    (tmp_path / "shaken.onnx").write_bytes(onnx_bytes(model))
    again = read_onnx(tmp_path / "shaken.onnx")
    assert (again.name, again.card, again.network) == (model.name, model.card, folded(model).network)
    assert again.arrays.keys() == folded(model).arrays.keys()
    for key, array in folded(model).arrays.items():
        np.testing.assert_array_equal(again.arrays[key], array)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_a_file_that_is_not_what_we_write_is_one_clear_error(damage: str, tmp_path: Path) -> None:
    data = bytearray(onnx_bytes(shaken("compact", {"features": 8, "convolutions": 1})))
    at = data.index(b"DepthToSpace")
    data[at : at + 12] = b"SpaceToDepth" if damage == "changed" else data[at : at + 12]
    made = {"cut": bytes(data[:-900]), "changed": bytes(data), "empty": b"", "other": b"\x08\x08" + b"\xff" * 40}[damage]
    (tmp_path / "bad.onnx").write_bytes(made)
    with pytest.raises(ModelError, match="not an ONNX file that superscale wrote"):
        find_model(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x70\x05", id="a fact that is a number"),
        pytest.param(b"\x72\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f", id="a key that is a number, as large as a memory"),
        pytest.param(b"\x38\x05", id="a graph that is a number"),
        pytest.param(b"\x3a\x0b\x2a\x09\x08\x01\x10\x01\x40\x05\x4a\x01\x00", id="an array whose name is a number"),
    ],
)
def test_a_field_of_another_kind_is_one_clear_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="not an ONNX file that superscale wrote"):
        read_onnx(tmp_path / "x.onnx")
