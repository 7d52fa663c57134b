"""A picture through a network: in tiles, each of them again in halves where the device is full."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from superscale.errors import Cancelled, OutOfMemoryError
from superscale.image.pixels import to_float, to_pixels
from superscale.inference.backends import Backend
from superscale.inference.self_ensemble import SelfEnsemble
from superscale.inference.sizes import UNKNOWN_BYTES, tile_that_fits
from superscale.inference.tiling import upscale_tiled
from superscale.options import UpscaleOptions

Array = NDArray[Any]
Progress = Callable[[int, int], None]

SMALLEST_TILE_PX = 16


class Cancel(Protocol):
    """Anything like threading.Event."""

    def is_set(self) -> bool:
        """Whether the caller asks to stop."""


@runtime_checkable
class Choosing(Protocol):
    """A backend that is several."""

    def suited(self, area_px: int, deep: bool) -> Backend:
        """The one for a picture of so many pixels, ``deep``: of more than 8 bits."""


class Engine:
    """A backend and the tiles it is fed with. ``free_bytes``: of its device, when the tiles were chosen."""

    def __init__(self, backend: Backend, options: UpscaleOptions) -> None:
        self.backend: Backend = SelfEnsemble(backend) if options.tta else backend
        self.used: dict[str, None] = {}
        self.contract = backend.contract
        self.overlap_px = self.contract.overlap_px if options.overlap == "auto" else options.overlap
        free = backend.free_bytes()
        self.free_bytes = UNKNOWN_BYTES if free is None else free
        # A size that the user gave is not shrunk behind their back.
        self.shrinks_tiles = options.tile == "auto"
        self.tile_px = self._fitting_tile() if options.tile == "auto" else options.tile

    def _fitting_tile(self) -> int:
        device_type = self.backend.device.partition(":")[0]
        return tile_that_fits(self.contract.bytes_per_pixel, self.overlap_px, device_type, self.free_bytes)

    def suited(self, pixels: Array) -> Engine:
        """The engine for this picture, whose backend stays the same for all its tiles."""
        inner = self.backend.backend if isinstance(self.backend, SelfEnsemble) else self.backend
        if not isinstance(inner, Choosing):
            return self
        one = copy(self)
        chosen = inner.suited(pixels.shape[0] * pixels.shape[1], deep=pixels.dtype != np.uint8)
        one.backend = SelfEnsemble(chosen) if isinstance(self.backend, SelfEnsemble) else chosen
        self.used[chosen.name] = None
        return one

    def computed_by(self) -> list[str]:
        """The names of the backends that computed up to now."""
        return list(self.used) or [self.backend.name]

    def __call__(self, pixels: Array, progress: Progress | None = None, cancel: Cancel | None = None) -> Array:
        """(H, W, C) -> (H*scale, W*scale, C) of the same type, C = 1 or the network's (any for a network of 1); integers, or floats in [0, 1].

        ``progress(tiles_done, tiles)`` is called after every tile. Raises Cancelled when ``cancel`` is set, OutOfMemoryError, and
        ModelError.
        """
        return self._in_tiles(pixels, self.tile_px, progress, cancel)

    def _in_tiles(self, pixels: Array, tile_px: int, progress: Progress | None, cancel: Cancel | None) -> Array:
        def upscale(tile: Array) -> Array:
            return self._one_tile(tile, cancel)

        contract = self.contract
        return upscale_tiled(pixels, upscale, contract.scale, tile_px, self.overlap_px, progress, contract.multiple_of)

    def _one_tile(self, pixels: Array, cancel: Cancel | None) -> Array:
        if cancel is not None and cancel.is_set():
            raise Cancelled("cancelled")
        size = max(pixels.shape[:2])
        half = size // 2
        try:
            return self._through_network(pixels)
        except (OutOfMemoryError, MemoryError):
            if not self.shrinks_tiles or half < SMALLEST_TILE_PX or half + 2 * self.overlap_px >= size:
                raise
        # This tile again, in halves: out here, where no traceback holds what the failed one had allocated.
        return self._in_tiles(pixels, half, None, cancel)

    def _through_network(self, pixels: Array) -> Array:
        planes = to_float(pixels)
        if self.contract.channels == 1:
            return to_pixels(np.concatenate([self._planes(plane[None]) for plane in planes]), pixels.dtype)
        grey = planes.shape[0] == 1
        super_res = self._planes(np.broadcast_to(planes, (self.contract.channels, *planes.shape[1:])) if grey else planes)
        return to_pixels(super_res.mean(axis=0, keepdims=True) if grey else super_res, pixels.dtype)

    def _planes(self, planes: Array) -> Array:
        """The network's channels (C, h, w) -> (C, h*scale, w*scale)."""
        height, width = (side * self.contract.scale for side in planes.shape[1:])
        super_res: Array = self.backend(_padded(planes, self.contract.multiple_of)[None])[0, :, :height, :width]
        return super_res


def _padded(planes: Array, multiple: int) -> Array:
    """Repeat the last row and column until both sides divide by ``multiple``."""
    bottom, right = -planes.shape[-2] % multiple, -planes.shape[-1] % multiple
    return np.ascontiguousarray(np.pad(planes, ((0, 0), (0, bottom), (0, right)), mode="edge"))
