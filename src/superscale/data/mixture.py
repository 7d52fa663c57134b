"""Several packs as one stream of patches, each as often as its weight says."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from superscale.data.loader import Load, RawBatch
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan, permutation
from superscale.errors import UsageError

# So many patches hold every source exactly as often as its share.
BLOCK = 1000
# Keeps the stream of blocks apart from those of patches, draws and epochs.
STREAM = 3 << 62


@dataclass(frozen=True, eq=False)
class Mixture:
    """The order of a run's patches from several ``plans``, by (seed, number) alone: in every block of 1000 each has its share, in an
    order of its own; the patches of each plan come as without the others, but for their order within a block.
    """

    plans: tuple[PatchPlan, ...]
    shares: tuple[int, ...]
    seed: int

    def where(self, number: int) -> tuple[int, int]:
        """Of patch ``number`` of the run: which plan, and which patch of that."""
        block, position = divmod(number, BLOCK)
        slot = int(permutation(self.seed, STREAM + block, BLOCK)[position])
        ends = list(accumulate(self.shares))
        source = bisect_right(ends, slot)
        share = self.shares[source]
        return source, block * share + slot - (ends[source] - share)

    def photo(self, number: int) -> str:
        """The photograph that patch ``number`` is cut from."""
        source, own = self.where(number)
        return self.plans[source].photo(own)

    def loaded_by(self, loads: Sequence[Load]) -> Load:
        """Batches of the mixture, given how those of each plan are loaded."""

        def load(numbers: tuple[int, ...]) -> RawBatch:
            places = [self.where(number) for number in numbers]
            parts: list[RawBatch] = []
            order: list[int] = []
            for source, load_own in enumerate(loads):
                if mine := [index for index, place in enumerate(places) if place[0] == source]:
                    parts.append(load_own(tuple(places[index][1] for index in mine)))
                    order += mine
            return _joined(numbers, parts, sorted(range(len(order)), key=order.__getitem__))

        return load


def seed_of(seed: int, source: int) -> int:
    """The seed of a source's plan, so that two do not cut and degrade their patches alike; the first has the run's."""
    return (seed + source * 0x9E3779B97F4A7C15) % 2**63


def shares_of(weights: Sequence[float]) -> tuple[int, ...]:
    """Weights -> patches of each source in a block, by largest remainders. Raises UsageError for a share of less than one."""
    total = sum(weights)
    exact = [BLOCK * weight / total for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda source: shares[source] - exact[source])
    for source in by_remainder[: BLOCK - sum(shares)]:
        shares[source] += 1
    if 0 in shares:
        smallest = weights[shares.index(0)]
        raise UsageError(
            f"a weight of {smallest:g} among {total:g} is less than one patch in {BLOCK}; raise it, or leave that source out"
        )
    return tuple(shares)


def mixture_problems(packs: Sequence[Pack]) -> list[str]:
    """What keeps packs from being mixed, a line each: a batch has one type and number of channels."""
    first = packs[0].manifest
    return [
        f"{pack.folder}: {pack.manifest.dtype} of {pack.manifest.channels} channels cannot be mixed with {first.dtype} of "
        f"{first.channels} in {packs[0].folder}; prepare both with the same --bits and --channels"
        for pack in packs[1:]
        if (pack.manifest.dtype, pack.manifest.channels) != (first.dtype, first.channels)
    ]


def _joined(numbers: tuple[int, ...], parts: Sequence[RawBatch], order: Sequence[int]) -> RawBatch:
    """The patches of several batches, the ``order`` one after another, as one."""
    symmetries = [symmetry for part in parts for symmetry in part.symmetries]
    draws: Any = [drawn for part in parts for drawn in part.draws]
    low_res = [part.low_res for part in parts if part.low_res is not None]
    return RawBatch(
        numbers,
        tuple(symmetries[index] for index in order),
        _picked(low_res, order) if low_res else None,
        _picked([part.high_res for part in parts], order),
        tuple(draws[index] for index in order) if draws else (),
    )


def _picked(batches: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    # torch does not pick from samples of 16 bits without a sign.
    kind = batches[0].dtype
    plain = [batch.view(torch.int16) if kind == torch.uint16 else batch for batch in batches]
    return torch.cat(plain)[list(order)].view(kind)
