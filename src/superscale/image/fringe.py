"""Colours under transparent pixels: taken from what is visible nearby, so that enlarging lets no hidden colour bleed into an edge.

Pull and push (Gortler et al., The Lumigraph, 1996, section 3.4): average what is visible, by its alpha, in ever coarser grids;
then hand each hidden pixel the colour of the finest cell around it in which something is visible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def spread_colours(pixels: Array, alpha: Array) -> Array:
    """(H, W, C) and alpha (H, W), or one for each band (H, W, C) -> (H, W, C) that differs only where alpha is 0.

    The same object if it is so nowhere or everywhere.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    weights = (alpha if alpha.ndim == 3 else alpha[..., None]).astype(np.float32)
    weights /= weights.max()
    filled = _filled(pixels.astype(np.float32), weights)
    nearest = filled if pixels.dtype.kind == "f" else np.floor(filled + 0.5)
    return np.where(weights == 0, nearest.astype(pixels.dtype), pixels)


def _filled(colours: Array, weights: Array) -> Array:
    """Colours with those of weight 0 replaced by the average of the smallest cell of 2, 4, 8... pixels that has a visible one."""
    if (weights > 0).all() or weights.shape[:2] == (1, 1):
        return colours
    total = _halved(weights)
    average = _halved(colours * weights) / np.where(total > 0, total, 1)
    coarse = _filled(average, total)
    height, width = colours.shape[:2]
    spread = coarse.repeat(2, axis=0)[:height].repeat(2, axis=1)[:, :width]
    return np.where(weights > 0, colours, spread)


def _halved(planes: Array) -> Array:
    """Sums of 2x2 cells; cells at the border may have fewer."""
    height, width = planes.shape[:2]
    even = np.pad(planes, ((0, height % 2), (0, width % 2), (0, 0)))
    sums: Array = even.reshape((height + 1) // 2, 2, (width + 1) // 2, 2, -1).sum(axis=(1, 3))
    return sums
