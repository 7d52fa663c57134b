"""Index -> aligned patch of a pack, and whole pairs of pictures for validation and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superscale.data.degrade import context_px, degraded_context_px
from superscale.data.draws import DegradationConfig, Draw, draw
from superscale.data.pack import Pack
from superscale.errors import DataError, UsageError
from superscale.image.io import as_rgb8, list_images, read_image
from superscale.image.region import Region, crop_to_multiple, mirrored_patch
from superscale.image.resize import Rounding, imresize

Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where patch ``number`` of a run lies: sub-image, upper left corner in low-res pixels, and one of the square's 8 symmetries."""

    tile: int
    top: int
    left: int
    symmetry: int


class PatchPlan:
    """The order of a run's patches: a pure function of (seed, number), every sub-image once before any comes again.

    ``degradation``: how patches are to be degraded (None: bicubic), drawn for each by the same law.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        scale: int,
        patch_px: int,
        seed: int,
        augment: bool = True,
        degradation: DegradationConfig | None = None,
    ) -> None:
        self.pack, self.scale, self.patch_px, self.seed, self.augment = pack, scale, patch_px, seed, augment
        self.degradation = degradation
        if patch_px % scale:
            raise DataError(f"patch_px must be a multiple of the scale {scale}, got {patch_px}")
        if pack.manifest.scale % scale:
            raise DataError(f"{pack.folder}: prepared for scale {pack.manifest.scale}, the recipe trains scale {scale}")
        tiles = pack.manifest.tiles
        small = [tile for tile in tiles if min(tile.height, tile.width) < patch_px]
        if small:
            tile = small[0]
            raise DataError(
                f"{pack.folder}: {len(small)} of {len(tiles)} sub-images are smaller than the patch of {patch_px} pixels, "
                f"first {tile.source} ({tile.width}x{tile.height}); remove those photos or choose a smaller patch_px"
            )

    def place(self, number: int) -> Place:
        epoch, position = divmod(number, len(self.pack))
        tile = int(_permutation(self.seed, epoch, len(self.pack))[position])
        random = _random(self.seed, number)
        size = self.pack.manifest.tiles[tile]
        top = int(random.integers((size.height - self.patch_px) // self.scale + 1))
        left = int(random.integers((size.width - self.patch_px) // self.scale + 1))
        return Place(tile, top, left, int(random.integers(8)) if self.augment else 0)

    def draw(self, number: int) -> Draw | None:
        """What happens to patch ``number`` on its way to low resolution; None for bicubic."""
        if self.degradation is None:
            return None
        # A high bit of its own, as the epochs have theirs.
        seed = int(_random(self.seed, (1 << 62) + number).integers(1 << 63))
        return draw(self.degradation, torch.Generator().manual_seed(seed))

    def draws(self, numbers: tuple[int, ...]) -> tuple[Draw, ...]:
        """Those of several patches; empty for bicubic."""
        return tuple(one for number in numbers if (one := self.draw(number)) is not None)

    @property
    def margin_px(self) -> int:
        """High-res pixels around a patch that its reduction reads; a multiple of the scale."""
        return context_px(self.scale) if self.degradation is None else degraded_context_px(self.scale)

    def high_res_with_context(self, place: Place) -> Array:
        """The patch and the pixels around it that its reduction reads, uint8 (P + 2m, P + 2m, 3), mirrored at the picture's border."""
        margin, side = self.margin_px, self.patch_px + 2 * self.margin_px
        region = Region(place.top * self.scale - margin, place.left * self.scale - margin, side, side)
        return mirrored_patch(self.pack.high_res(place.tile), region)

    def stored_pair(self, place: Place) -> tuple[Array, Array]:
        """(low_res, high_res) from the pack, uint8 (P/scale, P/scale, 3) and (P, P, 3)."""
        side = self.patch_px // self.scale
        region = Region(place.top, place.left, side, side)
        low_res = region.of_pixels(self.pack.low_res(place.tile))
        return low_res, region.scaled(self.scale).of_pixels(self.pack.high_res(place.tile))


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    # The high bit keeps the stream of epochs apart from the stream of patches.
    return _random(seed, (1 << 63) + epoch).permutation(length)


