"""The layout of samples, their type and number a pixel, that all pictures of a pack or a pair share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import Unsupported
from superscale.image.picture import GREY, RGB, Image, at_depth, over_white
from superscale.image.pixels import round_half_up

# Luma of RGB in full swing (ITU-R BT.601), which Pillow and OpenCV take for the grey of a colour.
GREY_OF_RGB = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Layout:
    """``dtype``: "uint8" or "uint16". ``channels``: samples a pixel; 1 is grey, 3 RGB, any other number bands."""

    dtype: str
    channels: int

    @property
    def bits(self) -> int:
        """Of a sample."""
        return np.dtype(self.dtype).itemsize * 8

    def with_room_for(self, other: Layout) -> Layout:
        """The narrowest layout that holds both without a loss: the deeper samples, RGB beside grey; bands have room for bands alone."""
        channels = RGB if {self.channels, other.channels} == {GREY, RGB} else self.channels
        return Layout(max(self.dtype, other.dtype, key=lambda name: np.dtype(name).itemsize), channels)


def layout_of(image: Image) -> Layout:
    """A picture's own layout; floats, which a pack does not hold, count as 16 bits."""
    return Layout("uint8" if image.pixels.dtype == np.uint8 else "uint16", image.channels)


def in_layout(image: Image, layout: Layout, name: str) -> NDArray[Any]:
    """The samples (H, W, C) of a picture in a layout: depth changed to the nearest value, alpha laid over white, grey repeated as RGB,
    and RGB made grey as BT.601 weighs it.

    Raises Unsupported, with ``name``, when the number of bands is another, and for signed and 32-bit samples.
    """
    if image.pixels.dtype.kind == "i" or image.pixels.dtype == np.uint32:
        raise Unsupported(f"{name}: expected 8 or 16 unsigned bits or floats, got samples of {image.pixels.dtype}")
    pixels = over_white(at_depth(image, np.dtype(layout.dtype))).pixels
    if image.channels == RGB and layout.channels == GREY:
        pixels = _grey(pixels)
    elif image.channels != layout.channels and (image.channels, layout.channels) != (GREY, RGB):
        raise Unsupported(f"{name}: expected {_named(layout.channels)}, got {_named(image.channels)}")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], layout.channels)))


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    weighed = (pixels @ np.array(GREY_OF_RGB))[..., None]
    grey: NDArray[Any] = round_half_up(pixels.dtype)(weighed).astype(pixels.dtype)
    return grey


def _named(channels: int) -> str:
    return {GREY: "grey (1 channel)", RGB: "RGB (3 channels)"}.get(channels, f"{channels} bands")
