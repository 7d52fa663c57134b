"""Networks of one, four and more channels are trained, validated, saved, loaded and used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from skimage.metrics import peak_signal_noise_ratio

from superscale.data.draws import DegradationConfig
from superscale.data.loader import load_batch, to_device
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare, prepare_synthetic
from superscale.data.resident import ResidentPack
from superscale.data.synthetic import synthetic_picture
from superscale.errors import RecipeError, UsageError
from superscale.image.io import read_image
from superscale.image.resize import imresize
from superscale.inference.upscaler import Upscaler
from superscale.losses.perceptual import PerceptualLoss
from superscale.metrics.features import FEATURE_NETWORKS, FeatureNetwork
from superscale.training.loop.preflight import preflight
from superscale.training.loop.rehearsal import rehearse
from superscale.training.loop.train import train
from superscale.training.loop.validation import validate, validation_pairs
from superscale.training.recipe.schema import Recipe, load_recipe
from superscale.weights.store import find_model

CPU = torch.device("cpu")
NETWORK = {"name": "srresnet", "features": 4, "blocks": 1, "batch_norm": False}

OPPONENT = {"name": "vgg", "features": 2, "hidden": 4}


def deep(number: int, channels: int, side: int = 64) -> np.ndarray:
    """A drawn picture in 16 bits, with levels that 8 bits do not have."""
    picture = synthetic_picture(number, side)[..., np.arange(channels) % 3].astype(np.uint16)
    return picture * 250 + 7 * np.arange(channels, dtype=np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    def make(channels: int) -> Path:
        place = tmp_path / f"photos{channels}"
        place.mkdir()
        for number in range(2):
            planar = None if channels == 1 else "contig"
            tifffile.imwrite(
                place / f"{number}.tif", deep(number, channels).squeeze(), photometric="minisblack", planarconfig=planar
            )
        return place

    return make


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_of_n_channels_goes_the_whole_way(
    channels: int, folder: Callable[[int], Path], tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    photos = folder(channels)
    recipe = tiny(
        generator=NETWORK | {"channels": channels},
        data={"path": str(photos), "patch_px": 32, "batch": 2},
        validation={"path": str(photos), "every_images": 16},
        stage={
            "psnr": {"images": 4, "pixel": {}},
            "gan": {"images": 4, "pixel": {}, "adversarial": {"discriminator": OPPONENT}},
        },
    )
    assert preflight(recipe, tmp_path / "run", "cpu").problems == []
    result = train(recipe, tmp_path / "run", device="cpu", quiet=True)
    assert result.model is not None
    assert find_model(str(result.model)).generator.contract.channels == channels
    manifest = Pack(tmp_path / "run" / "pack").manifest
    assert (manifest.dtype, manifest.channels) == ("uint16", channels)
    upscaler = Upscaler(result.model, device="cpu")
    larger = upscaler.enlarge(read_image(photos / "0.tif"))
    assert (larger.pixels.shape, larger.pixels.dtype) == ((256, 256, channels), np.uint16)


def test_a_dry_run_of_grey_or_bands_passes(folder: Callable[[int], Path], tmp_path: Path) -> None:
    overrides = ["generator.channels=1", "data.batch=1", "generator.blocks=1"]
    assert len(rehearse(load_recipe("smoke", overrides), tmp_path / "run", "cpu")) == 2


def test_what_knows_only_grey_and_rgb_is_refused_for_bands_by_its_key() -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("smoke", ["generator.channels=4", "stage.psnr.lines_weight=0.1", "data.patch_px=96"])
    assert [problem.split(" knows")[0] for problem in error.value.problems] == [
        "stage.psnr.lines_weight",
        "stage.gan.perceptual",
    ]
    with pytest.raises(RecipeError, match=r"discriminator\.channels is 2, but the generator's are 1"):
        load_recipe("smoke", ["generator.channels=1", "stage.gan.adversarial.discriminator.channels=2"])


def test_a_pack_of_other_channels_is_refused_and_grey_is_repeated_for_rgb(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    prepare_synthetic(tmp_path / "rgb", count=2, side_px=48)
    prepare_synthetic(tmp_path / "grey", count=2, side_px=48, channels=1)
    recipe = tiny(generator=NETWORK | {"channels": 1}, data={"path": str(tmp_path / "rgb"), "patch_px": 32, "batch": 2})
    (problem,) = preflight(recipe, tmp_path / "run", "cpu").problems
    assert "holds pictures of 3 channels, the generator takes 1" in problem
    recipe = tiny(data={"path": str(tmp_path / "grey"), "patch_px": 32, "batch": 2})
    assert preflight(recipe, tmp_path / "run", "cpu").problems == []
    plan = PatchPlan(Pack(tmp_path / "grey"), scale=4, patch_px=32, seed=0)
    batch = to_device(load_batch(plan, (0, 1)), CPU, 4, "double", 3)
    assert (batch.low_res.shape, batch.high_res.shape) == ((2, 3, 8, 8), (2, 3, 32, 32))
    assert torch.equal(batch.high_res[:, 0], batch.high_res[:, 2])


def test_16_bit_patches_reach_training_with_all_their_levels(folder: Callable[[int], Path], tmp_path: Path) -> None:
    prepare(folder(1), tmp_path / "pack", low_res="double")
    plan = PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=32, seed=0)
    numbers = tuple(range(16))
    loaded = to_device(load_batch(plan, numbers), CPU, 4, "double")
    stored = to_device(load_batch(plan, numbers, stored_low_res=True), CPU, 4, "double")
    for number in numbers:
        place = plan.place(number)
        truth = deep(place.tile, 1)[4 * place.top :, 4 * place.left :][:32, :32]
        mirrored = truth[:, ::-1] if place.symmetry >= 4 else truth
        expected = np.rot90(mirrored, place.symmetry % 4)[..., 0] / 65535
        np.testing.assert_allclose(loaded.high_res[number, 0], expected, atol=1e-7)
    assert torch.equal(loaded.low_res, stored.low_res)
    for stored_low_res in (False, True):
        held = ResidentPack(plan, CPU, stored_low_res).load(numbers)
        read = load_batch(plan, numbers, stored_low_res=stored_low_res)
        assert held.high_res.dtype == torch.uint16
        assert torch.equal(held.high_res, read.high_res)


def test_16_bit_reductions_are_those_of_floats_rounded(folder: Callable[[int], Path], tmp_path: Path) -> None:
    prepare(folder(4), tmp_path / "pack", low_res="double")
    exact = imresize(deep(0, 4).astype(np.float64), 1 / 4)
    np.testing.assert_array_equal(Pack(tmp_path / "pack").low_res(0), np.floor(exact.clip(0, 65535) + 0.5))


def test_grey_is_degraded_at_its_depth_as_rgb_of_equal_channels(folder: Callable[[int], Path], tmp_path: Path) -> None:
    prepare(folder(1), tmp_path / "pack")
    plan = PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=32, seed=0, degradation=DegradationConfig())
    batch = to_device(load_batch(plan, (0, 1, 2)), CPU, 4, "double")
    assert batch.low_res.shape == (3, 1, 8, 8)
    assert 0.5 < (batch.low_res.mean() / batch.high_res.mean()).item() < 2


def test_validation_of_16_bits_measures_16_bits(
    folder: Callable[[int], Path], tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    photos = folder(4)
    recipe = tiny(generator=NETWORK | {"channels": 4}, validation={"path": str(photos)})
    pairs = validation_pairs(recipe)
    assert pairs is not None

    class Nearest(torch.nn.Module):
        def forward(self, low_res: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(low_res, scale_factor=4, mode="nearest")

    got = validate(Nearest(), pairs, recipe, CPU, tmp_path / "sheet.png", lambda: False)
    expected = []
    for number in range(2):
        truth = deep(number, 4)
        low_res = np.floor(imresize(truth.astype(np.float64), 1 / 4).clip(0, 65535) + 0.5)
        enlarged = low_res.repeat(4, axis=0).repeat(4, axis=1)[4:-4, 4:-4]
        expected.append(peak_signal_noise_ratio(truth[4:-4, 4:-4].astype(np.float64), enlarged, data_range=65535))
    assert got["validation_psnr"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_perceptual_losses_repeat_grey_and_refuse_bands() -> None:
    loss = PerceptualLoss(FeatureNetwork(FEATURE_NETWORKS["vgg19"], "conv1_2"), {"conv1_2": 1.0}, after_activation=False)
    first, second = torch.rand(2, 1, 1, 16, 16)
    assert torch.equal(loss(first, second), loss(first.repeat(1, 3, 1, 1), second.repeat(1, 3, 1, 1)))
    with pytest.raises(UsageError, match="1 or 3 channels, got 4"):
        loss(torch.rand(1, 4, 16, 16), torch.rand(1, 4, 16, 16))
