"""Patches -> an endless stream of batches that can start at any image, the same whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from superscale.data.degrade import bicubic_patch, degraded_patch
from superscale.data.draws import Draw
from superscale.data.patches import PatchPlan
from superscale.data.photograph import PhotographDraw
from superscale.image.pixels import to_float
from superscale.image.resize import Rounding
from superscale.machine.threads import one_thread_executor


@dataclass(frozen=True)
class RawBatch:
    """Patches as they leave the disk, uint8 or uint16 (B, H, W, C): a stored pair, or (``low_res`` None) high-res with its context.

    ``draws``: how each is to be degraded; empty for bicubic.
    """

    numbers: tuple[int, ...]
    symmetries: tuple[int, ...]
    low_res: Tensor | None
    high_res: Tensor
    draws: tuple[Draw, ...] | tuple[PhotographDraw, ...] = ()


Loaded = TypeVar("Loaded")
# The numbers of a batch -> the batch.
Load = Callable[[tuple[int, ...]], RawBatch]


@dataclass(frozen=True)
class Batch:
    """float32 in [0, 1] on the training device: ``low_res`` (B, C, p, p), ``high_res`` (B, C, p*scale, p*scale)."""

    numbers: tuple[int, ...]
    low_res: Tensor
    high_res: Tensor


def batch_numbers(start: int, batch: int, rank: int = 0, world_size: int = 1) -> tuple[int, ...]:
    """The images of one step on one rank: all ranks together take ``start .. start + batch*world_size``, in strides."""
    return tuple(start + rank + world_size * index for index in range(batch))


def load_batch(plan: PatchPlan, numbers: tuple[int, ...], stored_low_res: bool = False) -> RawBatch:
    """Read patches from the pack."""
    places = [plan.place(number) for number in numbers]
    symmetries = tuple(place.symmetry for place in places)
    if stored_low_res:
        pairs = [plan.stored_pair(place) for place in places]
        low_res = torch.from_numpy(np.stack([low for low, _ in pairs]))
        return RawBatch(numbers, symmetries, low_res, torch.from_numpy(np.stack([high for _, high in pairs])))
    high_res = np.stack([plan.high_res_with_context(place) for place in places])
    return RawBatch(numbers, symmetries, None, torch.from_numpy(high_res), plan.draws(numbers))


def stream(
    load: Callable[[tuple[int, ...]], Loaded], *, start: int, batch: int, rank: int = 0, world_size: int = 1
) -> Iterator[Loaded]:
    """What ``load`` makes of the numbers of batches, for ever, from image ``start`` on.

    The next one is loaded while the caller works on this one, by a thread whose kernels are not divided among others: on a busy machine
    that would take a hundred times as long.
    """
    with one_thread_executor("loader") as reader:
        upcoming = reader.submit(load, batch_numbers(start, batch, rank, world_size))
        while True:
            ready = upcoming.result()
            start += batch * world_size
            upcoming = reader.submit(load, batch_numbers(start, batch, rank, world_size))
            yield ready


def to_device(raw: RawBatch, device: torch.device, scale: int, rounding: Rounding, channels: int | None = None) -> Batch:
    """Move a batch, reduce or degrade it there if its low-res was not stored, then turn and flip both alike.

    ``channels``: what the generator takes, to which grey is repeated; by default those of the batch.
    """
    # Matrix products on planes that lie one after another take a quarter of the time.
    high_res = raw.high_res.to(device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
    if raw.low_res is not None:
        low_res = raw.low_res.to(device, non_blocking=True).permute(0, 3, 1, 2)
    elif raw.draws:
        low_res, high_res = degraded_patch(high_res, scale, raw.draws)
    else:
        low_res, high_res = bicubic_patch(high_res, scale, rounding)
    pair = (to_float(turned(planes, raw.symmetries)) for planes in (low_res, high_res))
    return Batch(raw.numbers, *(planes.expand(-1, channels or -1, -1, -1) for planes in pair))


def turned(planes: Tensor, symmetries: tuple[int, ...]) -> Tensor:
    """Patches (B, C, H, W), each under one of the square's 8 symmetries: 0-3 quarter turns, 4-7 those of the mirror image.

    Patches that are not square have to share the symmetry.
    """
    if planes.dtype == torch.uint16:  # which torch does not flip
        return turned(planes.view(torch.int16), symmetries).view(torch.uint16)
    patches = []
    for patch, symmetry in zip(planes, symmetries, strict=True):
        mirrored = patch.flip(-1) if symmetry >= 4 else patch
        patches.append(torch.rot90(mirrored, symmetry % 4, (-2, -1)))
    return torch.stack(patches)
