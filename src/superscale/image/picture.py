"""`Image`: samples as the file's header says they are, and everything that travels with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.Image import Image as PillowPicture

from superscale.errors import Damaged, TooLarge, Unsupported
from superscale.image import geo
from superscale.image.metadata import Metadata
from superscale.image.pixels import change_depth, white

Array = NDArray[Any]
KeepOrStrip = Literal["keep", "strip"]

GREY, RGB = 1, 3
NOTHING_SAID = Metadata()


@dataclass(frozen=True)
class Image:
    """A decoded picture, upright: ``pixels`` (H, W, C) uint8, uint16 or float32 (white 1.0); C = 1 grey, 3 RGB, else bands.

    ``alpha``: (H, W) of the same type, not multiplied into the colours, or None. ``metadata`` is what `write_image` puts back.
    ``notices``: what had to be changed on the way, one sentence each. ``damage``: what was wrong with a damaged file that was read
    all the same, None for a whole one.
    """

    pixels: Array
    alpha: Array | None = None
    metadata: Metadata = NOTHING_SAID
    notices: tuple[str, ...] = ()
    damage: str | None = None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """Samples a pixel, alpha not counted."""
        return int(self.pixels.shape[2])

    def with_pixels(self, pixels: Array, alpha: Array | None) -> Image:
        """The same picture at another size: what ties pixels to the ground is scaled with them."""
        metadata = self.metadata
        if metadata.geo is not None:
            scaled = geo.scaled(metadata.geo, pixels.shape[1] / self.width, pixels.shape[0] / self.height)
            metadata = replace(metadata, geo=scaled)
        return replace(self, pixels=pixels, alpha=alpha, metadata=metadata)

    def noted(self, *notices: str) -> Image:
        """The same picture with those of the notices that it does not have yet."""
        return replace(self, notices=(*self.notices, *(notice for notice in notices if notice not in self.notices)))


def with_alpha(image: Image) -> Array:
    """The samples of a file: pixels (H, W, C), alpha behind them if there is any."""
    return image.pixels if image.alpha is None else np.concatenate((image.pixels, image.alpha[..., None]), axis=-1)


def to_pillow(image: Image) -> PillowPicture:
    """Image -> Pillow picture in mode L, LA, RGB, RGBA, I;16 or F, metadata in ``info``.

    Raises Unsupported for what PIL cannot hold: deeper than 8 bits with colour or alpha, and bands.
    """
    samples = with_alpha(image)
    channels = samples.shape[-1]
    if image.channels not in (GREY, RGB) or (samples.dtype != np.uint8 and channels != GREY):
        raise Unsupported(
            f"PIL cannot hold {channels} channels of {samples.dtype}; give the upscaler an array and get an array back, or "
            "upscale from file to file (superscale upscale), which keeps every bit in PNG and TIFF"
        )
    picture = PillowImage.fromarray(samples[..., 0] if channels == GREY else np.ascontiguousarray(samples))
    picture.info.update(image.metadata.said())
    return picture


def over_white(image: Image) -> Image:
    """The picture laid over white, without alpha."""
    if image.alpha is None:
        return image
    dtype = image.pixels.dtype
    largest = white(dtype)
    alpha = image.alpha[..., None].astype(np.float32) / largest
    blended = (image.pixels.astype(np.float32) / largest) * alpha + (1 - alpha)
    return replace(image, pixels=change_depth(blended, dtype), alpha=None)


def as_rgb8(image: Image, name: str = "<picture>") -> NDArray[np.uint8]:
    """What the networks are trained and measured on: uint8 (H, W, 3), grey repeated, alpha laid over white, deeper samples rounded.

    Raises Unsupported, with ``name``, for a picture of bands: no three of them are red, green and blue.
    """
    if image.channels not in (GREY, RGB):
        raise Unsupported(f"{name}: expected grey or RGB, got {image.channels} bands; choose three of them first")
    pixels = over_white(at_depth(image, np.uint8)).pixels
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], RGB)))


def at_depth(image: Image, dtype: Any) -> Image:
    """The picture with samples of another type, alpha too."""
    alpha = None if image.alpha is None else change_depth(image.alpha, dtype)
    return replace(image, pixels=change_depth(image.pixels, dtype), alpha=alpha)


def checked_size(width: int, height: int, samples: int, max_pixels: int | None, name: str) -> None:
    """Raise Damaged for an empty picture, and TooLarge for one of more pixels (or four times as many samples) than allowed."""
    if width < 1 or height < 1 or samples < 1:
        raise Damaged(f"{name}: the header says {width}x{height} pixels of {samples} samples")
    if max_pixels is not None and (width * height > max_pixels or width * height * samples > 4 * max_pixels):
        bands = f" of {samples} samples" if samples > 4 else ""
        raise TooLarge(f"{name}: {width}x{height}{bands} is more than {max_pixels} pixels", max_pixels)


def separated(samples: Array, name: str, has_alpha: bool) -> tuple[Array, Array | None]:
    """Samples (H, W[, C]) -> pixels (H, W, C) and alpha (H, W). Raises Unsupported when a float sample is not finite."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    if np.issubdtype(samples.dtype, np.floating) and not np.isfinite(samples).all():
        raise Unsupported(f"{name}: holds samples that are not finite (no data?); fill them with a number first")
    if not has_alpha:
        return np.ascontiguousarray(samples), None
    return np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
