"""One training step's forward and backward: gradients are left on the parameters, detached numbers come back.

The papers' loops run the discriminator five times a step. Its weights do not change between the two players' turns, so two
passes, one on the truth and one on the generator's output, serve both: `judge` makes them, `generator_step` and
`discriminator_step` each take their own gradients from the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from superscale.data.loader import Batch, turned
from superscale.losses.adversarial import Adversarial
from superscale.losses.grid import grid_loss, lines_loss
from superscale.losses.mesh import mesh_loss
from superscale.losses.perceptual import PerceptualLoss
from superscale.losses.targets import sharpened
from superscale.machine import processes

Numbers = dict[str, Tensor]
# What convolutions are computed in under autocast, None for fp32 as it is; by the names that recipes use.
AutocastType = torch.dtype | None
AUTOCAST_TYPES: dict[str, AutocastType] = {"fp32": None, "bf16": torch.bfloat16}
# A generator, or what was compiled from it: (B, C, h, w) -> (B, C, h*scale, w*scale).
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """The losses of a stage with their weights; what is None does not take part.

    ``discriminator_fp32``: whatever the rest is computed in. ``mean``: of logits, over all processes.
    """

    pixel: Callable[[Tensor, Tensor], Tensor] | None = None
    pixel_weight: float = 1.0
    grid_weight: float = 0.0
    lines_weight: float = 0.0
    mesh_weight: float = 0.0
    sharpen_targets: float = 0.0
    perceptual: PerceptualLoss | None = None
    perceptual_weight: float = 1.0
    shift_px: int = 0
    turned: bool = False
    adversarial: Adversarial | None = None
    adversarial_weight: float = 0.0
    discriminator_fp32: bool = False
    mean: Callable[[Tensor], Tensor] = torch.mean


@dataclass(frozen=True)
class Judgement:
    """Both passes of the discriminator: logits with their graph, and the leaf they hang on instead of the generator's graph."""

    real: Tensor
    fake: Tensor
    super_res: Tensor


@contextmanager
def autocast(device: torch.device, precision: AutocastType) -> Iterator[None]:
    """Run convolutions in ``precision`` (None: as they are)."""
    with nullcontext() if precision is None else torch.autocast(device.type, dtype=precision):
        yield


