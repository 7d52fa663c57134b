"""Two gloo processes against one: facts, batch norms, gradients of the game, a whole training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import game
import pytest
import torch
from launch import two_processes
from safetensors.torch import load_file
from torch import Tensor
from worker import BATCH_NORM_INPUT, tiny

from conftest import alone
from superscale.data.pairs import PairFolder
from superscale.evaluation.benchmark import benchmark
from superscale.image.pixels import to_float, to_pixels
from superscale.training.loop.train import train
from superscale.weights.checkpoint import load_model, load_state, saved_states


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_facts_come_to_all_in_order_of_rank_to_the_last_digit(together: Path) -> None:
    for rank in range(2):
        found = json.loads((together / f"facts-{rank}.json").read_text())
        assert found["gathered"] == [{"rank": r, "text": "é" * r, "third": 1 / 3, "infinite": float("inf")} for r in range(2)]
        assert found["in_order"] == [number / 7 for number in range(5)]
        assert found["one_flag"] is True
        assert found["no_flag"] is False
        assert found["means"] == {"loss": 1.5, "bad": pytest.approx(float("nan"), nan_ok=True)}


def test_weights_that_drift_apart_are_an_error_at_every_process(together: Path) -> None:
    for rank in range(2):
        assert "drifted apart" in json.loads((together / f"facts-{rank}.json").read_text())["drifted"]


def test_batch_norm_over_two_processes_is_torchs_over_the_whole_batch(together: Path) -> None:
    torch.manual_seed(2)
    features = torch.rand(BATCH_NORM_INPUT, dtype=torch.float64).requires_grad_()
    norm = torch.nn.Sequential(torch.nn.BatchNorm2d(3).double())
    out = norm(features)
    (out**3).mean().backward()
    assert features.grad is not None
    for rank in range(2):
        got = load_file(together / f"norms-{rank}.safetensors")
        torch.testing.assert_close(got["out"], out.detach()[rank::2])
        # A process's own loss is a mean over half the batch: its input's gradient is twice that of the whole.
        torch.testing.assert_close(got["features"], 2 * features.grad[rank::2])
        for name, tensor in [*((n, p.grad) for n, p in norm.named_parameters()), *norm.named_buffers()]:
            torch.testing.assert_close(got[name], tensor, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", game.DISCRIMINATORS)
def test_two_halves_of_a_batch_leave_both_players_the_gradients_of_the_whole(name: str, together: Path) -> None:
    players = game.networks(name)
    game.play(*players, *game.pictures(), torch.mean)
    expected = game.outcome(players)
    for rank in range(2):
        got = load_file(together / f"{name}-{rank}.safetensors")
        assert got.keys() == expected.keys()
        for key, tensor in expected.items():
            # Logits are handed on in fp32.
            torch.testing.assert_close(got[key], tensor, rtol=1e-4, atol=1e-7, msg=lambda text, key=key: f"{key}: {text}")


def newest(run_dir: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return load_state(next(saved_states(run_dir / "checkpoints")))


def rows(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Each network's parameters, and each kind of moment, together differ by less than 1e-4 of their norm.

    Not each tensor: the last bias of a discriminator has no gradient in a relativistic loss but for rounding, which Adam
    brings to full size.
    """
    assert got.keys() == expected.keys()
    kinds = {key: key.split("/")[0] + (key.rpartition(".")[2] if "optimizer" in key else "") for key in expected}
    for kind in set(kinds.values()):
        keys = [key for key in expected if kinds[key] == kind]
        ours, theirs = (torch.cat([tensors[key].double().flatten() for key in keys]) for tensors in (got, expected))
        assert torch.linalg.norm(ours - theirs) <= 1e-4 * torch.linalg.norm(theirs), kind


def test_two_ranks_with_batch_b_train_as_one_with_batch_2b(together: Path, one: Path) -> None:
    models = [load_model(run / "model.safetensors").generator.state_dict() for run in (together / "whole", one)]
    close(*({f"model/{key}": tensor for key, tensor in model.items()} for model in models))
    (got, facts), (expected, expected_facts) = newest(together / "whole"), newest(one)
    assert facts["images"] == expected_facts["images"] == 16
    assert facts["steps"] == expected_facts["steps"] == 4
    close(got, expected)


