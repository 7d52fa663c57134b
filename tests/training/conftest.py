"""A run that takes a second: eight drawn pictures, networks of a few features with batch norm, a PSNR stage and a GAN stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superscale.data.prepare import prepare_synthetic
from superscale.training.recipe.schema import Recipe, parse_recipe

Tables = dict[str, Any]


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pack"
    prepare_synthetic(folder, count=8, side_px=48)
    return folder


@pytest.fixture
def tiny(pack: Path) -> Callable[..., Recipe]:
    """Makes the recipe: 2 images a step, 8 steps a stage, a report every step, a state every 2 steps; arguments replace tables."""

    def make(**changes: Any) -> Recipe:
        discriminator = {"name": "vgg", "features": 2, "hidden": 4, "batch_norm": True, "spectral_norm": False}
        gan = {"images": 16, "pixel": {}, "adversarial": {"discriminator": discriminator}}
        tables: Tables = {
            "name": "tiny",
            "generator": {"name": "srresnet", "features": 4, "blocks": 1, "batch_norm": True},
            "report_every_images": 2,
            "data": {"path": str(pack), "patch_px": 32, "batch": 2},
            "checkpoint": {"every_images": 4},
            "stage": {"psnr": {"images": 16, "learning_rate": 1e-3, "pixel": {}}, "gan": gan},
        }
        return parse_recipe(tables | changes)

    return make