def content_loss(criteria: Criteria, super_res: Tensor, batch: Batch, precision: AutocastType) -> tuple[Tensor, Numbers]:
    """The pixel, grid, lines, mesh and perceptual terms, weighted and summed, and each as a number."""
    numbers: Numbers = {}
    loss = super_res.new_zeros(())
    target = sharpened(batch.high_res, criteria.sharpen_targets) if criteria.sharpen_targets else batch.high_res
    if criteria.pixel is not None:
        term = criteria.pixel(super_res, target)
        numbers["pixel"] = term.detach()
        loss = loss + criteria.pixel_weight * term
    if criteria.grid_weight:
        term = grid_loss(super_res, batch.high_res, batch.high_res.shape[-1] // batch.low_res.shape[-1])
        numbers["grid"] = term.detach()
        loss = loss + criteria.grid_weight * term
    if criteria.lines_weight:
        term = lines_loss(super_res, batch.high_res)
        numbers["lines"] = term.detach()
        loss = loss + criteria.lines_weight * term
    if criteria.mesh_weight:
        term = mesh_loss(super_res, batch.high_res, processes.everywhere)
        numbers["mesh"] = term.detach()
        loss = loss + criteria.mesh_weight * term
    if criteria.perceptual is not None:
        # The step's first image, at whichever process it is: all processes crop alike, as one large batch would.
        number = batch.numbers[0] - processes.rank()
        top, left = shift(number, criteria.shift_px)
        seen = [image[..., top:, left:] for image in (super_res, target)]
        if criteria.turned:
            seen = [turned(image, (symmetry(number),) * len(image)) for image in seen]
        with autocast(super_res.device, precision):
            term = criteria.perceptual(*seen)
        numbers["perceptual"] = term.detach()
        loss = loss + criteria.perceptual_weight * term
    return loss, numbers


def shift(number: int, shift_px: int) -> tuple[int, int]:
    """A pseudo-random crop offset in [0, shift_px]² that depends on the image number alone."""
    hashed = _hashed(number) >> 8
    return hashed % (shift_px + 1), hashed // (shift_px + 1) % (shift_px + 1)


def symmetry(number: int) -> int:
    """One of the square's 8 symmetries, pseudo-random by the image number alone."""
    return _hashed(number) >> 29


def _hashed(number: int) -> int:
    """Knuth's multiplicative hash, 32 bits."""
    return number * 2654435761 % 2**32


def pixel_step(generator: Forward, batch: Batch, criteria: Criteria, precision: AutocastType) -> Numbers:
    """A step without a discriminator: the PSNR stage of both papers."""
    super_res = enlarge(generator, batch, precision)
    loss, numbers = content_loss(criteria, super_res, batch, precision)
    torch.autograd.backward(loss)
    return numbers | {"loss": loss.detach()}


def adversarial_step(
    generator: Forward,
    discriminator: nn.Module,
    batch: Batch,
    criteria: Criteria,
    precision: AutocastType,
    *,
    generator_moves: bool = True,
) -> tuple[Numbers, Tensor]:
    """A step of the GAN stage: both players' gradients by the same two passes. Returns the numbers and the generator's output.

    ``generator_moves``: False leaves the generator without a gradient, for a discriminator that learns alone.
    """
    with frozen_norms(discriminator):
        with torch.set_grad_enabled(generator_moves):
            super_res = enlarge(generator, batch, precision)
        judgement = judge(discriminator, super_res, batch, None if criteria.discriminator_fp32 else precision)
        numbers = generator_step(super_res, batch, judgement, criteria, precision) if generator_moves else {}
        return numbers | discriminator_step(discriminator, judgement, criteria), super_res.detach()


def enlarge(generator: Forward, batch: Batch, precision: AutocastType) -> Tensor:
    """The generator's output in fp32, channels last, so that convolutions after it need not reorder."""
    with autocast(batch.low_res.device, precision):
        super_res: Tensor = generator(batch.low_res.contiguous(memory_format=torch.channels_last))
    return super_res.float()


@contextmanager
def frozen_norms(discriminator: nn.Module) -> Iterator[None]:
    """Spectral norms worked out once, in fp32, and shared by every pass inside."""
    with parametrize.cached():
        for module in discriminator.modules():
            if parametrize.is_parametrized(module):
                _ = module.weight
        yield


def judge(discriminator: nn.Module, super_res: Tensor, batch: Batch, precision: AutocastType) -> Judgement:
    """Two passes for both players. Call inside `frozen_norms`, before any optimizer moves."""
    leaf = super_res.detach().requires_grad_()
    with autocast(leaf.device, precision):
        real = discriminator(batch.high_res.contiguous(memory_format=torch.channels_last), batch.low_res)
        fake = discriminator(leaf.contiguous(memory_format=torch.channels_last), batch.low_res)
    return Judgement(real.float(), fake.float(), leaf)


def generator_step(
    super_res: Tensor, batch: Batch, judgement: Judgement, criteria: Criteria, precision: AutocastType
) -> Numbers:
    """The generator's turn: content loss plus the weighted adversarial loss, back through ``super_res`` into the generator."""
    assert criteria.adversarial is not None
    adversarial = criteria.adversarial.generator(judgement.real, judgement.fake)
    (from_judge,) = torch.autograd.grad(adversarial, judgement.super_res, retain_graph=True)
    loss, numbers = content_loss(criteria, super_res, batch, precision)
    # d(weight * adversarial)/d(super_res) is known; a scalar product carries it on in the one backward pass.
    torch.autograd.backward(loss + criteria.adversarial_weight * (from_judge * super_res).sum())
    total = loss.detach() + criteria.adversarial_weight * adversarial.detach()
    return numbers | {"adversarial": adversarial.detach(), "loss": total}


def discriminator_step(discriminator: nn.Module, judgement: Judgement, criteria: Criteria) -> Numbers:
    """The discriminator's turn, on the same two passes; reports its loss and how often it is right (each side of the logits' middle)."""
    assert criteria.adversarial is not None
    loss = criteria.adversarial.discriminator(judgement.real, judgement.fake)
    torch.autograd.backward(loss, inputs=[parameter for parameter in discriminator.parameters() if parameter.requires_grad])
    real, fake = judgement.real.detach(), judgement.fake.detach()
    middle = (criteria.mean(real) + criteria.mean(fake)) / 2
    return {
        "discriminator": loss.detach(),
        "accuracy_real": (real > middle).float().mean(),
        "accuracy_fake": (fake < middle).float().mean(),
    }
