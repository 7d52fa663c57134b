"""The piece of every picture that a report shows: where bicubic enlargement loses most, so that all models show the same place."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from superscale.data.pairs import Array, Pair
from superscale.evaluation.benchmark import Seen
from superscale.evaluation.page import INPUT, TRUTH
from superscale.image.io import Image, encode
from superscale.image.pixels import change_depth
from superscale.image.region import Region
from superscale.image.resize import imresize
from superscale.machine import processes

SIDE_PX = 128


def telling_region(pair: Pair, side_px: int = SIDE_PX) -> Region:
    """A square on the low-res grid whose bicubic enlargement has the largest squared error; the whole of a smaller picture."""
    scale = pair.high_res.shape[0] // pair.low_res.shape[0]
    error = np.square(imresize(pair.low_res.astype(np.float64), scale) - pair.high_res).mean(axis=2)
    height, width = (min(side_px // scale * scale, side) for side in error.shape)
    sums = np.pad(error, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    on_grid = boxes[::scale, ::scale]
    top, left = np.unravel_index(int(on_grid.argmax()), on_grid.shape)
    return Region(int(top) * scale, int(left) * scale, height, width)


class Crops:
    """Collects, picture after picture, the same piece of input, truth and every model's output."""

    def __init__(self, side_px: int = SIDE_PX) -> None:
        self.side_px = side_px
        # (data, picture) -> what -> pixels
        self.pieces: dict[tuple[str, str], dict[str, Array]] = {}
        self._regions: dict[tuple[str, str], Region] = {}
        self._peaks: dict[tuple[str, str], int | None] = {}

    def add(self, data: str, model: str, seen: Seen) -> None:
        """Take the piece of one output; of a picture's first also those of input and truth."""
        key = (data, seen.pair.name)
        if key not in self.pieces:
            self._peaks[key] = seen.pair.peak
            region = self._regions[key] = telling_region(seen.pair, self.side_px)
            scale = seen.pair.high_res.shape[0] // seen.pair.low_res.shape[0]
            small = Region(region.top // scale, region.left // scale, region.height // scale, region.width // scale)
            nearest = small.of_pixels(seen.pair.low_res).repeat(scale, axis=0).repeat(scale, axis=1)
            self.pieces[key] = {TRUTH: region.of_pixels(seen.pair.high_res).copy(), INPUT: nearest}
        self.pieces[key][f"model {model}"] = self._regions[key].of_pixels(seen.super_res).copy()

    def keep(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
        """The named pictures' pieces as PNG in data: URLs, in the order of ``keys``, of all processes at every one."""
        own = [
            [*key, {what: _url(pixels, self._peaks[key]) for what, pixels in self.pieces[key].items()}]
            for key in keys
            if key in self.pieces
        ]
        found = {(data, name): pieces for part in processes.gather(own) for data, name, pieces in part}
        return {key: found[key] for key in keys if key in found}


def _shown(pixels: Array, peak: int | None) -> Array:
    """As a page shows it: 8 bits, white where the peak is, of bands the first three."""
    shown = np.ascontiguousarray(pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1])
    return change_depth(shown if peak is None else shown / np.float32(peak), np.uint8)


def _url(pixels: Array, peak: int | None) -> str:
    return "data:image/png;base64," + base64.b64encode(encode(Image(_shown(pixels, peak)), ".png")).decode()
