"""Every library that runs networks gives torch's numbers; a full device is a typed error, never another tile's pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superscale.data.synthetic import synthetic_picture
from superscale.errors import ModelError, OutOfMemoryError, UsageError
from superscale.inference.backends import choice as choice_module
from superscale.inference.backends import trial
from superscale.inference.backends.choice import Choice, made
from superscale.inference.backends.trial import Verdict, Way, difference, keep, kept, verdict_file
from superscale.inference.upscaler import Upscaler
from superscale.machine import processor
from superscale.weights.checkpoint import Model, save_model, stored_of
from superscale.weights.store import find_model, find_stored

Array = NDArray[Any]
LIBRARIES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("name", ["compact-x4", "srresnet-x4", "rrdb-lite-x4"])
def test_every_library_gives_torchs_numbers_at_every_size(backend: str, name: str) -> None:
    pytest.importorskip(LIBRARIES[backend])
    runs = made(find_stored(name), Way(backend, "fp32"), "cpu")
    for size in ((7, 5), (1, 9), (16, 13), (7, 5)):
        low_res = np.random.default_rng(0).random((1, 3, *size), np.float32)
        with torch.inference_mode():
            expected = find_model(name).generator(torch.from_numpy(low_res)).numpy()
        np.testing.assert_allclose(runs(low_res), expected, atol=2e-5)


@pytest.mark.parametrize("backend", LIBRARIES)
def test_a_picture_is_the_same_to_a_level_in_every_library(backend: str, tiny_model: Model) -> None:
    pytest.importorskip(LIBRARIES[backend])
    picture = synthetic_picture(3, 40)[:29]
    found = Upscaler(tiny_model, backend=backend)(picture)  # type: ignore[arg-type]
    assert np.abs(found.astype(int) - Upscaler(tiny_model)(picture)).max() <= 1


def test_openvino_that_returns_without_computing_is_out_of_memory_not_the_tile_before(tiny_model: Model) -> None:
    pytest.importorskip("openvino")
    backend: Any = made(tiny_model, Way("openvino", "fp32"), "cpu")
    low_res = np.ones((1, 3, 8, 8), np.float32)
    assert np.isfinite(backend(low_res)).all()

    class Silent:
        def set_output_tensor(self, tensor: Any) -> None: ...
        def infer(self, given: Any) -> None: ...

    backend.request = Silent()
    with pytest.raises(OutOfMemoryError, match="8x8 pixels"):
        backend(low_res)
    assert np.isfinite(backend(low_res)).all(), "the next tile begins anew"


@pytest.mark.parametrize(("text", "error"), [("bfc_arena: Failed to allocate memory", OutOfMemoryError), ("bad", ModelError)])
def test_what_onnx_runtime_says_becomes_an_error_of_ours(text: str, error: type[Exception], tiny_model: Model) -> None:
    pytest.importorskip("onnxruntime")
    backend: Any = made(tiny_model, Way("onnx", "fp32"), "cpu")

    class Failing:
        def run(self, *given: Any) -> None:
            raise RuntimeError(text)

    backend.session = Failing()
    with pytest.raises(error):
        backend(np.ones((1, 3, 8, 8), np.float32))


def test_a_precision_or_a_device_that_a_library_does_not_have_is_refused(tiny_model: Model) -> None:
    pytest.importorskip("onnxruntime")
    for way, device in ((Way("onnx", "bf16"), "cpu"), (Way("onnx", "fp32"), "mps")):
        with pytest.raises(UsageError, match="choose the backend"):
            made(tiny_model, way, device)
    with pytest.raises(UsageError, match="backend must be one of"):
        Upscaler(tiny_model, backend="tensorrt")  # type: ignore[arg-type]


def verdict(backend: str, start: float, pixel: float, levels: float = 0.0, deep: float = 0.5) -> Verdict:
    return Verdict(Way(backend, "fp32"), start, pixel, 90.0, levels, deep)


class Named:
    def __init__(self, way: Way) -> None:
        self.name = str(way)

    def __call__(self, low_res: Array) -> Array:
        return low_res.repeat(4, -1).repeat(4, -2)


@pytest.fixture
def three(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> Choice:
    """Three ways that compute nothing."""
    monkeypatch.setattr(choice_module, "ways", lambda *_: [Way(name, "fp32") for name in ("onnx", "openvino", "torch")])
    monkeypatch.setattr(choice_module, "made", lambda model, way, device: Named(way))
    return Choice(stored_of(tiny_model), "cpu")


def test_a_small_picture_goes_the_plain_way_and_nothing_is_tried(three: Choice, cache: Path) -> None:
    assert three.suited(256 * 256, deep=False).name == "onnx fp32"
    assert not cache.exists()


def test_what_was_found_fastest_is_taken_when_its_start_pays(three: Choice) -> None:
    three.verdicts, three.looked_up = [verdict("onnx", 0.1, 2e-6), verdict("openvino", 1.0, 1e-6)], True
    assert three.suited(100_000, deep=False).name == "onnx fp32"
    assert three.suited(1_000_000, deep=False).name == "openvino fp32"
    assert three.suited(10, deep=False).name == "openvino fp32", "it has started"


def test_what_is_too_far_from_fp32_is_not_taken_and_deep_pictures_ask_for_more(three: Choice) -> None:
    far, rough = verdict("torch", 0, 1e-9, levels=2.1, deep=540), verdict("openvino", 0, 1e-8, levels=1.9, deep=300)
    three.verdicts, three.looked_up = [verdict("onnx", 0, 1e-6), rough, far], True
    assert three.suited(10**6, deep=False).name == "openvino fp32"
    assert three.suited(10**6, deep=True).name == "onnx fp32"


def test_a_large_job_has_the_ways_tried_once_and_the_verdicts_outlive_the_process(
    three: Choice, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice_module, "seconds_of", lambda backend, probe: 1.0)
    three.suited(3 * 10**6, deep=False)
    (file,) = (cache / "verdicts").iterdir()
    facts = json.loads(file.read_bytes())
    assert [entry["way"]["backend"] for entry in facts["ways"]] == ["onnx", "openvino", "torch"]
    assert facts["processor"] == processor.name()
    again = Choice(three.model, "cpu")
    again.suited(10, deep=False)
    assert again.verdicts == three.verdicts


def test_a_trial_that_would_cost_more_than_a_twentieth_is_left_out(
    three: Choice, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 10^6 pixels at 4 ms for 64x64 take one second, and starting two libraries six.
    monkeypatch.setattr(choice_module, "seconds_of", lambda backend, probe: 0.004)
    three.suited(10**6, deep=False)
    assert not cache.exists()


def test_verdicts_belong_to_the_weights_and_a_damaged_file_is_none(tiny_model: Model, cache: Path) -> None:
    stored = stored_of(tiny_model)
    path = verdict_file(stored, "cpu")
    keep(path, stored, "cpu", [verdict("onnx", 1, 2)])
    assert kept(path) == [verdict("onnx", 1, 2)]
    assert trial.kept_by_model() == {tiny_model.name: kept(path)}
    path.write_text(path.read_text()[:-9])
    assert trial.kept_by_model() == {}
    assert kept(path) is None
    with torch.no_grad():
        tiny_model.generator.get_parameter("tail.bias").add_(1e-3)
    assert verdict_file(stored_of(tiny_model), "cpu") != path


def test_differences_are_in_decibels_and_levels() -> None:
    expected = np.full((1, 3, 10, 10), 0.5)
    decibels, levels, deep = difference(expected + 1 / 255, expected)
    assert decibels == pytest.approx(48.13, abs=0.01)  # 20 log10(255)
    assert levels == pytest.approx(1)
    assert deep == pytest.approx(257)


TORCH_FREE = """
import sys
from superscale.cli.main import main
sys.argv = ["superscale", "upscale", *sys.argv[1:]]
try: main()
except SystemExit as stop: assert not stop.code, stop.code
assert not {"torch", "onnx"} & set(sys.modules)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch is asked whether there is a GPU")
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_picture_is_upscaled_without_importing_torch(backend: str, tiny_model: Model, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip(LIBRARIES[backend])
    save_model(tmp_path / "tiny.safetensors", tiny_model.generator, {})
    line = [str(photos / "photo-0.png"), "--model", str(tmp_path / "tiny.safetensors"), "--backend", backend, "--device", "cpu"]
    subprocess.run([sys.executable, "-c", TORCH_FREE, *line], check=True)
    assert (photos / "photo-0_x4.png").exists()
