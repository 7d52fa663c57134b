"""What a network that takes three colours in [0, 1] makes of other pictures: of bands, of measurements, of holes, of alpha."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import Unsupported
from superscale.image.fringe import spread_colours
from superscale.image.holes import nearest, without_false_holes
from superscale.image.io import Image
from superscale.image.picture import with_alpha
from superscale.image.resize import resize_to
from superscale.image.value_range import ValueRange, full_range, is_plain, value_range, within_ringing
from superscale.inference.consistency import back_projected
from superscale.options import Bands, UpscaleOptions

Array = NDArray[Any]
Progress = Callable[[int, int], None]
# (H, W, 1 or 3) -> the same, larger
Enlarge = Callable[[Array, Progress | None], Array]
# the bands, from 0, that go through the network together: one or three
Groups = list[tuple[int, ...]]

RGB = 3


def enlarge_image(
    image: Image,
    enlarge: Enlarge,
    options: UpscaleOptions,
    progress: Progress | None,
    network_channels: int = RGB,
    values: ValueRange | None = None,
) -> Image:
    """Grey stays grey, type and metadata are kept; alpha is enlarged bicubically, and colours under it are those of the nearest
    visible pixels, as are values in holes; holes are enlarged by nearest neighbour. ``options.consistent``: back-project, and note
    by how much. ``values``: the range, None for that of this image (`measured_range`). A network of one channel more than the image
    has takes alpha as its last one."""
    if image.alpha is not None and options.bands == "auto" and network_channels == image.channels + 1 > 2:
        whole = replace(image, pixels=with_alpha(image), alpha=None)
        larger = enlarge_image(whole, enlarge, options, progress, network_channels, values)
        return replace(larger, pixels=larger.pixels[..., :-1], alpha=larger.pixels[..., -1])
    image, groups = grouped(image, options.bands, network_channels)
    valid = image.valid()
    image = replace(image, values=values or _range(image, valid, options))
    larger, pixels = _enlarged_samples(image, valid, groups, enlarge, options, progress)
    if image.metadata.geo is not None or valid is not None:
        pixels = _with_holes(pixels, image, valid)
    if image.alpha is None:
        return larger.with_pixels(pixels, None)
    alpha = resize_to(image.alpha, *pixels.shape[:2])
    return larger.with_pixels(pixels, alpha if alpha.dtype.kind == "u" else alpha.clip(0, 1))


def measured_range(image: Image, options: UpscaleOptions, network_channels: int = RGB) -> ValueRange:
    """The values of an image that are black and white, as `enlarge_image` takes them."""
    image, _ = grouped(image, options.bands, network_channels)
    return _range(image, image.valid(), options)


def _range(image: Image, valid: Array | None, options: UpscaleOptions) -> ValueRange:
    weights = _weights(valid, image.alpha)
    seen = None if weights is None else weights > 0
    return value_range(image.pixels, seen, options.value_range, image.metadata.stated_range)


def _enlarged_samples(
    image: Image, valid: Array | None, groups: Groups, enlarge: Enlarge, options: UpscaleOptions, progress: Progress | None
) -> tuple[Image, Array]:
    """(the image with what is to be said of it, its samples enlarged, with anything in the holes)."""
    weights = _weights(valid, image.alpha)
    seen = None if weights is None else weights > 0
    values = image.values or full_range(image.pixels.dtype)
    image = replace(image, remarks=(*image.remarks, f"black to white: {values}", *_said_of(groups)))
    plain = is_plain(values, image.pixels.dtype)
    unit, beyond = (image.pixels, None) if plain else values.to_unit(image.pixels, seen)
    visible = unit if weights is None else spread_colours(unit, weights)
    pixels = enlarge_bands(visible, enlarge, groups, progress)
    if options.consistent:
        pixels, before, after = back_projected(pixels, visible)
        image = image.noted(f"reduced again it gives back the input to {after:.1f} dB; {before:.1f} dB before back-projection")
    if plain:
        return image, pixels
    # Without negative lobes: what lies beyond may be many times as large as everything else.
    added = 0.0 if beyond is None else resize_to(beyond, pixels.shape[0], pixels.shape[1], "bilinear")
    return image, values.from_unit(within_ringing(pixels, unit, seen), image.pixels.dtype, added)


def _weights(valid: Array | None, alpha: Array | None) -> Array | None:
    """(H, W, 1 or C): how much of each sample can be seen; None: all of all."""
    if valid is None or alpha is None:
        return valid if alpha is None else alpha[..., None]
    return np.where(valid, alpha[..., None], 0)


def _with_holes(pixels: Array, image: Image, valid: Array | None) -> Array:
    """Enlarged samples, and in the holes those of the file, whatever they are."""
    height, width = pixels.shape[:2]
    larger = None if valid is None else nearest(valid, height, width)
    if larger is not None:
        pixels = np.where(larger, pixels, nearest(image.pixels, height, width))
    return without_false_holes(pixels, image.metadata.geo, larger, image.has_colours)


def grouped(image: Image, bands: Bands, network_channels: int = RGB) -> tuple[Image, Groups]:
    """The image and which of its bands go through the network together; with any choice but "auto", alpha is a band too.

    A network of one channel takes any bands, another one than RGB's as many as it has channels, or grey. Raises Unsupported for
    bands that the image does not have, or the network does not take.
    """
    if bands == "auto" and network_channels != RGB:
        if network_channels > 1 and image.channels not in (1, network_channels):
            raise Unsupported(
                f"a picture of {image.channels} channels, and the network takes {network_channels}; choose another model"
            )
        return image, [tuple(range(image.channels))]
    if bands == "auto":
        together: tuple[int, ...] = tuple(range(RGB)) if image.has_colours else ()
        return image, _with_the_rest(together, image.channels)
    together = () if bands == "all" else (0, 1, 2) if bands == "rgb+rest" else tuple(band - 1 for band in bands)
    samples = with_alpha(image)
    count = samples.shape[2]
    if together and max(together) >= count:
        raise Unsupported(f"the picture has {count} bands, and no band {max(together) + 1}")
    leading = together == (0, 1, 2)
    metadata = replace(image.metadata, leading_rgb=leading and count > RGB, grey_bands=not leading and count == RGB)
    return replace(image, pixels=samples, alpha=None, metadata=metadata), _with_the_rest(together, count)


def _with_the_rest(together: tuple[int, ...], count: int) -> Groups:
    return ([together] if together else []) + [(band,) for band in range(count) if band not in together]


def _said_of(groups: Groups) -> tuple[str, ...]:
    """What is said of a picture of bands."""
    if len(groups) == 1:
        return ()
    together = next((group for group in groups if len(group) > 1), ())
    numbers = ", ".join(str(band + 1) for band in together)
    colours = f", but {numbers} together as red, green and blue" if together else ""
    return (f"{sum(map(len, groups))} bands: each by itself{colours}",)


def enlarge_bands(pixels: Array, enlarge: Enlarge, groups: Groups, progress: Progress | None) -> Array:
    """(H, W, C) -> the same, larger: each group of bands on its own."""
    if len(groups) == 1:
        return enlarge(pixels, progress)
    enlarged = [enlarge(pixels[..., list(group)], part_of(progress, n, len(groups))) for n, group in enumerate(groups)]
    order = np.argsort([band for group in groups for band in group])
    return np.concatenate(enlarged, axis=-1)[..., order]


def part_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Reports the tiles of one of several equal parts as tiles of the whole, so that progress never goes back."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, parts * total)
