"""A network for tests of scenes."""

from __future__ import annotations

import pytest
import torch

from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model


@pytest.fixture(scope="session")
def small_net() -> Model:
    """A network of two small layers, of which every weight counts."""
    torch.manual_seed(7)
    generator = build_generator("compact", {"features": 4, "convolutions": 2})
    with torch.no_grad():
        for weights in generator.parameters():
            weights.add_(torch.randn_like(weights) * 0.05)
    return Model("tiny", generator.eval(), {})
