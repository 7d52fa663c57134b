"""One step of the game on a batch that is a function of nothing, for one process and for two."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from superscale.data.loader import Batch
from superscale.losses.adversarial import RelativisticAverage
from superscale.losses.pixel import l1
from superscale.networks.catalog import build_discriminator, build_generator
from superscale.training.loop.steps import Criteria, discriminator_step, frozen_norms, generator_step, judge

DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "vgg": {"patch_px": 32, "features": 4, "hidden": 8, "batch_norm": True, "spectral_norm": False},
    "unet": {"patch_px": 32, "features": 4},
}
BATCH = 6


def networks(name: str) -> tuple[nn.Module, nn.Module]:
    """A generator with batch norms and the named discriminator, both double."""
    torch.manual_seed(0)
    generator = build_generator("srresnet", {"blocks": 1, "features": 8})
    return generator.double().train(), build_discriminator(name, DISCRIMINATORS[name]).double().train()


def pictures() -> tuple[Tensor, Tensor]:
    """(low_res, high_res) of `BATCH` patches; each is brighter than the one before, so that no half is like the other."""
    torch.manual_seed(1)
    brightness = torch.linspace(0, 1, BATCH, dtype=torch.float64)[:, None, None, None]
    low_res, high_res = torch.rand(BATCH, 3, 8, 8).double(), torch.rand(BATCH, 3, 32, 32).double()
    return (low_res + brightness) / 2, (high_res + brightness) / 2


def play(generator: nn.Module, discriminator: nn.Module, low_res: Tensor, high_res: Tensor, mean: Any) -> None:
    """Leave one step's gradients on both networks."""
    criteria = Criteria(pixel=l1, adversarial=RelativisticAverage(mean), adversarial_weight=1.0, mean=mean)
    batch = Batch(tuple(range(len(low_res))), low_res, high_res)
    with frozen_norms(discriminator):
        super_res = generator(low_res)
        judgement = judge(discriminator, super_res, batch, None)
        generator_step(super_res, batch, judgement, criteria, None)
        discriminator_step(discriminator, judgement, criteria)


def outcome(networks: tuple[nn.Module, nn.Module]) -> dict[str, Tensor]:
    """Gradients and buffers of both players by name."""
    found: dict[str, Tensor] = {}
    for player, network in zip(("generator", "discriminator"), networks, strict=True):
        found |= {f"{player}.{name}.grad": p.grad.contiguous() for name, p in network.named_parameters() if p.grad is not None}
        found |= {f"{player}.{name}": buffer.clone() for name, buffer in network.named_buffers()}
    return found
