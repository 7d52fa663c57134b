"""What a network that takes three colours in [0, 1] makes of other pictures: of bands, of floats beyond the range, of alpha."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import Unsupported
from superscale.image.fringe import spread_colours
from superscale.image.io import Image
from superscale.image.resize import resize_to
from superscale.inference.consistency import back_projected

Array = NDArray[Any]
Progress = Callable[[int, int], None]
# (H, W, 1 or 3) -> the same, larger
Enlarge = Callable[[Array, Progress | None], Array]

RGB = 3


def enlarge_image(
    image: Image, enlarge: Enlarge, consistent: bool, progress: Progress | None, network_channels: int = RGB
) -> Image:
    """Grey stays grey, type and metadata are kept; alpha is enlarged bicubically, and colours under it are those of the nearest
    visible pixels. ``consistent``: back-project, and note by how much."""
    visible = image.pixels if image.alpha is None else spread_colours(image.pixels, image.alpha)
    pixels = enlarge_bands(visible, enlarge, progress, network_channels)
    if consistent:
        pixels, before, after = back_projected(pixels, visible)
        note = f"reduced again it gives back the input to {after:.1f} dB; {before:.1f} dB before back-projection"
        image = replace(image, notices=(*image.notices, note))
    if image.alpha is None:
        return image.with_pixels(pixels, None)
    alpha = resize_to(image.alpha, *pixels.shape[:2])
    return image.with_pixels(pixels, alpha if alpha.dtype.kind == "u" else alpha.clip(0, 1))


def enlarge_bands(pixels: Array, enlarge: Enlarge, progress: Progress | None, network_channels: int = RGB) -> Array:
    """Grey and what the network takes as they are; for one of RGB, other numbers of bands three at a time, the last group filled up by
    repeating its last band. Raises Unsupported when another network takes another number of bands."""
    count = pixels.shape[2]
    if network_channels == 1 or count in (1, network_channels):
        return enlarge(pixels, progress)
    if network_channels != RGB:
        raise Unsupported(f"a picture of {count} channels, and the network takes {network_channels}; choose another model")
    groups: list[Array] = []
    starts = range(0, count, RGB)
    for number, start in enumerate(starts):
        chosen = np.minimum(np.arange(start, start + RGB), count - 1)
        enlarged = enlarge(pixels[..., chosen], part_of(progress, number, len(starts)))
        groups.append(enlarged[..., : count - start])
    return np.concatenate(groups, axis=-1)


def part_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Reports the tiles of one of several equal parts as tiles of the whole, so that progress never goes back."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, parts * total)


def in_unit_range(pixels: Array, enlarge: Callable[[Array], Array]) -> Array:
    """Floats beyond [0, 1] (radiance, reflectance, heights) are brought into it for the network, and back afterwards."""
    if pixels.dtype.kind != "f":
        return enlarge(pixels)
    low = min(0.0, float(pixels.min()))
    high = max(1.0, float(pixels.max()))
    if (low, high) == (0.0, 1.0):
        return enlarge(pixels)
    scaled = ((pixels - low) / (high - low)).astype(pixels.dtype)
    return (enlarge(scaled) * (high - low) + low).astype(pixels.dtype)
