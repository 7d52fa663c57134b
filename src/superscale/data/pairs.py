"""Whole pairs of pictures, for validation and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.data.layout import Layout, in_layout, layout_of
from superscale.data.matching import partners, split_folder
from superscale.errors import DataError, UsageError
from superscale.image.io import list_images, read_image
from superscale.image.picture import GREY, RGB, Image
from superscale.image.pixels import white
from superscale.image.region import crop_to_multiple
from superscale.image.resize import Rounding, imresize

Array = NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """A picture at both sizes, uint8 or uint16: ``low_res`` (h, w, C), ``high_res`` (h*scale, w*scale, C), RGB or bands.

    ``one_channel``: the high-res file holds grey only, which MATLAB scripts measure as it is. ``peak``: the value that is white; None:
    the largest of the type.
    """

    name: str
    low_res: Array
    high_res: Array
    one_channel: bool = False
    peak: int | None = None


class PairFolder:
    """The pictures of a folder, as pairs: ``HR/`` with ``LR_x{scale}/``, or high-resolution pictures that are reduced here.

    Protocol: high-res cropped to a multiple of the scale, upper left kept; grey read as RGB; depth and bands as the
    files have them (the deeper of a pair, floats at 16 bits); bicubic in the given rounding. ``peak``: the value that is white, for
    files of one depth that hold more than is used, such as 12 bits in uint16; samples are taken as they are, and the bicubic reduction
    clipped to it, as that of 8 bits is to 255.
    Raises DataError, before the first pair, when the folder is empty, files do not match, or sizes disagree.
    """

    def __init__(self, folder: Path | str, scale: int, rounding: Rounding = "double", peak: int | None = None) -> None:
        self.folder = Path(folder)
        self.scale = scale
        self.rounding = rounding
        self.peak = peak
        if peak is not None and peak < 1:
            raise UsageError(f"the peak is the value that is white, at least 1, got {peak}")
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: expected a folder of high-resolution pictures, or of HR/ and LR_x{scale}/")
        high_folder, low_folder = split_folder(self.folder, scale)
        self.high_res = list_images(high_folder)
        if not self.high_res:
            raise DataError(f"{high_folder}: no pictures (.png, .jpg, .webp, .tiff)")
        low_res = list_images(low_folder) if low_folder else []
        self.low_res = self._match(low_res, low_folder) if low_folder else None
        self.unpaired = sorted({*low_res} - {*(self.low_res or ())})  # low-res pictures without a high-res one
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
        image = read_image(path, max_pixels=None)
        layout = _as_rgb(layout_of(image))
        low_image = None if self.low_res is None else read_image(self.low_res[index], max_pixels=None)
        if low_image is not None:
            layout = layout.with_room_for(_as_rgb(layout_of(low_image)))
        for part, name in ((image, path), (low_image, self.low_res[index] if self.low_res else path)):
            self._require_own_depth(part, layout, name)
        high_res = in_layout(image, layout, str(path))
        try:
            high_res = crop_to_multiple(high_res, self.scale)
        except UsageError as error:
            raise DataError(f"{path}: {error}") from error
        if self.low_res is None or low_image is None:
            reduced: Any = imresize(high_res, 1 / self.scale, rounding=self.rounding)
            low_res = within_peak(reduced, self.peak)
        else:
            low_res = in_layout(low_image, layout, str(self.low_res[index]))
            if tuple(side * self.scale for side in low_res.shape[:2]) != high_res.shape[:2]:
                raise DataError(
                    f"{self.low_res[index]}: {low_res.shape[1]}x{low_res.shape[0]} times {self.scale} is not "
                    f"{high_res.shape[1]}x{high_res.shape[0]} of {path}"
                )
        return Pair(path.stem, low_res, high_res, image.channels == GREY, self.peak)

    def _require_own_depth(self, image: Image | None, layout: Layout, path: Path) -> None:
        """Samples that were scaled to another depth are no longer in the units of the peak."""
        if image is None or self.peak is None:
            return
        kind = image.pixels.dtype
        if kind != layout.dtype or self.peak > white(kind):
            raise DataError(
                f"{path}: a peak of {self.peak} is for pictures of one integer type that holds it, and this one has {kind} samples; "
                "leave the peak out to measure each depth against its own white"
            )

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(len(self)))


def within_peak(pixels: Array, peak: int | None) -> Array:
    """What was computed, clipped at white, as the type itself clips where white is its largest value."""
    return pixels if peak is None else np.minimum(pixels, np.array(peak, pixels.dtype))


def _as_rgb(layout: Layout) -> Layout:
    """Grey is measured as RGB."""
    return replace(layout, channels=RGB) if layout.channels == GREY else layout
