"""Files of other programs given to --model: ncnn's and OpenVINO's are read back to the same numbers, and everything else is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model, stored_of
from superscale.weights.export import export
from superscale.weights.graph import folded
from superscale.weights.ncnn import ncnn_files
from superscale.weights.onnx import onnx_bytes
from superscale.weights.store import add_model, find_model, find_stored
from superscale.weights.stored import StoredModel

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("srresnet", {"blocks": 2, "features": 8}),
    ("srresnet", {"blocks": 1, "features": 8, "scale": 8, "channels": 1}),
    ("rrdbnet", {"blocks": 2, "features": 8, "growth_channels": 4}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 2, "residual_scale": 0.25}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 8, "upsamplings": 3}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "plus": True}),
    ("compact", {"features": 8, "convolutions": 3}),
    ("compact", {"features": 8, "convolutions": 1, "activation": "leakyrelu", "scale": 3, "channels": 4}),
]


def drawn(name: str, options: dict[str, Any]) -> StoredModel:
    torch.manual_seed(1)
    generator = build_generator(name, options)
    with torch.no_grad():
        for tensor in generator.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return stored_of(Model("drawn", generator.eval(), {"recipe": "r"}))


def written(model: StoredModel, folder: Path, half: bool = False) -> Path:
    path = folder / "drawn.param"
    for part, data in zip((path, path.with_suffix(".bin")), ncnn_files(model, half), strict=True):
        part.write_bytes(data)
    return path


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("half", [False, True])
def test_ncnn_files_are_read_back_to_the_same_network(name: str, options: dict[str, Any], half: bool, tmp_path: Path) -> None:
    model = folded(drawn(name, options))
    found = find_stored(written(model, tmp_path, half))
    assert found.config == model.config
    assert found.arrays.keys() == model.arrays.keys()
    for key, array in model.arrays.items():
        as_kept = array.astype(np.float16) if half and array.ndim == 4 else array
        np.testing.assert_array_equal(found.arrays[key], as_kept.astype(np.float32), err_msg=key)


@pytest.mark.parametrize(("name", "options"), NETWORKS[::3])
@pytest.mark.parametrize("half", [False, True])
def test_openvino_files_are_read_back_to_the_same_network(
    name: str, options: dict[str, Any], half: bool, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    model = folded(drawn(name, options))
    export(model, tmp_path / "drawn.xml", half)
    found = find_stored(tmp_path / "drawn.xml")
    assert found.config == model.config
    assert found.card == model.card
    for key, array in model.arrays.items():
        np.testing.assert_allclose(found.arrays[key], array, rtol=1e-3 if half else 0, atol=1e-4 if half else 0, err_msg=key)


# As onnx2ncnn writes networks of Real-ESRGAN: activations inside convolutions, weighted sums, other names.
FUSED = """7767517
7 8
Input            in   0 1 data
Split            s    1 2 data data_0 data_1
Convolution      c0   1 1 data_1 a 0=2 1=3 4=1 5=1 6=18 9=2 -23310=1,1.000000e-01
Convolution      c1   1 1 a b 0=4 1=3 4=1 5=1 6=72
PixelShuffle     p    1 1 b c 0=2
Interp           i    1 1 data_0 d 0=1 1=2.000000e+00 2=2.000000e+00
Eltwise          e    2 1 c d out 0=1 -23301=2,1.000000e+00,1.000000e+00
"""


def fused(folder: Path, text: str = FUSED, cut: int = 0) -> Path:
    numbers = np.random.default_rng(0).normal(size=18 + 2 + 72 + 4).astype("<f4")
    first, second = numbers[:20].tobytes(), numbers[20:].tobytes()
    path = folder / "fused.param"
    path.write_text(text)
    data = bytes(4) + first + bytes(4) + second
    path.with_suffix(".bin").write_bytes(data[: len(data) - cut])
    return path


def test_activations_inside_convolutions_and_weighted_sums_are_understood(tmp_path: Path) -> None:
    found = find_stored(fused(tmp_path))
    expected = {"name": "compact", "scale": 2, "channels": 1, "features": 2, "convolutions": 0, "activation": "leakyrelu"}
    assert found.network == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("9=2", "9=5"), "an activation that is not supported"),
        (("1.000000e-01", "3.000000e-01"), "not a network of ncnn that is known here"),
        (("data_0 d", "a d"), "its operations are not those of compact"),
        (("0=1 1=2", "0=2 1=2"), "resizes in another way"),
        (("Eltwise ", "Softmax "), r"the layer Softmax \(e\) is not supported"),
        (("e    2 1 c d out 0=1", "e    2 1 c d out 0=0"), "is no sum of two"),
        (("7767517", "85"), "begins with '85', expected 7767517"),
        (("6=18", "6=1800000000"), "the .bin is too short for its layers"),
        (("6=72", "6=720000"), "the .bin is too short for its layers"),
        (("0=4 1=3", "0=0 1=3"), "no network|not a network|no plain convolution"),
        (("4=1 5=1 6=72", "4=0 5=1 6=72"), "no plain convolution"),
    ],
)
def test_a_network_that_only_looks_like_one_is_refused(change: tuple[str, str], reason: str, tmp_path: Path) -> None:
    assert change[0] in FUSED
    with pytest.raises(ModelError, match=reason) as error:
        find_stored(fused(tmp_path, FUSED.replace(*change)))
    assert str(error.value).startswith(str(tmp_path / "fused.param"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [1, 4, 40, 300])
def test_a_bin_that_was_cut_is_refused(cut: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"too short|buffer is smaller|not a network"):
        find_stored(fused(tmp_path, cut=cut))


def test_a_size_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = fused(tmp_path)
    path.write_text(re.sub(r" 0=\d+", " 0=1e400", path.read_text(), count=1))
    with pytest.raises(ModelError, match="not a network of ncnn"):
        find_stored(path)


def test_a_missing_bin_is_named(tmp_path: Path) -> None:
    path = fused(tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"fused\.bin"):
        find_stored(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("superscale.network", "other.network"),
        lambda text: '<!DOCTYPE net [<!ENTITY a "aaaa">]>' + text.partition("?>")[2],
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('offset="', 'offset="9'),
        lambda text: text.replace('element_type="f32"', 'element_type="i8"'),
    ],
)
def test_an_openvino_file_that_is_not_ours_is_refused(spoil: Callable[[str], str], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "drawn.xml"
    export(drawn(*NETWORKS[-2]), path)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ModelError, match=r"drawn\.xml") as error:
        find_stored(path)
    assert "\n" not in str(error.value)


def test_an_openvino_file_whose_bin_is_that_of_another_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    name, options = NETWORKS[0]
    for one in ("first", "second"):
        model = drawn(name, options)
        arrays = {
            key: np.add(array, one == "second", dtype=np.float32, out=array.copy()) for key, array in model.arrays.items()
        }
        export(StoredModel(one, model.network, arrays, model.card), tmp_path / f"{one}.xml")
    assert find_stored(tmp_path / "second.xml").name == "second"
    (tmp_path / "second.bin").replace(tmp_path / "first.bin")
    with pytest.raises(ModelError, match=r"first\.bin has other numbers"):
        find_stored(tmp_path / "first.xml")


def test_a_model_of_two_files_is_added_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path / "cache"))
    model = drawn(*NETWORKS[2])
    assert add_model(written(model, tmp_path), "mine") == "mine"
    found = find_stored("mine")
    assert found.config == model.config
    for key, array in folded(model).arrays.items():
        np.testing.assert_array_equal(found.arrays[key], array, err_msg=key)


def test_an_onnx_file_becomes_a_network_of_torch_without_a_warning(tmp_path: Path) -> None:
    model = folded(drawn(*NETWORKS[0]))
    (tmp_path / "drawn.onnx").write_bytes(onnx_bytes(model))
    weights = find_model(tmp_path / "drawn.onnx").generator.state_dict()
    for key, array in model.arrays.items():
        np.testing.assert_array_equal(weights[key].numpy(), array, err_msg=key)


def test_a_pipe_called_onnx_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="expected a file, got a pipe"):
        find_stored(tmp_path / "pipe.onnx")
