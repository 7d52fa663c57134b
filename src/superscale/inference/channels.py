"""What a network that takes three colours in [0, 1] makes of other pictures: of bands, of measurements, of holes, of alpha."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import Unsupported
from superscale.image.fringe import CELL_PX
from superscale.image.holes import nearest_part, without_false_holes
from superscale.image.io import Image
from superscale.image.picture import with_alpha
from superscale.image.region import Part, Region, whole
from superscale.image.resize import Method, resize_part
from superscale.image.value_range import ValueRange, within_ringing
from superscale.inference.consistency import back_projected
from superscale.inference.survey import Survey, range_of, surveyed
from superscale.options import Bands, UpscaleOptions

Array = NDArray[Any]
Progress = Callable[[int, int], None]
# what is seen of a part (h, w, 1 or the network's channels) -> its target
Network = Callable[[Array, Part], Array]
# the bands, from 0, that go through the network together: one or three
Groups = list[tuple[int, ...]]

RGB = 3


def enlarge_image(
    image: Image,
    network: Network,
    parts: list[Part],
    options: UpscaleOptions,
    progress: Progress | None,
    network_channels: int = RGB,
    values: ValueRange | None = None,
) -> Image:
    """Grey stays grey, type and metadata are kept; alpha is enlarged bicubically, and colours under it are those of the nearest
    visible pixels, as are values in holes; holes are enlarged by nearest neighbour. ``options.consistent``: back-project, and note
    by how much. ``values``: the range, None for that of this image (`measured_range`). A network of one channel more than the image
    has takes alpha as its last one. ``parts`` cover the larger picture."""
    if sees_alpha(image, options.bands, network_channels):
        joined = replace(image, pixels=with_alpha(image), alpha=None)
        larger = enlarge_image(joined, network, parts, options, progress, network_channels, values)
        return replace(larger, pixels=larger.pixels[..., :-1], alpha=larger.pixels[..., -1])
    image, groups = grouped(image, options.bands, network_channels)
    all_of_it = whole(image.height, image.width)
    survey = surveyed(lambda: [(all_of_it, image)], image, options.value_range, values)
    image = replace(image, values=survey.values, remarks=(*image.remarks, *said_of(survey, groups)))
    enlarged: Array | None = None
    if options.consistent:
        image, enlarged = _consistent(image, network, parts, survey, groups, progress)
        progress = None
    pixels: Array = np.empty((*parts[0].new_size, image.channels), image.pixels.dtype)
    alpha = None if image.alpha is None else np.empty(parts[0].new_size, image.alpha.dtype)
    for number, part in enumerate(parts):
        ready = None if enlarged is None else part.target.of_pixels(enlarged)
        made = enlarged_part(image.part, part, survey, groups, network, part_of(progress, number, len(parts)), ready)
        part.target.of_pixels(pixels)[...] = made.pixels
        if alpha is not None:
            part.target.of_pixels(alpha)[...] = made.alpha
    return image.with_pixels(pixels, alpha)


def measured_range(image: Image, options: UpscaleOptions, network_channels: int = RGB) -> ValueRange:
    """The values of an image that are black and white, as `enlarge_image` takes them."""
    image, _ = grouped(image, options.bands, network_channels)
    return range_of(lambda: [(whole(image.height, image.width), image)], image, options.value_range)


def sees_alpha(image: Image, bands: Bands, network_channels: int) -> bool:
    """Whether the network takes the image's alpha as its last channel."""
    return image.alpha is not None and bands == "auto" and network_channels == image.channels + 1 > 2


def enlarged_part(
    read: Callable[[Region], Image],
    part: Part,
    survey: Survey,
    groups: Groups,
    network: Network,
    progress: Progress | None = None,
    ready: Array | None = None,
) -> Image:
    """A part of the larger picture: its pixels, alpha and mask. ``read``: some of the smaller one; ``ready``: what the network made."""
    place = part.at_hand.aligned(CELL_PX, *part.size)
    here = Here(read(place), replace(part, at_hand=place), survey)
    pixels = here.samples(here.through(network, groups, progress) if ready is None else ready)
    mask = None if here.image.mask is None else nearest_part(here.image.mask, here.part)
    return replace(here.image, pixels=pixels, alpha=None if here.image.alpha is None else here.alpha(), mask=mask)


