"""Colours under transparent pixels: taken from what is visible nearby, so that enlarging lets no hidden colour bleed into an edge.

Pull and push (Gortler et al., The Lumigraph, 1996, section 3.4): average what is visible, by its alpha, in ever coarser grids;
then hand each hidden pixel the colour of the finest cell around it in which something is visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.image.region import Region

Array = NDArray[Any]

# The cells of the grid that is kept of a picture which is seen in parts have 2^LEVELS pixels a side.
LEVELS = 5
CELL_PX = 2**LEVELS


@dataclass(frozen=True)
class Surroundings:
    """What the parts of a picture have to know of the rest: the largest alpha, and the colours of a grid of cells (h, w, C)."""

    heaviest: float
    colours: Array


def spread_colours(pixels: Array, alpha: Array, around: Surroundings | None = None, at_hand: Region | None = None) -> Array:
    """(H, W, C) and alpha (H, W), or one for each band (H, W, C) -> (H, W, C) that differs only where alpha is 0.

    The same object if it is so nowhere, or everywhere. With ``around``, of a part of a picture, ``at_hand``, that is aligned to
    cells: the same bits as of the whole picture.
    """
    hidden = alpha == 0
    if not hidden.any() or (around is None and hidden.all()):
        return pixels
    weights = (alpha if alpha.ndim == 3 else alpha[..., None]).astype(np.float32)
    if around is None or at_hand is None:
        filled = _filled(pixels.astype(np.float32), weights / weights.max())
    else:
        top, left = at_hand.top // CELL_PX, at_hand.left // CELL_PX
        cells = around.colours[top : -(-at_hand.bottom // CELL_PX), left : -(-at_hand.right // CELL_PX)]
        filled = _filled(pixels.astype(np.float32), weights / np.float32(around.heaviest), LEVELS, cells)
    nearest = filled if pixels.dtype.kind == "f" else np.floor(filled + 0.5)
    return np.where(weights == 0, nearest.astype(pixels.dtype), pixels)


def cells_of(pixels: Array, alpha: Array, heaviest: float) -> tuple[Array, Array]:
    """The average colours (h, w, C) of cells of a part that is aligned to them, and how much is visible in each (h, w, 1 or C)."""
    colours, weights = pixels.astype(np.float32), alpha.astype(np.float32) / np.float32(heaviest)
    for _ in range(LEVELS):
        colours, weights = coarser(colours, weights)
    return colours, weights


def surroundings(colours: Array, weights: Array, heaviest: float) -> Surroundings:
    """Of the cells of a whole picture, in one of which at least something is visible."""
    return Surroundings(heaviest, _filled(colours, weights))


def _filled(colours: Array, weights: Array, levels: int = -1, cells: Array | None = None) -> Array:
    """Colours with those of weight 0 replaced by the average of the smallest cell of 2, 4, 8... pixels that has a visible one.

    ``cells``: what is known of the grid that is ``levels`` coarser.
    """
    if levels == 0 and cells is not None:
        return cells
    if (weights > 0).all() or (cells is None and weights.shape[:2] == (1, 1)):
        return colours
    coarse = _filled(*coarser(colours, weights), levels - 1, cells)
    height, width = colours.shape[:2]
    spread = coarse.repeat(2, axis=0)[:height].repeat(2, axis=1)[:, :width]
    return np.where(weights > 0, colours, spread)


def coarser(colours: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted averages of colours (H, W, C) in cells of 2x2 pixels, 0 where nothing has weight; and the sums of the weights."""
    total = halved(weights)
    return halved(colours * weights) / np.where(total > 0, total, 1), total


def halved(planes: Array) -> Array:
    """Sums of 2x2 cells, always added in the same order; cells at the border may have fewer."""
    height, width = planes.shape[:2]
    even = np.pad(planes, ((0, height % 2), (0, width % 2), (0, 0)))
    rows = even[::2] + even[1::2]
    sums: Array = rows[:, ::2] + rows[:, 1::2]
    return sums
