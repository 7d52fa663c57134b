"""What a run begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from superscale import Upscaler
from superscale.data.synthetic import synthetic_picture
from superscale.errors import RecipeError, UnknownNameError
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize
from superscale.networks.rrdbnet import RRDBNetConfig
from superscale.training.loop.train import train
from superscale.training.recipe.schema import load_recipe
from superscale.weights.checkpoint import Model, save_model
from superscale.weights.store import find_model

# A moment of training that moves nothing: what comes out is what it began with.
STILL = [
    "data.path=synthetic",
    "data.patch_px=32",
    "data.batch=2",
    "stage.finetune.images=2",
    "stage.finetune.learning_rate=1e-12",
]


def published_rrdbnet(path: Path, features: int = 8, growth: int = 4) -> None:
    """A file as BasicSR's trainings leave it: one block, tensors by BasicSR's names, pickled under ``params_ema``."""
    torch.manual_seed(4)
    sides = {"conv_first": (3, features), "conv_last": (features, 3)}
    sides |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (features, features))
    for dense in range(1, 4):
        for number in range(1, 6):
            outputs = growth if number < 5 else features
            sides[f"body.0.rdb{dense}.conv{number}"] = (features + (number - 1) * growth, outputs)
    tensors = {}
    for name, (inputs, outputs) in sides.items():
        tensors[f"{name}.weight"] = 0.1 * torch.randn(outputs, inputs, 3, 3)
        tensors[f"{name}.bias"] = 0.1 * torch.randn(outputs)
    torch.save({"params_ema": tensors}, path)


def test_a_published_rrdbnet_file_is_trained_on_as_the_network_it_is(tmp_path: Path) -> None:
    published_rrdbnet(tmp_path / "theirs.pth")
    recipe = load_recipe("finetune_x4", [*STILL, f"start={str(tmp_path / 'theirs.pth')!r}"])
    result = train(recipe, tmp_path / "run", device="cpu", quiet=True)
    written = load_recipe(str(tmp_path / "run" / "recipe.toml"))
    assert written.generator == RRDBNetConfig(features=8, blocks=1, growth_channels=4)
    low_res = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = find_model(str(result.model)).generator(low_res)
        theirs = find_model(tmp_path / "theirs.pth").generator(low_res)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_start_of_another_network_is_refused_with_the_way_out(tmp_path: Path, tiny_model: Model) -> None:
    save_model(tmp_path / "tiny.safetensors", tiny_model.generator, {})
    recipe = load_recipe("smoke", [f"start={str(tmp_path / 'tiny.safetensors')!r}"])
    with pytest.raises(RecipeError, match=r"features 8.*the recipe trains.*features 16.*leave \[generator\] out"):
        train(recipe, tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match=r"scale is 2, but srresnet-x4 enlarges 4 times"):
        train(load_recipe("finetune_x4", ["scale=2"]), tmp_path / "run", quiet=True)
    with pytest.raises(UnknownNameError, match="srresnet-x4"):
        train(load_recipe("finetune_x4", ["start=srresnet-4x"]), tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match="generator is missing"):
        load_recipe("finetune_x4", ["start=''"])


@pytest.mark.slow
def test_a_short_fine_tuning_is_better_at_pictures_of_its_kind_that_it_has_not_seen(tmp_path: Path) -> None:
    for number in range(12):
        write_image(tmp_path / "own" / f"{number}.png", Image(synthetic_picture(number, 96)))
    settings = ["data.patch_px=48", "data.batch=4", "stage.finetune.images=320", "stage.finetune.warmup_images=0"]
    settings += ["stage.finetune.learning_rate=2e-4"]
    recipe = load_recipe("finetune_x4", [*settings, f"data.path={str(tmp_path / 'own')!r}"])
    result = train(recipe, tmp_path / "run", device="cpu", quiet=True)
    unseen = [synthetic_picture(number, 96) for number in range(100, 106)]

    def mean_psnr(model: str) -> float:
        upscaler = Upscaler(model)
        return float(np.mean([peak_signal_noise_ratio(picture, upscaler(imresize(picture, 1 / 4))) for picture in unseen]))

    assert mean_psnr(str(result.model)) > mean_psnr("srresnet-x4") + 0.05
