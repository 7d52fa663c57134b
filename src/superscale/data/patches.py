"""Index -> aligned patch of a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superscale.data.degrade import context_px, degraded_context_px
from superscale.data.draws import DegradationConfig, Draw, draw
from superscale.data.pack import Pack, Samples
from superscale.data.photograph import PhotographConfig, PhotographDraw, draw_photograph
from superscale.errors import DataError
from superscale.image.region import Region, mirrored_patch

Array = NDArray[Any]
# A problem that many pictures share names so many of them.
NAMED = 3
# High bits keep the streams of random numbers for draws and epochs apart from the stream of patches.
DRAWS, EPOCHS = 1 << 62, 1 << 63


@dataclass(frozen=True)
class Place:
    """Where patch ``number`` of a run lies: sub-image, upper left corner in low-res pixels, and one of the square's 8 symmetries."""

    tile: int
    top: int
    left: int
    symmetry: int


def patch_problems(pack: Pack, *, scale: int, patch_px: int) -> list[str]:
    """What keeps patches of this size from being cut from a pack, a line each."""
    problems = side_problems(patch_px, scale)
    tiles = pack.manifest.tiles
    if pack.manifest.scale % scale:
        problems.append(f"{pack.folder}: prepared for scale {pack.manifest.scale}, the recipe trains scale {scale}")
    small = [f"{tile.source} ({tile.width}x{tile.height})" for tile in tiles if min(tile.height, tile.width) < patch_px]
    return problems + small_problems(f"{pack.folder}: {len(small)} of {len(tiles)} sub-images are", small, patch_px)


def side_problems(patch_px: int, scale: int) -> list[str]:
    """A line when a patch of ``patch_px`` high-res pixels has no whole number of low-res ones."""
    below = max(patch_px // scale, 1) * scale
    wrong = f"data.patch_px: {patch_px} is not a multiple of the scale {scale}; the nearest are {below} and {below + scale}"
    return [wrong] if patch_px % scale else []


def small_problems(which: str, small: Sequence[str], patch_px: int) -> list[str]:
    """A line that names some of the pictures too ``small`` for a patch, if there are any; ``which`` says how many of what."""
    more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
    named = f"{', '.join(small[:NAMED])}{more}"
    wrong = (
        f"{which} smaller than the patch of {patch_px} pixels: {named}; remove those photos or choose a smaller data.patch_px"
    )
    return [wrong] if small else []


@dataclass(eq=False)
class PatchPlan:
    """The order of a run's patches: a pure function of (seed, number), every sub-image once before any comes again.

    ``degradation``: how patches are to be degraded (None: bicubic), drawn for each by the same law.
    """

    pack: Pack
    _: KW_ONLY
    scale: int
    patch_px: int
    seed: int
    augment: bool = True
    degradation: DegradationConfig | PhotographConfig | None = None

    def __post_init__(self) -> None:
        if problems := patch_problems(self.pack, scale=self.scale, patch_px=self.patch_px):
            raise DataError("\n".join(problems))

    def place(self, number: int) -> Place:
        """Where patch ``number`` of the run lies; every epoch sees each sub-image once."""
        epoch, position = divmod(number, len(self.pack))
        tile = int(permutation(self.seed, EPOCHS + epoch, len(self.pack))[position])
        random = _random(self.seed, number)
        size = self.pack.manifest.tiles[tile]
        top = int(random.integers((size.height - self.patch_px) // self.scale + 1))
        left = int(random.integers((size.width - self.patch_px) // self.scale + 1))
        return Place(tile, top, left, int(random.integers(8)) if self.augment else 0)

    def photo(self, number: int) -> str:
        """The photograph that patch ``number`` is cut from."""
        return self.pack.manifest.tiles[self.place(number).tile].source

    def draw(self, number: int) -> Draw | PhotographDraw | None:
        """What happens to patch ``number`` on its way to low resolution; None for bicubic."""
        if self.degradation is None:
            return None
        seed = int(_random(self.seed, DRAWS + number).integers(1 << 63))
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.degradation, PhotographConfig):
            return draw_photograph(self.degradation, generator)
        return draw(self.degradation, generator)

    def draws(self, numbers: tuple[int, ...]) -> tuple[Draw, ...] | tuple[PhotographDraw, ...]:
        """Those of several patches; empty for bicubic."""
        drawn: Any = (self.draw(number) for number in numbers)
        return tuple(one for one in drawn if one is not None)

    @property
    def margin_px(self) -> int:
        """High-res pixels around a patch that its reduction reads; a multiple of the scale."""
        return context_px(self.scale) if self.degradation is None else degraded_context_px(self.scale)

    def high_res_with_context(self, place: Place) -> Array:
        """The patch and the pixels around it that its reduction reads, (P + 2m, P + 2m, C), mirrored at the picture's border."""
        margin = self.margin_px
        side = self.patch_px + 2 * margin
        region = Region(place.top * self.scale - margin, place.left * self.scale - margin, side, side)
        # The rows that it reads, and no others; at a border they end there, and so are mirrored as the whole would be.
        top, bottom = max(region.top, 0), min(region.bottom, self.pack.manifest.tiles[place.tile].height)
        rows = self.pack.high_res_samples.rows(place.tile, top, bottom)
        return mirrored_patch(rows, replace(region, top=region.top - top))

    def stored_pair(self, place: Place) -> tuple[Array, Array]:
        """(low_res, high_res) from the pack, (P/scale, P/scale, C) and (P, P, C)."""
        side = self.patch_px // self.scale
        region = Region(place.top, place.left, side, side)
        return (
            _cut(self.pack.low_res_samples, place.tile, region),
            _cut(self.pack.high_res_samples, place.tile, region.scaled(self.scale)),
        )


def _cut(samples: Samples, tile: int, region: Region) -> Array:
    cut: Array = samples.rows(tile, region.top, region.bottom)[:, region.left : region.right]
    return cut


@lru_cache(maxsize=16)
def permutation(seed: int, stream: int, length: int) -> NDArray[np.int64]:
    """The numbers below ``length`` in an order that seed and stream decide."""
    return _random(seed, stream).permutation(length)


def _random(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array((seed, stream), dtype=np.uint64)))
