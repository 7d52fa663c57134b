"""Rectangles on the pixel grid: the arithmetic that data and tiling share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from superscale.errors import UsageError
from superscale.image.pixels import library_of

if TYPE_CHECKING:
    from torch import Tensor

Indices = TypeVar("Indices", NDArray[np.int64], "Tensor")


@dataclass(frozen=True)
class Region:
    """``height`` x ``width`` pixels whose upper left one is (``top``, ``left``)."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """One past the last row."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """One past the last column."""
        return self.left + self.width

    def scaled(self, factor: int) -> Region:
        """The same place in a picture ``factor`` times larger."""
        return Region(self.top * factor, self.left * factor, self.height * factor, self.width * factor)

    def grown(self, margin: int, height: int, width: int) -> Region:
        """With ``margin`` pixels more on every side, as far as a picture of ``height`` x ``width`` has them."""
        top = max(self.top - margin, 0)
        left = max(self.left - margin, 0)
        bottom = min(self.bottom + margin, height)
        right = min(self.right + margin, width)
        return Region(top, left, bottom - top, right - left)

    def aligned(self, unit: int, height: int, width: int) -> Region:
        """Grown to where all sides are multiples of ``unit``, or the border of a picture of ``height`` x ``width``."""
        top, left = self.top // unit * unit, self.left // unit * unit
        bottom, right = min(-(-self.bottom // unit) * unit, height), min(-(-self.right // unit) * unit, width)
        return Region(top, left, bottom - top, right - left)

    def within(self, outer: Region) -> Region:
        """The same place in coordinates of ``outer``."""
        return Region(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def of(self, planes: Any) -> Any:
        """A view of these pixels in planes (..., H, W)."""
        return planes[..., self.top : self.bottom, self.left : self.right]

    def of_pixels(self, pixels: Any) -> Any:
        """A view of these pixels in a picture (H, W) or (H, W, C)."""
        return pixels[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Part:
    """Some pixels of an enlarged picture: ``target``, made from the pixels of the picture itself that are ``at_hand``.

    ``seen``: what of these a network is shown. ``size`` and ``new_size``: (height, width) of both pictures.
    """

    target: Region
    seen: Region
    at_hand: Region
    size: tuple[int, int]
    new_size: tuple[int, int]


def whole(height: int, width: int) -> Region:
    """All of a picture."""
    return Region(0, 0, height, width)


def covering(height: int, width: int, largest_px: int, multiple_of: int = 1) -> list[Region]:
    """Cover a picture once with nearly equal regions of at most ``largest_px`` a side that begin on a multiple; 0: one region."""
    rows = _cuts(height, largest_px, multiple_of)
    columns = _cuts(width, largest_px, multiple_of)
    return [
        Region(top, left, bottom - top, right - left) for top, bottom in pairwise(rows) for left, right in pairwise(columns)
    ]


def _cuts(length: int, largest_px: int, multiple_of: int) -> list[int]:
    if not largest_px:
        return [0, length]
    units = -(-length // multiple_of)
    parts = -(-units // max(largest_px // multiple_of, 1))
    return [min(units * part // parts * multiple_of, length) for part in range(parts + 1)] if parts else []


def crop_to_multiple(pixels: NDArray[Any], multiple: int) -> NDArray[Any]:
    """The upper left part of (H, W[, C]) whose sides divide by ``multiple``, as the benchmark protocols crop.

    Raises UsageError when nothing is left.
    """
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    if height < 1 or width < 1:
        raise UsageError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} is smaller than {multiple}x{multiple}")
    return pixels[:height, :width]


def mirrored_patch(pixels: NDArray[Any], region: Region) -> NDArray[Any]:
    """The pixels of a region that may reach over the border, where the picture is mirrored, edge sample included."""
    height, width = pixels.shape[:2]
    if region.top >= 0 and region.left >= 0 and region.bottom <= height and region.right <= width:
        inside: NDArray[Any] = region.of_pixels(pixels)
        return inside
    rows = mirrored(np.arange(region.top, region.bottom), height)
    columns = mirrored(np.arange(region.left, region.right), width)
    # Whole stretches of rows first: picking pixels one by one takes three times as long.
    first = columns.min()
    patch: NDArray[Any] = pixels[rows, first : columns.max() + 1].take(columns - first, axis=1)
    return patch


def mirrored(indices: Indices, length: int | Indices) -> Indices:
    """Indices anywhere -> indices 0 .. length - 1 of a line that is mirrored at its ends, the end sample included."""
    folded = indices % (2 * length)
    result: Indices = library_of(folded).where(folded < length, folded, 2 * length - 1 - folded)
    return result
