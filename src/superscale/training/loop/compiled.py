"""A generator compiled for its one shape, and used only if it does what the eager one does.

Compilers are wrong at times, and silently: inductor's ``freezing`` ruins RRDBNet on a CPU. So both passes are compared first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from superscale.machine import processes
from superscale.networks.generator import Generator
from superscale.training.loop.steps import AutocastType, Forward, autocast

BACKEND = "inductor"
# How far from fp32 a compiled pass may lie: twice as far as eager's, and what another order of sums makes of fp32 itself.
LEEWAY = 2.0
FP32_ROUNDING = 1e-4


def compiled(
    generator: Generator,
    batch: int,
    patch_px: int,
    precision: AutocastType,
    say: Callable[[str], None],
    backend: str | None = None,
) -> Forward:
    """The generator's forward for batches (batch, channels, patch_px/scale, patch_px/scale), compiled by torch; or, with a line that
    says why, the generator as it is. Moves nothing. Several processes decide together.
    """
    try:
        fast: Forward = torch.compile(generator, dynamic=False, backend=backend or BACKEND)
        reason = _difference(generator, fast, batch, patch_px, precision)
    except Exception as error:  # whatever a compiler may fail with, eager is there
        reason = " ".join(str(error).splitlines()[:2]) or type(error).__name__
    if processes.anywhere(reason is not None):
        say(f"the generator is not compiled: {reason or 'it could not be at another process'}")
        return generator
    say("the generator is compiled; its output and gradients were compared with eager's")
    return fast


def _difference(generator: Generator, fast: Forward, batch: int, patch_px: int, precision: AutocastType) -> str | None:
    """Where the compiled generator is farther from fp32 than it may be; None if nowhere."""
    contract = generator.contract
    parameters = list(generator.parameters())
    side = patch_px // contract.scale
    low_res = (_wave((batch, contract.channels, side, side), parameters[0].device) + 1) / 2
    low_res = low_res.contiguous(memory_format=torch.channels_last)
    with _kept(generator), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's compiler about its own ways
        exact, eager, got = (
            _passes(forward, parameters, low_res, how)
            for forward, how in ((generator, None), (generator, precision), (fast, precision))
        )
    for name, reference, usual, found in zip(("output", "gradient"), exact, eager, got, strict=True):
        allowed = LEEWAY * _distance(usual, reference) + FP32_ROUNDING
        distance = _distance(found, reference)
        if not distance <= allowed:  # NaN is no less
            return f"its {name} differs from fp32 by {distance:.1e} of its norm, where {allowed:.1e} is allowed"
    return None


def _passes(forward: Forward, parameters: Sequence[Tensor], low_res: Tensor, precision: AutocastType) -> tuple[Tensor, Tensor]:
    """The output, and all gradients of its product with a wave, each as one vector."""
    with autocast(low_res.device, precision):
        output = forward(low_res)
    output = output.float()
    gradients = torch.autograd.grad((output * _wave(output.shape, output.device)).sum(), parameters)
    return output.detach().flatten(), torch.cat([gradient.float().flatten() for gradient in gradients])


def _wave(shape: Sequence[int], device: torch.device) -> Tensor:
    """Values in [-1, 1] that no two neighbours share; not from torch's generator, whose numbers belong to the run."""
    count = torch.Size(shape).numel()
    return torch.cos(torch.arange(count, dtype=torch.float64, device=device)).float().view(*shape)


def _distance(vector: Tensor, reference: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector - reference) / torch.linalg.vector_norm(reference))


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    """Put batch norms' statistics back afterwards."""
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, kept in zip(network.buffers(), before, strict=True):
            buffer.copy_(kept)
