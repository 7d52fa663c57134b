"""`Image`: samples as the file's header says they are, and everything that travels with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.Image import Image as PillowPicture

from superscale.errors import Damaged, TooLarge, Unsupported
from superscale.image import geo, holes
from superscale.image.metadata import Metadata
from superscale.image.pixels import change_depth, white
from superscale.image.region import Region
from superscale.image.value_range import ValueRange

Array = NDArray[Any]
KeepOrStrip = Literal["keep", "strip"]

GREY, RGB = 1, 3
NOTHING_SAID = Metadata()


@dataclass(frozen=True)
class Image:
    """A decoded picture, upright: ``pixels`` (H, W, C) uint8, uint16 or floats (white 1.0); C = 1 grey, 3 RGB, else bands.

    Measurements may also be int8, int16, int32 or uint32, with any value for white; what is no data among them is not finite, has
    the value that the metadata name, or is marked by ``mask`` (H, W), true where there are data; None: no mask.
    ``alpha``: (H, W) of the same type, not multiplied into the colours, or None. ``metadata`` is what `write_image` puts back.
    ``notices``: what had to be changed on the way, one sentence each; ``remarks``: what was chosen. ``damage``: what was wrong with
    a damaged file that was read all the same, None for a whole one. ``values``: the range of values that was black to white when
    the picture was enlarged, None before; ``network``: the name of the one that enlarged it, "" before.
    """

    pixels: Array
    alpha: Array | None = None
    metadata: Metadata = NOTHING_SAID
    notices: tuple[str, ...] = ()
    damage: str | None = None
    mask: Array | None = None
    remarks: tuple[str, ...] = ()
    values: ValueRange | None = None
    network: str = ""

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

    def valid(self) -> Array | None:
        """(H, W, 1 or C), true where there are data; None where nothing is missing."""
        return holes.valid_samples(self.pixels, self.metadata.geo, self.mask, self.has_colours)

    @property
    def may_have_holes(self) -> bool:
        """Whether any of its samples may be hidden, or no data."""
        stated = self.alpha is not None or self.mask is not None or self.pixels.dtype.kind == "f"
        return stated or geo.nodata_value(self.metadata.geo, self.pixels.dtype) is not None

    def part(self, region: Region) -> Image:
        """A view of some of its pixels."""
        alpha, mask = (None if plane is None else region.of_pixels(plane) for plane in (self.alpha, self.mask))
        return replace(self, pixels=region.of_pixels(self.pixels), alpha=alpha, mask=mask)

    @property
    def has_colours(self) -> bool:
        """Whether the first three bands are red, green and blue."""
        return self.metadata.leading_rgb or (self.channels == RGB and not self.metadata.grey_bands)

    def with_pixels(self, pixels: Array, alpha: Array | None) -> Image:
        """The same picture at another size: what ties pixels to the ground, or to a unit, and the mask are scaled with them."""
        metadata = self.metadata
        across, down = pixels.shape[1] / self.width, pixels.shape[0] / self.height
        if metadata.geo is not None:
            metadata = replace(metadata, geo=geo.scaled(metadata.geo, across, down))
        if metadata.per_unit is not None:
            metadata = replace(metadata, per_unit=(metadata.per_unit[0] * across, metadata.per_unit[1] * down))
        if metadata.dpi is not None and metadata.calibrated:
            metadata = replace(metadata, dpi=(metadata.dpi[0] * across, metadata.dpi[1] * down))
        mask = None if self.mask is None else holes.nearest(self.mask, *pixels.shape[:2])
        return replace(self, pixels=pixels, alpha=alpha, mask=mask, metadata=metadata)

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
    is_known = samples.dtype in (np.uint8, np.uint16, np.float32)
    if image.channels not in (GREY, RGB) or not is_known or (samples.dtype != np.uint8 and channels != GREY):
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
    if image.pixels.dtype.kind == "i" or image.pixels.dtype == np.uint32:
        raise Unsupported(
            f"{name}: expected 8 or 16 unsigned bits or floats, got samples of {image.pixels.dtype}; convert it first"
        )
    if image.valid() is not None:
        raise Unsupported(f"{name}: holds samples without data (a no-data value, a mask or NaN); fill them with a number first")
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


def separated(samples: Array, has_alpha: bool) -> tuple[Array, Array | None]:
    """Samples (H, W[, C]) -> pixels (H, W, C) and alpha (H, W)."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    if not has_alpha:
        return np.ascontiguousarray(samples), None
    return np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
