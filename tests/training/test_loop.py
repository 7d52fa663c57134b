from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from stopping import after
from superscale.data.pairs import PairFolder
from superscale.data.prepare import prepare_synthetic
from superscale.errors import Cancelled, DataError, RecipeError
from superscale.image.captions import BAND_PX
from superscale.machine import processes
from superscale.networks.catalog import build_generator, generator_of
from superscale.networks.rrdbnet import RRDBNetConfig
from superscale.training.loop import train as loop
from superscale.training.loop.ema import ExponentialMovingAverage
from superscale.training.loop.preflight import preflight
from superscale.training.loop.steps import pixel_step
from superscale.training.loop.train import _Run, train
from superscale.training.loop.validation import validate
from superscale.training.recipe.schema import CheckpointConfig, Recipe, ValidationConfig, load_recipe
from superscale.weights.checkpoint import load_model, load_state, save_model, saved_states


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(
        "smoke", ["stage.psnr.images=48", "stage.gan.images=32", "checkpoint.every_images=16", "report_every_images=4"]
    )


def rows(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).generator.state_dict()


def test_both_stages_run_and_leave_a_whole_run_directory(recipe: Recipe, tmp_path: Path, photos: Path) -> None:
    recipe = replace(recipe, validation=ValidationConfig(path=str(photos), every_images=16, samples=2))
    result = train(recipe, tmp_path / "run", quiet=True)
    assert result.finished
    assert result.images == 80
    stages = {row["stage"] for row in rows(tmp_path / "run")}
    assert stages == {"psnr", "gan"}
    last = [row for row in rows(tmp_path / "run") if "discriminator" in row][-1]
    assert {"pixel", "perceptual", "adversarial", "accuracy_real", "accuracy_fake", "gradient_norm"} <= last.keys()
    assert any("validation_psnr" in row for row in rows(tmp_path / "run"))
    assert load_recipe(str(tmp_path / "run" / "recipe.toml")) == recipe
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["torch"] == torch.__version__
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    assert len(list(saved_states(tmp_path / "run" / "checkpoints"))) == recipe.checkpoint.keep
    assert load_model(result.model).card["images_seen"] == 80  # type: ignore[arg-type]


def test_the_sample_sheet_shows_bicubic_output_and_truth(recipe: Recipe, tmp_path: Path, photos: Path) -> None:
    recipe = replace(recipe, validation=ValidationConfig(path=str(photos), every_images=48, samples=2))
    train(recipe, tmp_path / "run", quiet=True)
    sheet = np.asarray(PillowImage.open(sorted((tmp_path / "run" / "samples").glob("*.png"))[-1]).convert("RGB"))
    truth = np.asarray(PillowImage.open(photos / "photo-0.png"))[:, 8:104]
    assert sheet.shape == (BAND_PX + 2 * 100, 3 * 196, 3)
    captions, sheet = sheet[:BAND_PX], sheet[BAND_PX:]
    assert all((captions[:, left : left + 60] < 128).any() for left in (0, 196, 392))
    np.testing.assert_array_equal(sheet[:96, 392:488], truth)
    assert np.abs(sheet[:96, :96].astype(int) - truth).mean() < 40, "bicubic resembles the truth"


@pytest.mark.parametrize("stop_at", [3, 13, 17])
def test_a_stopped_run_goes_on_to_bitwise_the_same_weights(stop_at: int, recipe: Recipe, tmp_path: Path) -> None:
    whole = train(recipe, tmp_path / "whole", quiet=True)
    stopped = train(recipe, tmp_path / "parts", stop=after(stop_at), quiet=True)
    assert not stopped.finished
    assert stopped.model is None
    resumed = train(recipe, tmp_path / "parts", quiet=True)
    assert resumed.finished
    for key, tensor in weights(whole.model).items():  # type: ignore[arg-type]
        assert torch.equal(weights(resumed.model)[key], tensor), key  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["real_x4", pytest.param("real_rrdb_x4", marks=pytest.mark.slow)])
