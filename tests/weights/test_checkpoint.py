from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from superscale.errors import CheckpointError, ModelError, UnknownNameError
from superscale.networks.catalog import build_generator
from superscale.networks.generator import Generator
from superscale.weights.checkpoint import load_model, load_state, save_model, save_state, saved_states
from superscale.weights.store import find_model

OPTIONS: dict[str, Any] = {"blocks": 1, "features": 8}


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return build_generator("srresnet", OPTIONS).eval()


def test_a_model_file_describes_itself(generator: Generator, tmp_path: Path) -> None:
    card = {"recipe": "test", "images_seen": 12, "licence": "Apache-2.0 – ×"}
    save_model(tmp_path / "m.safetensors", generator, card)
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.card == card
    low_res = torch.rand(1, 3, 7, 9)
    torch.testing.assert_close(loaded.generator(low_res), generator(low_res), rtol=0, atol=0)
    assert not loaded.generator.training


def test_two_processes_write_the_same_bytes_and_a_reader_of_safetensors_sees_the_same_weights(tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from superscale.networks.catalog import build_generator\n"
        "from superscale.weights.checkpoint import save_model\n"
        "torch.manual_seed(0)\n"
        "generator = build_generator('srresnet', {'blocks': 1, 'features': 8})\n"
        "for number in range(4):\n"
        "    save_model(f'{sys.argv[1]}-{number}', generator, {'licence': '×', 'recipe': 'r'}, half=True)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True)
    files = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(files) == 1
    (file,) = files
    assert int.from_bytes(file[:8], "little") % 8 == 0
    model = load_model(tmp_path / "1-0")
    assert model.card == {"licence": "×", "recipe": "r"}
    for key, tensor in load(file).items():
        torch.testing.assert_close(tensor.float(), model.generator.state_dict()[key].float(), rtol=0, atol=0)


def test_a_model_saved_again_has_the_same_bytes_and_a_sorted_header(tmp_path: Path) -> None:
    for name, options in (("srresnet", {"blocks": 1, "features": 8}), ("compact", {"features": 4, "activation": "relu"})):
        first, again = tmp_path / f"{name}-1", tmp_path / f"{name}-2"
        save_model(first, build_generator(name, options), {"recipe": "r", "licence": "l", "images_seen": 3})
        model = load_model(first)
        save_model(again, model.generator, dict(reversed(model.card.items())))
        assert first.read_bytes() == again.read_bytes()
        length = int.from_bytes(first.read_bytes()[:8], "little")
        header = json.loads(first.read_bytes()[8 : 8 + length])
        metadata = list(header.pop("__metadata__"))
        assert metadata == sorted(metadata)
        # The tensors as they lie in the file: those of larger samples first, then by name.
        assert list(header) == sorted(header, key=lambda key: header[key]["data_offsets"])
        floats = [key for key, entry in header.items() if entry["dtype"] == "F32"]
        assert floats == sorted(floats)


def test_half_precision_halves_the_file_and_hardly_moves_the_output(generator: Generator, tmp_path: Path) -> None:
    for name, half in (("full", False), ("half", True)):
        save_model(tmp_path / name, generator, {}, half=half)
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    low_res = torch.rand(1, 3, 8, 8)
    difference = load_model(tmp_path / "half").generator(low_res) - generator(low_res)
    assert difference.abs().max() < 0.5 / 255


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(generator: Generator, tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", generator, {})
    generator.tail.weight.data[0, 0, 0, 0] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(ModelError, match=r"tail\.weight is not finite"):
        save_model(tmp_path / "m.safetensors", generator, {})
    load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_damaged_file_is_one_clear_error(cut: int, generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, generator, {})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"m\.safetensors"):
        load_model(path)


def test_missing_left_over_and_misshapen_tensors_are_refused(generator: Generator, tmp_path: Path) -> None:
    save_model(tmp_path / "good", generator, {})
    from safetensors import safe_open

    with safe_open(tmp_path / "good", "pt") as file:
        metadata = file.metadata()
    whole = generator.state_dict()
    cases = {
        "1 tensors missing": {key: value for key, value in whole.items() if key != "tail.bias"},
        "1 unexpected": {**whole, "extra": torch.zeros(1)},
        r"expected \(3,\)": {**whole, "tail.bias": torch.zeros(4)},
        "not finite": {**whole, "tail.bias": torch.full((3,), float("inf"))},
    }
    for match, tensors in cases.items():
        save_file(tensors, tmp_path / "bad.safetensors", metadata)
        with pytest.raises(ModelError, match=match):
            load_model(tmp_path / "bad.safetensors")


def test_names_that_are_neither_bundled_nor_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        find_model("srgan-x5")
    with pytest.raises(ModelError, match="no such file"):
        find_model(tmp_path / "none.safetensors")


def test_a_training_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"a/b": torch.randn(3, 4), "step": torch.tensor(7), "half": torch.randn(2).bfloat16()}
    save_state(tmp_path / "step-1", tensors, {"images": 5})
    loaded, facts = load_state(tmp_path / "step-1")
    assert facts == {"images": 5}
    assert loaded.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert loaded[key].dtype == tensor.dtype
        assert torch.equal(loaded[key], tensor)


@pytest.mark.parametrize("part", ["state.safetensors", "state.json", "manifest.json"])
def test_a_damaged_or_partial_state_is_recognised(part: str, tmp_path: Path) -> None:
    folder = tmp_path / "step-1"
    save_state(folder, {"a": torch.zeros(4)}, {})
    data = bytearray((folder / part).read_bytes())
    data[-2] ^= 1
    (folder / part).write_bytes(data)
    with pytest.raises(CheckpointError):
        load_state(folder)
    (folder / part).unlink()
    with pytest.raises(CheckpointError, match="not a whole"):
        load_state(folder)


def test_a_full_disk_keeps_the_previous_state_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path / "step-1", {"a": torch.zeros(4)}, {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_state(tmp_path / "step-2", {"a": torch.zeros(4)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert [path.name for path in saved_states(tmp_path)] == ["step-1"]
    assert json.loads((tmp_path / "step-1" / "manifest.json").read_text())["version"] == 1