def _random(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array((seed, stream), dtype=np.uint64)))


@dataclass(frozen=True)
class Pair:
    """A picture at both sizes, uint8 RGB: ``low_res`` (h, w, 3), ``high_res`` (h*scale, w*scale, 3).

    ``one_channel``: the high-res file holds grey only, which MATLAB scripts measure as it is.
    """

    name: str
    low_res: Array
    high_res: Array
    one_channel: bool = False


class PairFolder:
    """The pictures of a folder, as pairs: ``HR/`` with ``LR_x{scale}/``, or high-resolution pictures that are reduced here.

    Protocol: high-res cropped to a multiple of the scale, upper left kept; grey read as RGB; bicubic in the given rounding.
    Raises DataError, before the first pair, when the folder is empty, files do not match, or sizes disagree.
    """

    def __init__(self, folder: Path | str, scale: int, rounding: Rounding = "double") -> None:
        self.folder, self.scale, self.rounding = Path(folder), scale, rounding
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: expected a folder of high-resolution pictures, or of HR/ and LR_x{scale}/")
        high_folder = self.folder / "HR" if (self.folder / "HR").is_dir() else self.folder
        self.high_res = list_images(high_folder)
        if not self.high_res:
            raise DataError(f"{high_folder}: no pictures (.png, .jpg, .webp, .tiff)")
        low_folder = self.folder / f"LR_x{scale}"
        self.low_res = self._match(list_images(low_folder), low_folder) if low_folder.is_dir() else None
        if self.low_res is not None:
            for _ in self:  # sizes that disagree are found before anything is measured or trained
                pass

    def _match(self, low_res: list[Path], low_folder: Path) -> list[Path]:
        by_stem = {path.stem: path for path in low_res}
        matched = [by_stem.get(path.stem) or by_stem.get(f"{path.stem}x{self.scale}") for path in self.high_res]
        missing = [path.name for path, partner in zip(self.high_res, matched, strict=True) if partner is None]
        if missing:
            raise DataError(f"{low_folder}: no low-resolution partner for {', '.join(missing)}")
        return [path for path in matched if path is not None]

    @property
    def low_res_source(self) -> str:
        """How the low-res pictures came about, for the table's convention line."""
        return f"LR_x{self.scale}/ as found" if self.low_res else f"bicubic, {self.rounding}"

    @property
    def label(self) -> str:
        """The folder's name for tables; of ``Set5/HR`` it is Set5."""
        resolved = self.folder.resolve()
        return resolved.parent.name if resolved.name == "HR" else resolved.name

    def __len__(self) -> int:
        return len(self.high_res)

    def __getitem__(self, index: int) -> Pair:
        path = self.high_res[index]
        high_res, one_channel = _read(path)
        try:
            high_res = crop_to_multiple(high_res, self.scale)
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error
        if self.low_res is None:
            low_res: Any = imresize(high_res, 1 / self.scale, rounding=self.rounding)
        else:
            low_res, _ = _read(self.low_res[index])
            if tuple(side * self.scale for side in low_res.shape[:2]) != high_res.shape[:2]:
                raise DataError(
                    f"{self.low_res[index]}: {low_res.shape[1]}x{low_res.shape[0]} times {self.scale} is not "
                    f"{high_res.shape[1]}x{high_res.shape[0]} of {path}"
                )
        return Pair(path.stem, low_res, high_res, one_channel)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))


def _read(path: Path) -> tuple[Array, bool]:
    """A file as uint8 RGB, and whether it holds grey only."""
    image = read_image(path, max_pixels=None)
    return as_rgb8(image, str(path)), image.channels == 1