def test_a_small_real_world_run_goes_on_to_bitwise_the_same_weights(name: str, tmp_path: Path) -> None:
    generator = ["features=8", "convolutions=1"] if name == "real_x4" else ["features=8", "blocks=1", "growth_channels=4"]
    overrides = [
        *(f"generator.{option}" for option in generator),
        "data.path=synthetic",
        "data.patch_px=32",
        "data.batch=2",
        "stage.psnr.images=4",
        "stage.gan.images=6",
        "stage.gan.perceptual.network=vgg19-random",
        "stage.gan.perceptual.layers={conv1_2=1.0}",
        "stage.gan.adversarial.discriminator.features=4",
    ]
    recipe = load_recipe(name, overrides)
    whole = train(recipe, tmp_path / "whole", quiet=True)
    stopped = train(recipe, tmp_path / "parts", stop=after(4), quiet=True)
    assert not stopped.finished
    resumed = train(recipe, tmp_path / "parts", quiet=True)
    for key, tensor in weights(whole.model).items():  # type: ignore[arg-type]
        assert torch.equal(weights(resumed.model)[key], tensor), key  # type: ignore[arg-type]
    last = [row for row in rows(tmp_path / "whole") if "discriminator" in row][-1]
    assert all(np.isfinite(last[key]) for key in ("pixel", "perceptual", "adversarial", "discriminator", "loss"))


def test_a_damaged_state_is_named_and_passed_over_for_the_one_before(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe, tmp_path / "run", stop=after(11), quiet=True)
    newest, older = list(saved_states(tmp_path / "run" / "checkpoints"))[:2]
    (newest / "state.safetensors").write_bytes(b"damaged")
    images = load_state(older)[1]["images"]
    assert images < 40
    whole = train(recipe, tmp_path / "whole", quiet=True)
    resumed = train(recipe, tmp_path / "run")
    said = capsys.readouterr().err
    assert f"passed over: {newest}: state.safetensors is damaged" in said
    assert f"going on with stage psnr at image {images}" in said
    for key, tensor in weights(whole.model).items():  # type: ignore[arg-type]
        assert torch.equal(weights(resumed.model)[key], tensor)  # type: ignore[arg-type]


def test_the_gan_stage_starts_from_the_average_of_the_stage_before(recipe: Recipe, tmp_path: Path) -> None:
    """With the discriminator alone for the whole second stage, the generator ends as the first stage left its average."""
    gan = recipe.stage["gan"]
    assert gan.adversarial is not None
    waiting = replace(gan, adversarial=replace(gan.adversarial, alone_images=gan.images))
    both = train(replace(recipe, stage={"psnr": recipe.stage["psnr"], "gan": waiting}), tmp_path / "both", quiet=True)
    first = train(replace(recipe, stage={"psnr": recipe.stage["psnr"]}), tmp_path / "first", quiet=True)
    for key, tensor in weights(first.model).items():  # type: ignore[arg-type]
        assert torch.equal(weights(both.model)[key], tensor)  # type: ignore[arg-type]


