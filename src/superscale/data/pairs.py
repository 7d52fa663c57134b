"""Whole pairs of pictures, for validation and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.data.matching import partners, split_folder
from superscale.errors import DataError, UsageError
from superscale.image.io import as_rgb8, list_images, read_image
from superscale.image.region import crop_to_multiple
from superscale.image.resize import Rounding, imresize

Array = NDArray[np.uint8]


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
        self.folder = Path(folder)
        self.scale = scale
        self.rounding = rounding
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: expected a folder of high-resolution pictures, or of HR/ and LR_x{scale}/")
        high_folder, low_folder = split_folder(self.folder, scale)
        self.high_res = list_images(high_folder)
        if not self.high_res:
            raise DataError(f"{high_folder}: no pictures (.png, .jpg, .webp, .tiff)")
        self.low_res = self._match(list_images(low_folder), low_folder) if low_folder else None
        if self.low_res is not None:
            for _ in self:  # sizes that disagree are found before anything is measured or trained
                pass

    def _match(self, low_res: list[Path], low_folder: Path) -> list[Path]:
        names = [path.relative_to(low_folder).as_posix() for path in low_res]
        matched = partners([path.name for path in self.high_res], names, self.scale, low_folder)
        return [low_folder / name for name in matched]

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
