"""Every bundled recipe can be trained at once: the bundled feature network stands in for one whose weights are absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from superscale.image.io import read_image
from superscale.image.pixels import to_float
from superscale.losses.perceptual import PerceptualLoss
from superscale.training.loop.criteria import build_criteria
from superscale.training.recipe.bundled import bundled_recipes
from superscale.training.recipe.features import with_features_at_hand
from superscale.training.recipe.schema import load_recipe
from superscale.weights.features import STUDENT, feature_network


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSCALE_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", bundled_recipes())
def test_the_losses_of_every_bundled_recipe_need_no_file_from_elsewhere(name: str) -> None:
    loaded = load_recipe(name)
    recipe, said = with_features_at_hand(loaded)
    for stage in recipe.stage.values():
        build_criteria(stage, torch.device("cpu"))
    wanted, networks = (
        {stage.perceptual.network for stage in one.stage.values() if stage.perceptual} for one in (loaded, recipe)
    )
    assert bool(said) == (STUDENT in networks - wanted)
    assert all(STUDENT in sentence for sentence in said)


def test_layers_that_it_lacks_become_its_deepest_with_their_weights_together() -> None:
    recipe, said = with_features_at_hand(load_recipe("real_x4"))
    perceptual = recipe.stage["gan"].perceptual
    assert perceptual is not None
    assert perceptual.layers == {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_1": 1.0}
    assert "superscale models pull vgg19" in said[0]


def test_weights_that_are_there_or_named_are_used(tmp_path: Path) -> None:
    (tmp_path / "vgg19-dcbb9e9d.pth").touch()
    recipe = load_recipe("srgan_x4")
    assert with_features_at_hand(recipe) == (recipe, [])
    named = load_recipe("srgan_x4_fast", ["stage.gan.perceptual.weights=/a/file"])
    assert with_features_at_hand(named) == (named, [])


def test_the_bundled_network_orders_damages_as_the_one_that_taught_it(shared: Path, benchmarks: Path) -> None:
    teacher_file = shared / "weights" / "vgg19-distilled-16x.safetensors"
    layers = {"conv1_2": 1.0, "conv2_2": 1.0, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_1": 1.0}
    student, teacher = (
        PerceptualLoss(feature_network(name, "conv5_1", file), layers, after_activation=False)
        for name, file in ((STUDENT, None), ("vgg19-distilled", teacher_file))
    )
    picture = torch.from_numpy(to_float(read_image(benchmarks / "Set5" / "HR" / "butterfly.png").pixels))[None]
    torch.manual_seed(0)
    half = torch.nn.functional.avg_pool2d(picture, 2)
    damaged = [
        torch.nn.functional.interpolate(half, scale_factor=2.0),
        torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(half, 2), scale_factor=4.0),
        *((picture + sigma * torch.randn_like(picture)).clamp(0, 1) for sigma in (0.01, 0.03, 0.1)),
        picture * 0.9 + 0.05,
    ]
    by_student, by_teacher = (torch.stack([loss(one, picture) for one in damaged]) for loss in (student, teacher))
    assert by_student.argsort().tolist() == by_teacher.argsort().tolist()
    torch.testing.assert_close(by_student, by_teacher, rtol=0.25, atol=0)
