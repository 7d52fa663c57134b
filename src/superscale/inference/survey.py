"""What has to be known of a whole picture before any part of it is enlarged: its range of values, and what to put into holes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.image.fringe import CELL_PX, Surroundings, cells_of, spread_colours, surroundings
from superscale.image.picture import Image
from superscale.image.region import Region
from superscale.image.value_range import Block, RangeChoice, ValueRange, is_plain, type_range, value_range

Array = NDArray[Any]
# Every pixel of a picture once, in parts that are aligned to cells; can be asked for again.
Strips = Callable[[], Iterable[tuple[Region, Image]]]


@dataclass(frozen=True)
class Survey:
    """``values``: the range; ``extremes``: of each band within it (2, C), None where a network takes samples as they are (``plain``).

    ``around``: what the holes of one part are filled with from the others; None without holes, or with nothing else.
    """

    values: ValueRange
    plain: bool
    extremes: Array | None = None
    around: Surroundings | None = None

    def seen_of(self, image: Image, at_hand: Region) -> tuple[Array, Array | None, Array | None]:
        """Of a part of the picture, aligned to cells: what a network sees of it, what lies beyond the range, where there are data."""
        valid = image.valid()
        weights = weights_of(image, valid)
        unit, beyond = (image.pixels, None) if self.plain else self.values.to_unit(image.pixels, _seen(weights))
        if weights is not None and self.around is not None:
            unit = spread_colours(unit, weights, self.around, at_hand)
        return unit, beyond, valid


def range_of(strips: Strips, header: Image, choice: RangeChoice) -> ValueRange:
    """The range of values alone."""
    dtype = header.pixels.dtype
    known = type_range(dtype, choice)
    return known or value_range(_Hidden(strips).blocks, header.pixels.size, dtype, choice, header.metadata.stated_range)[0]


def surveyed(strips: Strips, header: Image, choice: RangeChoice, values: ValueRange | None = None) -> Survey:
    """The survey of the picture that ``header`` describes; ``values``: its range, where that is known. Raises Unsupported for a choice
    of values that it cannot have."""
    dtype, stated = header.pixels.dtype, header.metadata.stated_range
    known = values or type_range(dtype, choice)
    plain = known is not None and is_plain(known, dtype)
    extremes: Array | None = None
    hidden = _Hidden(strips)
    if known is None or not plain:
        # A range that is known is given, and only the extremes are looked for.
        chosen = choice if known is None else (known.low, known.high)
        found, extremes = value_range(hidden.blocks, header.pixels.size, dtype, chosen, stated)
        known = known or found
        plain = is_plain(known, dtype)
    elif header.may_have_holes:
        for _ in hidden.blocks():
            pass
    around = _surroundings(strips, header, known, plain, hidden.heaviest) if hidden.is_any and hidden.heaviest else None
    return Survey(known, plain, None if plain or extremes is None else known.unit_of(extremes), around)


class _Hidden:
    """The strips as blocks of samples; after them, whether any is hidden, and the largest weight."""

    def __init__(self, strips: Strips) -> None:
        self._strips, self.is_any, self.heaviest = strips, False, 0.0

    def blocks(self) -> Iterator[Block]:
        for place, image in self._strips():
            weights = weights_of(image, image.valid())
            seen = _seen(weights)
            self.heaviest = max(self.heaviest, 1.0 if weights is None else float(weights.max()))
            self.is_any = self.is_any or (seen is not None and not seen.all())
            yield Block(place.top, place.left, image.pixels, seen)


def _surroundings(strips: Strips, header: Image, values: ValueRange, plain: bool, heaviest: float) -> Surroundings:
    size = (-(-header.height // CELL_PX), -(-header.width // CELL_PX), header.channels)
    colours, totals = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for place, image in strips():
        weights = weights_of(image, image.valid())
        weights = np.full((*image.pixels.shape[:2], 1), heaviest, np.float32) if weights is None else weights
        unit = image.pixels if plain else values.to_unit(image.pixels, _seen(weights))[0]
        cells = np.s_[place.top // CELL_PX : -(-place.bottom // CELL_PX), place.left // CELL_PX : -(-place.right // CELL_PX)]
        colours[cells], totals[cells] = cells_of(unit, weights, heaviest)
    return surroundings(colours, totals, heaviest)


def weights_of(image: Image, valid: Array | None) -> Array | None:
    """(H, W, 1 or C): how much of each sample can be seen; None: all of all."""
    if valid is None or image.alpha is None:
        return valid if image.alpha is None else image.alpha[..., None]
    return np.where(valid, image.alpha[..., None], 0)


def _seen(weights: Array | None) -> Array | None:
    return None if weights is None else weights > 0
