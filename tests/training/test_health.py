"""Faults are put into a run by hand: what must not move does not, and the run ends well or says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stopping import after
from superscale.data.degrade import bicubic_patch, context_px
from superscale.data.loader import Batch
from superscale.data.synthetic import synthetic_picture
from superscale.errors import TrainingError
from superscale.networks.discriminators import VGGStyleConfig
from superscale.networks.srresnet import SRResNetConfig
from superscale.training.loop import health
from superscale.training.loop import steps as training_steps
from superscale.training.loop import train as loop
from superscale.training.loop.stage_state import StageState
from superscale.training.recipe.schema import CheckpointConfig, HealthConfig, Recipe
from superscale.training.run.interval_means import IntervalMeans
from superscale.weights.checkpoint import load_model, load_state, saved_states

Tiny = Callable[..., Recipe]
NAN = float("nan")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def faults(run_dir: Path) -> list[dict[str, Any]]:
    """The diary but for verdicts, which so young a GAN deserves."""
    return [row for row in rows(run_dir / "health.jsonl") if row["event"] != "verdict"]


def states(run_dir: Path) -> list[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Oldest first."""
    return [load_state(folder) for folder in reversed(list(saved_states(run_dir / "checkpoints")))]


def finite(tensors: dict[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def spoil_inputs(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the low-res batch of these calls NaN, as a faulty memory would."""
    calls = iter(range(10**6))
    healthy = loop._Run._next

    def spoiled(*arguments: Any) -> Batch:
        batch = healthy(*arguments)
        return replace(batch, low_res=batch.low_res * NAN) if next(calls) in steps else batch

    monkeypatch.setattr(loop._Run, "_next", spoiled)


def spoil_one_gradient(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make one entry of the discriminator's gradient infinite at these calls; losses and the generator stay sound."""
    calls = iter(range(10**6))
    healthy = training_steps.discriminator_step

    def spoiled(discriminator: torch.nn.Module, *arguments: Any) -> dict[str, Tensor]:
        numbers = healthy(discriminator, *arguments)
        if next(discriminator.parameters()).is_meta:
            return numbers  # the look ahead at the whole run
        if next(calls) in steps:
            next(discriminator.parameters()).grad[0, 0, 0, 0] = float("inf")  # type: ignore[union-attr]
        return numbers

    monkeypatch.setattr(training_steps, "discriminator_step", spoiled)


@pytest.mark.parametrize(
    ("spoil", "what"), [(spoil_inputs, "pixel, adversarial, loss"), (spoil_one_gradient, "discriminator_gradient_norm")]
)
def test_a_step_that_is_not_finite_moves_nothing_and_is_told_with_its_patches(
    spoil: Callable[[pytest.MonkeyPatch, set[int]], None],
    what: str,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every step leaves a state: around the bad one, weights, averages, moments and batch-norm statistics are the same bits."""
    recipe = tiny(checkpoint={"every_images": 2, "keep": 100})
    recipe = replace(recipe, stage={"gan": recipe.stage["gan"]})
    spoil(monkeypatch, {4})
    loop.train(recipe, tmp_path / "run", quiet=True)
    saved = states(tmp_path / "run")
    assert [facts["images"] for _, facts in saved] == list(range(2, 17, 2))
    before, after, later = (saved[place][0] for place in (3, 4, 5))
    assert {key.split("/")[0] for key in before} == {
        *("generator", "average", "generator_optimizer", "discriminator", "discriminator_optimizer")
    }
    for key, tensor in before.items():
        assert torch.equal(after[key], tensor), key
    assert not torch.equal(later["generator/tail.weight"], before["generator/tail.weight"])
    assert all(finite(tensors) for tensors, _ in saved)
    (told,) = faults(tmp_path / "run")
    assert (told["event"], told["stage"], told["step"], told["patches"]) == ("skipped step", "gan", 4, [8, 9])
    assert all(photo.startswith("synthetic-") for photo in told["photos"])
    assert what in told["text"]
    assert [row["images"] for row in rows(tmp_path / "run" / "metrics.jsonl")] == [2, 4, 6, 8, 12, 14, 16]


def test_three_bad_steps_in_a_row_go_back_to_the_last_state_with_half_the_rate_which_a_resumed_run_keeps(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny()
    recipe = replace(recipe, stage={"psnr": recipe.stage["psnr"]})
    spoil_inputs(monkeypatch, {1, 3, 4, 5})
    loop.train(recipe, tmp_path / "run", quiet=True, stop=after(8))
    loop.train(recipe, tmp_path / "run", quiet=True)
    diary = faults(tmp_path / "run")
    assert [row["event"] for row in diary] == ["skipped step"] * 4 + ["rollback"]
    assert [row["step"] for row in diary[:4]] == [1, 3, 4, 5]
    metrics = rows(tmp_path / "run" / "metrics.jsonl")
    # The newest state lay at image 8, before the second of the three; from there on every step has half the rate.
    rates = [(row["images"], row["learning_rate"]) for row in metrics]
    assert rates == [(2, 1e-3), (6, 1e-3), (10, 5e-4), (12, 5e-4), (14, 5e-4), (16, 5e-4)]
    assert states(tmp_path / "run")[-1][1]["rollbacks"] == {"psnr": 1}
    assert finite(load_model(tmp_path / "run" / "model.safetensors").generator.state_dict())


def test_a_run_killed_before_the_first_save_after_going_back_ends_as_one_never_killed(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(checkpoint={"every_images": 4})
    recipe = replace(recipe, stage={"psnr": recipe.stage["psnr"]})

    class Killed(BaseException):
        pass

    def killed() -> bool:
        diary = tmp_path / "killed" / "health.jsonl"
        if diary.is_file() and "rollback" in diary.read_text():
            raise Killed
        return False

    for name, interruptions in (("whole", 0), ("killed", 1)):
        with monkeypatch.context() as patch:
            spoil_inputs(patch, {3, 4, 5})
            if interruptions:
                with pytest.raises(Killed):
                    loop.train(recipe, tmp_path / name, quiet=True, stop=killed)
            assert loop.train(recipe, tmp_path / name, quiet=True).finished
    (expected, facts), (got, _) = (states(tmp_path / name)[-1] for name in ("whole", "killed"))
    assert facts["rollbacks"] == {"psnr": 1}
    assert expected.keys() == got.keys()
    assert all(torch.equal(tensor, got[key]) for key, tensor in expected.items())


def test_weights_that_are_not_finite_are_never_saved_and_replaced_by_the_last_good_ones(
    tiny: Tiny, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault comes right before a validation and a save."""
    recipe = tiny(validation={"path": str(photos), "every_images": 4, "samples": 1})
    asked = iter(range(10**6))
    healthy = loop.pixel_step

    def spoiled(generator: torch.nn.Module, *arguments: Any) -> dict[str, Tensor]:
        numbers = healthy(generator, *arguments)
        if next(asked) == 3:
            with torch.no_grad():
                next(generator.parameters())[0, 0, 0, 0] = NAN
        return numbers

    monkeypatch.setattr(loop, "pixel_step", spoiled)
    assert loop.train(recipe, tmp_path / "run", quiet=True).finished
    (told,) = faults(tmp_path / "run")
    assert told["event"] == "rollback"
    assert "is not finite" in told["text"]
    assert all(finite(tensors) for tensors, _ in states(tmp_path / "run"))
    for name in ("model", "model-best-psnr", "model-best-gan"):
        assert finite(load_model(tmp_path / "run" / f"{name}.safetensors").generator.state_dict())


def remembered_states(monkeypatch: pytest.MonkeyPatch) -> list[StageState]:
    """Every stage's moving parts, as they are made."""
    made: list[StageState] = []
    begin = loop.begin_stage

    def remembering(*arguments: Any) -> StageState:
        made.append(begin(*arguments))
        return made[-1]

    monkeypatch.setattr(loop, "begin_stage", remembering)
    return made


@pytest.mark.parametrize("fault_at", [7, 8])
def test_a_rollback_brings_back_both_networks_both_optimizers_and_the_average_bit_for_bit(
    fault_at: int, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are ruined, before a save or between two; with the rate kept, the run ends as one that was never ruined."""
    recipe = replace(tiny(), health=HealthConfig(rate_factor=1.0))
    recipe = replace(recipe, stage={"gan": recipe.stage["gan"]})
    loop.train(recipe, tmp_path / "whole", quiet=True)
    made = remembered_states(monkeypatch)
    asked = iter(range(10**6))

    def ruin() -> bool:
        if next(asked) == fault_at:
            (state,) = made
            assert state.opponent is not None
            with torch.no_grad():
                for network in (*state.networks, state.average.network):
                    for tensor in (*network.parameters(), *network.buffers()):
                        tensor.copy_(torch.full_like(tensor, NAN if tensor.is_floating_point() else 99))
                for optimizer in (state.generator_optimizer, state.opponent.optimizer):
                    for moments in optimizer.state.values():
                        for moment in moments.values():
                            moment.fill_(7)
        return False

    assert loop.train(recipe, tmp_path / "ruined", quiet=True, stop=ruin).finished
    assert [row["event"] for row in faults(tmp_path / "ruined")][-1] == "rollback"
    assert len(made) == 2
    expected, got = (states(tmp_path / name)[-1] for name in ("whole", "ruined"))
    assert (expected[1]["rollbacks"], got[1]["rollbacks"]) == ({}, {"gan": 1})
    assert got[0].keys() == expected[0].keys()
    for key, tensor in expected[0].items():
        assert torch.equal(got[0][key], tensor), key
    expected_rows, got_rows = (rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "ruined"))
    assert [row["loss"] for row in got_rows] == [row["loss"] for row in expected_rows]


def test_a_run_that_never_stays_finite_stops_after_its_attempts_and_keeps_the_last_good_state(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(tiny(), health=HealthConfig(bad_in_a_row=2, rollbacks=2), checkpoint=CheckpointConfig(every_images=2))
    spoil_inputs(monkeypatch, set(range(3, 100)))
    with pytest.raises(TrainingError, match=r"stage psnr does not stay finite .* not at 0\.25 times its learning rate"):
        loop.train(recipe, tmp_path / "run", quiet=True)
    diary = faults(tmp_path / "run")
    assert [row["attempt"] for row in diary if row["event"] == "rollback"] == [1, 2]
    assert sum(row["event"] == "skipped step" for row in diary) == 3 * 2
    saved = states(tmp_path / "run")
    for tensors, _ in saved:
        assert finite(tensors)
        assert torch.equal(tensors["generator/tail.weight"], saved[0][0]["generator/tail.weight"])
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_means_are_of_the_good_steps_and_of_those_that_report_the_number() -> None:
    interval = IntervalMeans()
    steps = [({"d": 4.0}, True), ({"d": 1.0, "g": 2.0}, True), ({"d": NAN, "g": 1.0}, False), ({"d": 4.0, "g": 5.0}, True)]
    for numbers, good in steps:
        interval.add({name: torch.tensor(value) for name, value in numbers.items()}, torch.tensor(good))
    assert interval.take() == {"d": 3.0, "g": 3.5}
    assert interval.take() == {}


def test_sharpness_is_the_laplacian_by_hand() -> None:
    checkers = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    ramp = torch.arange(8.0)[None] * torch.ones(8, 1)
    assert health.sharpness(checkers.float().expand(2, 3, 8, 8)) == 4
    assert health.sharpness(ramp.expand(2, 3, 8, 8)) == 0


def test_the_truth_is_consistent_with_its_reduction_and_a_brighter_picture_is_not() -> None:
    margin = context_px(4)
    whole = torch.stack([torch.from_numpy(synthetic_picture(n, 64 + 2 * margin)).permute(2, 0, 1) for n in range(2)])
    low_res, high_res = bicubic_patch(whole, 4, "double")
    batch = Batch((0, 1), low_res / 255, high_res / 255)
    truth = health.signals(batch.high_res, batch, 4)
    assert truth["lr_psnr"] > 55, "only the 8 bits of the input are between them"
    assert truth["sharpness_ratio"] == 1
    brighter = health.signals(batch.high_res + 0.1, batch, 4)
    assert brighter["lr_psnr"] == pytest.approx(20, abs=0.1), "10 log10(1 / 0.1²)"
    assert brighter["sharpness_ratio"] == pytest.approx(1, abs=1e-3)
    assert health.signals(batch.high_res * NAN, batch, 4) == {}


def reports(count: int = 4, **columns: list[float]) -> list[dict[str, float]]:
    """A hand-made history of a GAN that is well, but for these columns."""
    well = {"accuracy_real": 0.8, "accuracy_fake": 0.8, "adversarial": 1.0, "lr_psnr": 38.0, "sharpness_ratio": 0.8}
    return [well | {name: values[place] for name, values in columns.items()} for place in range(count)]


RISING, FALLING = [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (reports(), None),
        (reports(accuracy_real=[1.0] * 4, accuracy_fake=[1.0] * 4, adversarial=RISING), "overpowers the generator"),
        (reports(accuracy_real=[1.0] * 4, accuracy_fake=[1.0] * 4, adversarial=FALLING), None),
        (reports(accuracy_real=[1.0] * 4, adversarial=RISING), None),
        (reports(accuracy_real=[1.0] * 4, accuracy_fake=[1.0] * 4, adversarial=[1.0, 1.02, 1.03, 1.05]), None),
        (
            reports(accuracy_real=[0.9, 0.2, 0.6, 0.5], accuracy_fake=[0.1, 0.8, 0.4, 0.5]),
            "has learnt nothing: it is right on 50 %",
        ),
        (reports(accuracy_real=[0.5, 0.5, 0.5, 0.9], accuracy_fake=[0.5] * 4), None),
        (reports(lr_psnr=[19.0, 15.0, 12.0, 9.0]), "the GAN has collapsed: its output, reduced again, is 9 dB"),
        (reports(lr_psnr=[19.0, 15.0, 12.0, 25.0]), None),
        (reports(sharpness_ratio=[2.5, 3.0, 3.5, 4.0]), "invents noise: its output is 4.0 times as sharp"),
        (reports(sharpness_ratio=[0.1] * 4), "blurs: its output has 10 %"),
        (reports(lr_psnr=[9.0] * 4)[1:], None),
        ([{"pixel": 0.1, "loss": 0.1}] * 4, None),
    ],
)
def test_a_verdict_is_plain_english_and_only_given_when_the_signs_last(
    history: list[dict[str, float]], words: str | None
) -> None:
    said = health.verdicts(history)
    if words is None:
        assert said == {}
    else:
        (sentence,) = said.values()
        assert words in sentence


def test_what_ails_the_game_does_not_hide_what_ails_the_picture() -> None:
    lost = {"accuracy_real": [1.0] * 4, "accuracy_fake": [1.0] * 4, "adversarial": RISING}
    assert list(health.verdicts(reports(**lost, lr_psnr=[9.0] * 4, sharpness_ratio=[3.0] * 4))) == [
        *("overpowered", "collapsed", "noise")
    ]


def verdicts(run_dir: Path) -> list[str]:
    path = run_dir / "health.jsonl"
    return [row["text"] for row in rows(path) if row["event"] == "verdict"] if path.exists() else []


def gan_run(recipe: Recipe, generator_rate: float, discriminator_rate: float) -> Recipe:
    """A GAN stage of 24 steps that is reported on every second, from a generator that interpolates; no norm in the judge."""
    gan = recipe.stage["gan"]
    assert gan.adversarial is not None
    judge = VGGStyleConfig(features=8, hidden=16, spectral_norm=False)
    adversarial = replace(gan.adversarial, loss="standard", learning_rate=discriminator_rate, discriminator=judge)
    gan = replace(gan, images=96, learning_rate=generator_rate, adversarial=adversarial)
    generator = SRResNetConfig(features=8, blocks=1, batch_norm=False)
    data = replace(recipe.data, batch=4)
    return replace(recipe, report_every_images=8, generator=generator, data=data, stage={"gan": gan})


def test_a_discriminator_that_overpowers_a_generator_which_cannot_answer_is_told(tiny: Tiny, tmp_path: Path) -> None:
    """The fault: the generator's rate is nothing, the discriminator's is large."""
    recipe = gan_run(tiny(), generator_rate=1e-20, discriminator_rate=2e-3)
    loop.train(recipe, tmp_path / "run", quiet=True)
    said = verdicts(tmp_path / "run")
    assert [text for text in said if "the discriminator overpowers the generator" in text] == said[-1:]
    assert not any("collapsed" in text for text in said)


def test_a_generator_that_has_collapsed_to_one_picture_is_told(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: from step 6 on the generator's last layer is zero, so that every picture comes out black."""
    recipe = gan_run(tiny(), generator_rate=1e-20, discriminator_rate=1e-4)
    made = remembered_states(monkeypatch)
    asked = iter(range(10**6))

    def collapse() -> bool:
        if next(asked) == 6:
            for parameter in made[0].generator.get_submodule("tail").parameters():
                torch.nn.init.zeros_(parameter)
        return False

    loop.train(recipe, tmp_path / "run", quiet=True, stop=collapse)
    consistency = [row["lr_psnr"] for row in rows(tmp_path / "run" / "metrics.jsonl")]
    assert min(consistency[:3]) > 20 > max(consistency[3:])
    assert sum("the GAN has collapsed: its output, reduced again" in text for text in verdicts(tmp_path / "run")) == 1


def test_a_gan_stage_reports_its_signs_and_says_once_what_they_mean(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny()
    gan = recipe.stage["gan"]
    assert gan.adversarial is not None
    frozen = replace(gan, images=32, adversarial=replace(gan.adversarial, learning_rate=1e-20))
    loop.train(replace(recipe, report_every_images=4, stage={"gan": frozen}), tmp_path / "run", quiet=True)
    reported = rows(tmp_path / "run" / "metrics.jsonl")
    told = verdicts(tmp_path / "run")
    meant = [health.verdicts(reported[:count]) for count in range(len(reported) + 1)]
    lasting = [name for name in meant[-1] if name in meant[-2]]
    begun = [said[name] for before, said in pairwise(meant) for name in said if name not in before]
    assert told == [f"gan: {sentence}" for sentence in begun]
    assert lasting, "something lasts, and is not told again"
    for row in reported:
        assert {"gradient_norm", "discriminator_gradient_norm", "accuracy_real", "lr_psnr", "sharpness_ratio"} <= row.keys()
        assert 0 < row["discriminator_gradient_norm"] < 100
