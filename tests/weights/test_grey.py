from __future__ import annotations

from typing import Any

import pytest
import torch

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.networks.generator import Generator
from superscale.training.loop.first_generator import first_generator
from superscale.training.recipe.schema import load_recipe
from superscale.weights.grey import grey_generator
from superscale.weights.store import find_model

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("srresnet", {"blocks": 2, "features": 8, "batch_norm": True}),
    ("srresnet", {"blocks": 2, "features": 8, "batch_norm": False, "scale": 2}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4}),
    ("rrdbnet", {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 2}),
    ("compact", {"features": 8, "convolutions": 2}),
]


def largest_difference(rgb: Generator, grey: Generator) -> float:
    """Between the grey network's output and the mean of the other's, on grey pictures."""
    pictures = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = rgb.eval()(pictures.repeat(1, 3, 1, 1)).mean(dim=1, keepdim=True)
        return float((grey.eval()(pictures) - expected).abs().max())


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_on_grey_both_networks_give_the_same(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = build_generator(name, options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    grey = grey_generator(network)
    assert grey.contract.channels == 1
    assert largest_difference(network, grey) < 1e-5


def test_grey16_x4_starts_as_srresnet_x4_on_grey() -> None:
    recipe = load_recipe("grey16_x4")
    assert recipe.channels == 1
    assert largest_difference(find_model("srresnet-x4").generator, first_generator(recipe)) < 1e-5


def test_only_networks_of_rgb_are_made_grey() -> None:
    with pytest.raises(ModelError, match="expected a network of 3 channels"):
        grey_generator(build_generator("compact", {"channels": 1, "features": 4, "convolutions": 1}))
