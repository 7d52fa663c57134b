"""`Upscaler`: one picture in, the same kind of picture out, larger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superscale.errors import Cancelled, OutOfMemoryError, UsageError
from superscale.image.fringe import spread_colours
from superscale.image.io import Image, PillowPicture, decode, read_image, to_pillow
from superscale.image.pixels import to_float, to_pixels
from superscale.image.resize import resize_to
from superscale.inference.backends.torch_backend import Precision, TorchBackend
from superscale.inference.consistency import back_projected
from superscale.inference.tile_size import UNKNOWN_BYTES, bytes_per_pixel, tile_that_fits
from superscale.inference.tiling import upscale_tiled
from superscale.machine.device import free_bytes, pick_device
from superscale.networks.self_ensemble import SelfEnsemble
from superscale.weights.checkpoint import Model
from superscale.weights.store import default_model, find_model

Array = NDArray[Any]
Progress = Callable[[int, int], None]

SMALLEST_TILE_PX = 16
RGB = 3


class Cancel(Protocol):
    """Anything like threading.Event."""

    def is_set(self) -> bool: ...


class Upscaler:
    """Enlarges pictures with one network; thread-safe.

    ``model``: a bundled name or a path to a model file; the default is the best-looking bundled one that is fast enough on the
    device. ``scale``: any factor, the network's own by default; another one is reached by exact resizing afterwards. ``tile``: input
    pixels a side, "auto" (as the memory allows that is free now, and halved where that turns out wrong), or 0 for the whole picture; a
    number is never shrunk.
    ``consistent``: back-project, so that the result, reduced again, gives back the input. ``tta``: self-ensemble, the mean over
    the picture's eight orientations, a little closer to the truth at eight times the cost.
    ``progress(tiles_done, tiles)`` is called after every tile; when ``cancel`` is set, `Cancelled` is raised.
    """

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        scale: float | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        tile: int | Literal["auto"] = "auto",
        overlap: int | Literal["auto"] = "auto",
        consistent: bool = False,
        tta: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        if scale is not None and not 0 < scale <= 64:
            raise UsageError(f"scale must be between 0 and 64, got {scale}")
        place = pick_device(device)
        self.model = model if isinstance(model, Model) else find_model(model or default_model(place.type))
        generator = SelfEnsemble(self.model.generator) if tta else self.model.generator
        self.backend = TorchBackend(generator, place, precision)
        self.contract = self.backend.contract
        self.scale = self.contract.scale if scale is None else scale
        self.overlap_px = self._overlap(overlap)
        free = free_bytes(self.backend.device)
        self.free_bytes = UNKNOWN_BYTES if free is None else free
        self.tile_px = self._tile(tile)
        self.shrink_tiles = tile == "auto"
        self.consistent = consistent
        self.progress, self.cancel = progress, cancel

    def _tile(self, tile: int | str) -> int:
        if tile == "auto":
            needed = bytes_per_pixel(self.model.generator)
            return tile_that_fits(needed, self.overlap_px, self.backend.device, self.free_bytes)
        if not isinstance(tile, int) or tile < 0:
            raise UsageError(f"tile must be 'auto', 0 or a number of pixels, got {tile!r}")
        return tile

    def _overlap(self, overlap: int | str) -> int:
        if overlap == "auto":
            return self.contract.overlap_px
        if not isinstance(overlap, int) or overlap < 0:
            raise UsageError(f"overlap must be 'auto' or a number of pixels, got {overlap!r}")
        return overlap

    @overload
    def __call__(self, picture: str | Path | PillowPicture) -> PillowPicture: ...
    @overload
    def __call__(self, picture: Tensor) -> Tensor: ...
    @overload
    def __call__(self, picture: Array) -> Array: ...

    def __call__(self, picture: Any) -> Any:
        """Path -> PIL picture; PIL -> PIL; array (H, W[, C]) -> array; tensor (B, C, H, W) -> tensor: same kind, type and device.

        Integer samples are uint8 or uint16; floats lie in [0, 1]. C is 1 (grey) or 3 (RGB), for paths and PIL also with alpha.
        Raises ImageError for a path whose picture PIL could not hold: deeper than 8 bits with colour or alpha, and bands.
        """
        if isinstance(picture, str | Path):
            return to_pillow(self.enlarge(read_image(picture)))
        if isinstance(picture, PillowPicture):
            return to_pillow(self.enlarge(decode(picture)))
        if isinstance(picture, Tensor):
            return self._tensor(picture)
        if isinstance(picture, np.ndarray):
            if picture.ndim == 2:
                return self.pixels(picture[..., None])[..., 0]
            return self.pixels(picture)
        raise UsageError(f"expected a path, a PIL picture, an array or a tensor, got {type(picture).__name__}")

    def enlarge(self, image: Image) -> Image:
        """Image -> Image: grey stays grey, type and metadata are kept; alpha is enlarged bicubically, and colours under it are
        those of the nearest visible pixels; bands go through the network three at a time."""
        visible = image.pixels if image.alpha is None else spread_colours(image.pixels, image.alpha)
        pixels = self._bands(visible)
        height, width = pixels.shape[:2]
        if self.consistent:
            pixels, before, after = back_projected(pixels, visible)
            note = f"reduced again it gives back the input to {after:.1f} dB; {before:.1f} dB before back-projection"
            image = replace(image, notices=(*image.notices, note))
        if image.alpha is None:
            return image.with_pixels(pixels, None)
        alpha = resize_to(image.alpha, height, width)
        return image.with_pixels(pixels, alpha if alpha.dtype.kind == "u" else alpha.clip(0, 1))

    def _bands(self, pixels: Array) -> Array:
        count = pixels.shape[2]
        if count in (1, RGB):
            return self._resized(pixels, self._share(0, 1))
        groups: list[Array] = []
        starts = range(0, count, RGB)
        for number, start in enumerate(starts):
            # The last group is filled up by repeating its last band.
            chosen = np.minimum(np.arange(start, start + RGB), count - 1)
            groups.append(self._resized(pixels[..., chosen], self._share(number, len(starts)))[..., : count - start])
        return np.concatenate(groups, axis=-1)

    def pixels(self, pixels: Array) -> Array:
        """(H, W, C), C = 1 or 3, uint8, uint16 or float -> the same, larger."""
        return self._picture(pixels, self._share(0, 1))

    def _picture(self, pixels: Array, progress: Progress) -> Array:
        if pixels.ndim != 3 or pixels.shape[2] not in (1, RGB) or 0 in pixels.shape:
            raise UsageError(f"expected a picture (H, W, 1) or (H, W, 3), got {pixels.shape}")
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise UsageError("the picture holds samples that are not finite; fill them with a number first")
        enlarged = self._resized(pixels, progress)
        return back_projected(enlarged, pixels)[0] if self.consistent else enlarged

    def _resized(self, pixels: Array, progress: Progress) -> Array:
        height, width = (max(1, int(side * self.scale + 0.5)) for side in pixels.shape[:2])
        enlarged = self._in_range(pixels, progress)
        return enlarged if enlarged.shape[:2] == (height, width) else resize_to(enlarged, height, width)

    def _in_range(self, pixels: Array, progress: Progress) -> Array:
        """Floats beyond [0, 1] (radiance, reflectance, heights) are brought into it for the network, and back afterwards."""
        low, high = 0.0, 1.0
        if pixels.dtype.kind == "f":
            low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
        if (low, high) == (0.0, 1.0):
            return self._in_tiles(pixels, self.tile_px, progress)
        scaled = ((pixels - low) / (high - low)).astype(pixels.dtype)
        return (self._in_tiles(scaled, self.tile_px, progress) * (high - low) + low).astype(pixels.dtype)

    def _in_tiles(self, pixels: Array, tile_px: int, progress: Progress | None) -> Array:
        contract = self.contract
        return upscale_tiled(pixels, self._one_tile, contract.scale, tile_px, self.overlap_px, progress, contract.multiple_of)

    def _share(self, part: int, parts: int) -> Progress:
        """Reports the tiles of one of several equal parts as tiles of the whole, so that progress never goes back."""

        def report(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(part * total + done, parts * total)

        return report

    def _one_tile(self, pixels: Array) -> Array:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("cancelled")
        size = max(pixels.shape[:2])
        half = size // 2
        try:
            return self._through_network(pixels)
        except OutOfMemoryError:
            # A size that the user gave is not shrunk behind their back.
            if not self.shrink_tiles or half < SMALLEST_TILE_PX or half + 2 * self.overlap_px >= size:
                raise
        # This tile again, in halves: out here, where no traceback holds what the failed one had allocated.
        return self._in_tiles(pixels, half, None)

    def _through_network(self, pixels: Array) -> Array:
        planes = torch.from_numpy(to_float(pixels))
        grey = planes.shape[0] == 1
        padded = _padded(planes.expand(RGB, -1, -1), self.contract.multiple_of)
        scale = self.contract.scale
        super_res = self.backend(padded[None])[0, :, : planes.shape[1] * scale, : planes.shape[2] * scale]
        return to_pixels(super_res.mean(dim=0, keepdim=True) if grey else super_res, pixels.dtype)

    def _tensor(self, batch: Tensor) -> Tensor:
        if batch.ndim != 4 or not len(batch):
            raise UsageError(f"expected a tensor (B, C, H, W), got shape {tuple(batch.shape)}")
        plain = batch.detach().cpu()
        arrays = (plain.float() if plain.is_floating_point() else plain).movedim(1, -1).numpy()
        pictures = [self._picture(array, self._share(number, len(arrays))) for number, array in enumerate(arrays)]
        stacked = torch.stack([torch.from_numpy(picture).movedim(-1, 0) for picture in pictures])
        return stacked.to(batch.device, batch.dtype)


def _padded(planes: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides divide by ``multiple``."""
    bottom, right = -planes.shape[-2] % multiple, -planes.shape[-1] % multiple
    if not bottom and not right:
        return planes
    return torch.nn.functional.pad(planes[None], (0, right, 0, bottom), mode="replicate")[0]