def test_each_stage_computes_in_its_own_precision(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    psnr = replace(recipe.stage["psnr"], images=16)
    recipe = replace(recipe, precision="bf16", stage={"psnr": psnr, "polish": replace(psnr, precision="fp32")})
    computed: list[torch.dtype] = []

    def watched(generator: Any, *rest: Any) -> Any:
        hook = generator.head.register_forward_hook(lambda *call: computed.append(call[2].dtype))
        numbers = pixel_step(generator, *rest)
        hook.remove()
        return numbers

    monkeypatch.setattr(loop, "pixel_step", watched)
    train(recipe, tmp_path / "run", device="cpu", quiet=True)
    steps = 16 // recipe.data.batch
    assert computed == [torch.bfloat16] * steps + [torch.float32] * steps


def test_training_starts_from_a_given_model(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(9)
    assert recipe.generator is not None
    generator = generator_of(recipe.generator)
    save_model(tmp_path / "start.safetensors", generator, {})
    overrides = [
        f"stage.start={str(tmp_path / 'start.safetensors')!r}",
        "stage.psnr.learning_rate=1e-12",
        "stage.psnr.images=4",
    ]
    recipe = load_recipe("smoke", overrides)
    result = train(replace(recipe, stage={"psnr": recipe.stage["psnr"]}), tmp_path / "run", quiet=True)
    for key, tensor in weights(result.model).items():  # type: ignore[arg-type]
        torch.testing.assert_close(tensor, generator.state_dict()[key], atol=1e-6, rtol=0)


def test_a_step_reads_no_number_back_from_its_device(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer stage reads no more numbers than a short one, reports, states and the look every 16 steps of a GPU aside.

    RRDBNet, since the PReLU of SRResNet has a way of its own on CPUs; whether to stop is no number of the device.
    """
    read: list[str] = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "__index__"):
        whole = getattr(torch.Tensor, name)

        def noted(tensor: torch.Tensor, *arguments: Any, name: str = name, whole: Any = whole) -> Any:
            read.append(name)
            return whole(tensor, *arguments)

        monkeypatch.setattr(torch.Tensor, name, noted)
    monkeypatch.setattr(_Run, "_read_faults", lambda *_: None)
    monkeypatch.setattr(processes, "anywhere", bool)
    generator = RRDBNetConfig(features=4, growth_channels=2, blocks=1)
    recipe = replace(recipe, generator=generator, report_every_images=10**6, checkpoint=CheckpointConfig(every_images=10**6))
    counts = {}
    for steps in (3, 9):
        read.clear()
        stages = {name: replace(stage, images=steps * recipe.data.batch) for name, stage in recipe.stage.items()}
        assert train(replace(recipe, stage=stages), tmp_path / str(steps), quiet=True).finished
        counts[steps] = Counter(read)
    assert counts[3].total() > 0, "reports and states do read"
    assert counts[9] == counts[3]


def test_a_stop_is_heeded_in_the_midst_of_a_validation_picture(recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    network = build_generator("rrdbnet", {"blocks": 1, "features": 4, "growth_channels": 2})
    ended: list[bool] = []
    network.register_forward_hook(lambda *_: ended.append(True))
    asked = iter(range(10**6))
    with pytest.raises(Cancelled):
        validate(network, PairFolder(photos, 4), recipe, torch.device("cpu"), tmp_path / "sheet.png", lambda: next(asked) == 5)
    assert not ended
    assert not (tmp_path / "sheet.png").exists()
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_max_time_stops_and_saves(recipe: Recipe, tmp_path: Path) -> None:
    result = train(recipe, tmp_path / "run", max_seconds=0, quiet=True)
    assert not result.finished


@pytest.mark.parametrize(
    ("overrides", "error", "match"),
    [
        (["data.path=''"], RecipeError, "no training data"),
        (["data.path='/nowhere'"], DataError, "nowhere"),
        (["data.patch_px=50"], DataError, "multiple of the scale"),
        (["data.low_res=stored"], DataError, "low_res"),
        (["stage.gan.perceptual.network=vgg91"], RecipeError, "vgg19"),
        (["validation.path='/nowhere'"], DataError, "nowhere"),
    ],
)
def test_what_does_not_fit_is_an_error_before_the_first_step(
    overrides: list[str], error: type[Exception], match: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=match):
        train(load_recipe("smoke", overrides), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_all_that_keeps_a_pack_from_being_trained_on_is_said_at_once_as_the_look_ahead_says_it(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=4, side_px=40)
    recipe = load_recipe("smoke", [f"data.path={str(tmp_path / 'pack')!r}", "data.patch_px=50", "data.low_res=stored"])
    with pytest.raises(DataError) as error:
        train(recipe, tmp_path / "run", quiet=True)
    problems = str(error.value).splitlines()
    for text in ("multiple of the scale", "4 of 4 sub-images are smaller", "stores low_res"):
        assert any(text in problem for problem in problems), text
    assert preflight(recipe, tmp_path / "other", "cpu").problems == problems


def test_the_average_is_the_formula_and_copies_buffers() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = ExponentialMovingAverage(network, 0.9)
    before = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight.add_(1)
    network(torch.randn(8, 2))
    average.update(network, steps=1000)
    torch.testing.assert_close(average.network[0].weight, 0.9 * before + 0.1 * network[0].weight)
    torch.testing.assert_close(average.network[1].running_mean, network[1].running_mean)
    assert average.network[1].num_batches_tracked == 1