def _consistent(
    image: Image, network: Network, parts: list[Part], survey: Survey, groups: Groups, progress: Progress | None
) -> tuple[Image, Array]:
    """What the network makes of the whole picture, back-projected."""
    here = Here(image, replace(parts[0], at_hand=whole(image.height, image.width)), survey)
    larger: Array = np.empty((*parts[0].new_size, image.channels), here.visible.dtype)
    for number, part in enumerate(parts):
        samples = here.through(network, groups, part_of(progress, number, len(parts)), part)
        part.target.of_pixels(larger)[...] = samples
    larger, before, after = back_projected(larger, here.visible)
    note = f"reduced again it gives back the input to {after:.1f} dB; {before:.1f} dB before back-projection"
    return image.noted(note), larger


class Here:
    """A part of a picture: its pixels at hand, which are aligned to cells, and what is known of the whole."""

    def __init__(self, image: Image, part: Part, survey: Survey) -> None:
        self.image, self.part, self.survey = image, part, survey
        self.visible, self.beyond, self.valid = survey.seen_of(image, part.at_hand)

    def through(self, network: Network, groups: Groups, progress: Progress | None, part: Part | None = None) -> Array:
        """What the network makes of it: the target's samples (h, w, C), in [0, 1] or of the picture's type."""
        part = part or self.part
        seen = part.seen.within(self.part.at_hand).of_pixels(self.visible)
        enlarged: list[Array] = []
        for number, group in enumerate(groups, start=1):
            enlarged.append(network(seen if group == tuple(range(seen.shape[-1])) else seen[..., list(group)], part))
            if progress is not None:
                progress(number, len(groups))
        order = np.argsort([band for group in groups for band in group])
        return enlarged[0] if _is_all_in_order(groups) else np.concatenate(enlarged, axis=-1)[..., order]

    def samples(self, enlarged: Array) -> Array:
        """What the network made of it -> samples of the picture's type, with the file's own in the holes, whatever they are."""
        image, part, survey = self.image, self.part, self.survey
        pixels = enlarged
        if survey.extremes is not None:
            # Without negative lobes: what lies beyond may be many times as large as everything else.
            added = 0.0 if self.beyond is None else self._resized(self.beyond, "bilinear")
            pixels = survey.values.from_unit(within_ringing(enlarged, survey.extremes), image.pixels.dtype, added)
        larger = None if self.valid is None else nearest_part(self.valid, part)
        if larger is not None:
            pixels = np.where(larger, pixels, nearest_part(image.pixels, part))
        middle = (survey.values.low + survey.values.high) / 2
        return without_false_holes(pixels, image.metadata.geo, larger, image.has_colours, middle)

    def alpha(self) -> Array:
        """The target's alpha (h, w), of a picture that has one."""
        alpha: Any = self.image.alpha
        larger = self._resized(alpha, "bicubic")
        return larger if alpha.dtype.kind == "u" else larger.clip(0, 1)

    def _resized(self, samples: Array, method: Method) -> Array:
        return resize_part(samples, self.part.at_hand, self.part.size, self.part.target, self.part.new_size, method)


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


def _is_all_in_order(groups: Groups) -> bool:
    """Whether a picture goes through the network as it is."""
    return len(groups) == 1 and groups[0] == tuple(range(len(groups[0])))


def said_of(survey: Survey, groups: Groups) -> tuple[str, ...]:
    """What was chosen: the range, and which bands go together."""
    values = f"black to white: {survey.values}"
    if _is_all_in_order(groups):
        return (values,)
    together = next((group for group in groups if len(group) > 1), ())
    numbers = ", ".join(str(band + 1) for band in together)
    colours = f", but {numbers} together as red, green and blue" if together else ""
    return values, f"{sum(map(len, groups))} bands: each by itself{colours}"


def part_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """Reports the tiles of one of several equal parts as tiles of the whole, so that progress never goes back."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + done, parts * total)
