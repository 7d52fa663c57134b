from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch

from superscale.errors import ModelError
from superscale.inference.upscaler import Upscaler
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe
from superscale.weights.runs import read_run
from superscale.weights.store import find_model, model_path

PSNR = {"learning_rate": 1e-3, "pixel": {}}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(find_model(path).generator.state_dict())


def test_a_run_that_goes_on_is_the_model_that_it_would_end_with_now(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    ended, going_on = tmp_path / "ended", tmp_path / "going-on"
    train(tiny(stage={"psnr": PSNR | {"images": 8}}), ended, device="cpu", quiet=True)
    asked = count(1)
    result = train(
        tiny(stage={"psnr": PSNR | {"images": 16}}), going_on, device="cpu", quiet=True, stop=lambda: next(asked) > 4
    )
    assert not result.finished
    now, at_the_end = weights(going_on), weights(ended)
    assert read_run(going_on).card["training"] == "not ended: the average at image 8 of stage number 0, counted from 0"
    assert all(torch.equal(now[key], tensor) for key, tensor in at_the_end.items())
    assert Upscaler(going_on, device="cpu").contract.scale == 4
    assert model_path(ended) == ended / "model.safetensors"


def test_damaged_states_are_passed_over_and_a_folder_without_one_is_no_model(
    tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    asked = count(1)
    train(tiny(), run, device="cpu", quiet=True, stop=lambda: next(asked) > 4)
    newest, older = sorted((run / "checkpoints").iterdir(), reverse=True)
    (newest / "state.json").write_text("{}")
    assert f"image {int(older.name[5:])} " in read_run(run).card["training"]
    (older / "state.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="no training state of it is whole"):
        find_model(run)
    with pytest.raises(ModelError, match="expected a model file, or a training run"):
        find_model(tmp_path)
