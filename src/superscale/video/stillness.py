"""What stands still is not computed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from superscale.image.pixels import white
from superscale.image.region import Part

Array = NDArray[Any]
# what a tile is made from (h, w, C) and its place -> its target
Network = Callable[[Array, Part], Array]
LEVELS = 2**8 - 1


class Enlarger(Protocol):
    """What makes larger pictures of the frames of a clip."""

    def restart(self) -> None:
        """Forget the frames before."""

    def __call__(self, pixels: Array) -> Array:
        """(H, W, C) -> the larger picture, which nobody changes from then on."""


class StillTiles:
    """Enlarges frames tile by tile. A tile whose input, as the plan cuts it, is the same to the last bit as when it was last computed keeps
    its result, so that the pictures are those of computing every tile.

    ``tolerance``: by how many levels of 8 bits a sample of the input may differ and the tile still be kept; the input that it is
    compared with stays the one that the result was computed from. ``computed`` and ``kept`` count tiles.
    """

    def __init__(self, network: Network, parts: list[Part], tolerance: float = 0) -> None:
        self.network, self.parts, self.tolerance = network, parts, tolerance
        self.computed = self.kept = 0
        self._seen: list[Array | None] = [None] * len(parts)
        self._larger: Array | None = None

    def restart(self) -> None:
        """Forget the frames before."""
        self._seen = [None] * len(self.parts)
        self._larger = None

    def __call__(self, pixels: Array) -> Array:
        """(H, W, C) -> (H', W', C) of the same type."""
        changed = [number for number, part in enumerate(self.parts) if not self._is_still(number, part.seen.of_pixels(pixels))]
        self.computed += len(changed)
        self.kept += len(self.parts) - len(changed)
        if self._larger is not None and not changed:
            return self._larger
        empty = np.empty((*self.parts[0].new_size, pixels.shape[2]), pixels.dtype)
        larger: Array = empty if self._larger is None else self._larger.copy()
        for number in changed:
            part = self.parts[number]
            seen = part.seen.of_pixels(pixels)
            part.target.of_pixels(larger)[...] = self.network(seen, part)
            self._seen[number] = seen.copy()
        self._larger = larger
        return larger

    def _is_still(self, number: int, seen: Array) -> bool:
        before = self._seen[number]
        if before is None:
            return False
        if not self.tolerance:
            return bool(np.array_equal(before, seen))
        allowed = self.tolerance * white(seen.dtype) / LEVELS
        return bool(np.abs(seen.astype(np.int32) - before).max() <= allowed)