def test_two_ranks_move_by_muon_as_one_with_batch_2b(together: Path) -> None:
    """Losses and validations; the weights of the two are compared at every save of theirs. Not with those of the one: the
    iterations bring the smallest singular values, which are rounding, to full size.
    """
    recipe = tiny(together)
    recipe = replace(recipe, stage={name: replace(stage, optimizer="muon") for name, stage in recipe.stage.items()})
    both, one_alone = rows(together / "muon"), rows(alone(recipe, together / "muon-one"))
    assert len(both) == len(one_alone)
    for got, expected in zip(both, one_alone, strict=True):
        for name in {"pixel", "adversarial", "discriminator", "validation_psnr"} & expected.keys():
            assert got[name] == pytest.approx(expected[name], rel=1e-3), name


def test_what_is_written_are_means_over_all_processes(together: Path, one: Path) -> None:
    both, alone = rows(together / "whole"), rows(one)
    assert len(both) == len(alone)
    for got, expected in zip(both, alone, strict=True):
        # The first two are of the last batch only, and of the first process's part of it; the others are of the clock.
        for row in (got, expected):
            for name in ("lr_psnr", "sharpness_ratio", "images_per_second", "data_wait"):
                row.pop(name, None)
        assert got.keys() == expected.keys()
        assert got.pop("stage") == expected.pop("stage")
        assert got == pytest.approx(expected, rel=1e-3)


def test_a_stop_at_one_process_stops_all_after_the_same_step(together: Path) -> None:
    assert [json.loads((together / f"stopped-{rank}.json").read_text()) for rank in range(2)] == [36, 36]


def test_one_process_goes_on_in_the_data_where_two_were_stopped(together: Path, one: Path) -> None:
    recipe = tiny(together)
    recipe = replace(recipe, data=replace(recipe.data, batch=2 * recipe.data.batch))
    shutil.copytree(together / "stopped", together / "resumed")
    assert newest(together / "resumed")[1]["images"] == 12
    assert train(recipe, together / "resumed", quiet=True).finished
    close(newest(together / "resumed")[0], newest(one)[0])


def test_validation_in_shares_is_validation_by_one_to_the_last_digit(together: Path) -> None:
    network = load_model(together / "whole" / "model.safetensors").generator.to(memory_format=torch.channels_last)
    pairs = PairFolder(together / "photos", 4)

    def upscale(low_res: Any) -> Any:
        return to_pixels(network(torch.from_numpy(to_float(low_res))[None])[0])

    expected = benchmark(upscale, pairs, model="", data="", metrics=("psnr", "ssim"), border=4, color="y")
    last = [row for row in rows(together / "whole") if "validation_psnr" in row][-1]
    assert last["images"] == 16
    assert [last["validation_psnr"], last["validation_ssim"]] == [row.mean for row in expected]


def test_every_process_validates_its_own_pictures(together: Path) -> None:
    """Five, in turns; the first process also draws the sheet, of the first."""
    assert [json.loads((together / f"read-{rank}.json").read_text()) for rank in range(2)] == [[0, 2, 4], [1, 3]]


def test_a_step_that_is_not_finite_at_one_process_moves_nothing_at_either(together: Path) -> None:
    (event,) = [json.loads(line) for line in (together / "poisoned" / "health.jsonl").read_text().splitlines()]
    assert event["step"] == 1
    assert event["patches"] == [4, 5, 6, 7]
    tensors, facts = newest(together / "poisoned")
    assert facts["steps"] == 3
    assert tensors["generator_optimizer/0.step"] == 2


@pytest.mark.slow
def test_a_process_that_fails_takes_the_others_with_it(material: Path) -> None:
    codes, said = two_processes("failing", material)
    assert codes == [1, 1], said
    assert "this process fails on purpose" in said
    assert "process 0 of 2 has lost the others" in said
    assert newest(material / "failing")[1]["images"] > 0
