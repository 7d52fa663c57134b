"""Overviews: smaller copies of a picture beside it in a TIFF, which programs show while a map is small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.image.fringe import coarser, halved
from superscale.image.holes import nearest, without_false_holes
from superscale.image.picture import Image

Array = NDArray[Any]


def overviews(image: Image) -> Iterator[Image]:
    """As many as ``image.metadata`` tells of, each half the one before, as long as it has two pixels."""
    for _ in range(image.metadata.overviews):
        if max(image.height, image.width) < 2:
            return
        image = _halved(image)
        yield image


def _halved(image: Image) -> Image:
    """Averages of the 2x2 pixels that hold data, alpha too; the first of them where none does."""
    valid = image.valid()
    counts = np.ones((image.height, image.width, 1), bool) if valid is None else valid
    average, total = coarser(np.where(counts, image.pixels, 0).astype(np.float64), counts.astype(np.float64))
    size = average.shape[:2]
    first = nearest(image.pixels[::2, ::2], *size)
    pixels = np.where(total > 0, _in_type(average, image.pixels.dtype), first)
    larger = None if valid is None else total > 0
    pixels = without_false_holes(pixels, image.metadata.geo, larger, image.has_colours, float(average.mean()))
    alpha = image.alpha
    if alpha is not None:
        alpha = _in_type(coarser(alpha[..., None].astype(np.float64), np.ones((*alpha.shape, 1)))[0][..., 0], alpha.dtype)
    mask = None if image.mask is None else halved(image.mask[..., None].astype(np.uint8))[..., 0] > 0
    return replace(image, pixels=pixels, alpha=alpha, mask=mask)


def _in_type(samples: Array, dtype: Any) -> Array:
    return (samples if np.dtype(dtype).kind == "f" else np.floor(samples + 0.5)).astype(dtype)
