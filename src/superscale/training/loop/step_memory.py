"""How much memory a step takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from superscale.data.loader import Batch
from superscale.training.loop.stage_state import StageState
from superscale.training.loop.steps import AutocastType, Criteria, adversarial_step, pixel_step

# While a gradient goes back through the largest layer, it, the layer's input's and what the kernel rearranges are alive.
WORKING_COPIES = 3


@dataclass(frozen=True)
class StepMemory:
    """``fixed`` bytes whatever the batch, ``an_image`` more for each of its images."""

    fixed: int
    an_image: int

    def of(self, batch: int) -> int:
        """Bytes that a step of so many images takes."""
        return self.fixed + self.an_image * batch

    def largest_batch(self, free: int) -> int:
        """How many images fit into so many bytes, at least 0."""
        return max(0, (free - self.fixed) // max(self.an_image, 1))


def step_memory(state: StageState, criteria: Criteria, precision: AutocastType, patch_px: int, scale: int) -> StepMemory:
    """What a step of this stage adds to the memory in use: gradients, moments, and all that forward keeps for backward.

    Measured on the CPU on a step of one image and a step of two, whose difference is an image's; nothing moves.
    """
    taken = []
    channels = state.generator.contract.channels
    for batch in (1, 2):
        images = torch.rand(batch, channels, patch_px, patch_px)
        low_res = torch.rand(batch, channels, patch_px // scale, patch_px // scale)
        taken.append(
            _kept_bytes(state, lambda data: _step(state, data, criteria, precision), Batch((0,) * batch, low_res, images))
        )
    an_image = taken[1] - taken[0]
    # One gradient and two moments a weight, in fp32 as the weight.
    optimizers = 3 * sum(parameter.nbytes for network in state.networks for parameter in network.parameters())
    return StepMemory(fixed=optimizers + max(0, taken[0] - an_image), an_image=an_image)


def _step(state: StageState, batch: Batch, criteria: Criteria, precision: AutocastType) -> None:
    if state.opponent is None:
        pixel_step(state.generator, batch, criteria, precision)
    else:
        adversarial_step(state.generator, state.opponent.network, batch, criteria, precision)


def _kept_bytes(state: StageState, work: Callable[[Batch], None], batch: Batch) -> int:
    """Bytes of all tensors that ``work`` keeps for its backward pass, weights aside, and of the largest a few times more."""
    weights = {parameter.untyped_storage().data_ptr() for network in state.networks for parameter in network.parameters()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = max(storage.nbytes(), seen.get(storage.data_ptr(), 0))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work(batch)
    for network in state.networks:
        network.zero_grad()
    return sum(seen.values()) + WORKING_COPIES * max(seen.values(), default=0)
