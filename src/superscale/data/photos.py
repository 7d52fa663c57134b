"""The photographs that a pack is made of, alone or with real low-resolution pictures, read into one layout."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from superscale.data.alignment import pair_shift
from superscale.data.layout import Layout, in_layout, layout_of
from superscale.data.matching import named, partners
from superscale.data.sources import Source
from superscale.errors import DataError, ImageError
from superscale.image.io import Image, read_image
from superscale.image.region import crop_to_multiple

# Low-res pixels by which the pictures of a pair may lie apart before it is told.
ALLOWED_SHIFT_PX = 0.5


@dataclass(frozen=True)
class Photo:
    """A photograph (H, W, C) with its name and sha256, and the real low-res picture of it (H/scale, W/scale, C), if there is one."""

    name: str
    sha256: str
    pixels: NDArray[Any]
    low_res: NDArray[Any] | None = None
    low_res_sha256: str = ""

    @property
    def layout(self) -> Layout:
        """Of its samples."""
        return Layout(str(self.pixels.dtype), self.pixels.shape[2])


@dataclass
class Left:
    """What was left out, with why, and the pairs that do not lie over one another; filled while photos are read."""

    skipped: list[tuple[str, str]] = field(default_factory=list)
    shifts: list[tuple[str, float, float]] = field(default_factory=list)

    def add(self, others: Left) -> None:
        """Take in what others were left out."""
        self.skipped += others.skipped
        self.shifts += others.shifts


class Wider(Exception):
    """A photo needs a wider layout than the others so far: read all again in it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.layout = layout


class Photos:
    """The pictures of a source; with ``low_res``, those of another as their partners.

    Raises DataError when names or sizes of partners do not match: all that headers tell.
    """

    def __init__(self, high_res: Source, low_res: Source | None, scale: int, channels: int | None, bits: int | None) -> None:
        self.high_res, self.low_res, self.scale = high_res, low_res, scale
        self.channels, self.bits = channels, bits
        self.partner: dict[str, str] = {}
        if low_res is not None:
            matched = partners(high_res.names, low_res.names, scale, low_res.place)
            self.partner = dict(zip(high_res.names, matched, strict=True))
            self._check_sizes(low_res)

    def _check_sizes(self, low_res: Source) -> None:
        wrong = []
        for name, partner in self.partner.items():
            try:
                width, height = self.high_res.size(name)
                low_width, low_height = low_res.size(partner)
            except (ImageError, OSError):
                continue  # a damaged picture is told when it is read
            if (width // self.scale, height // self.scale) != (low_width, low_height):
                wrong.append(f"{partner} ({low_width}x{low_height}) of {name} ({width}x{height})")
        if wrong:
            raise DataError(f"{low_res.place}: {len(wrong)} pictures are not 1/{self.scale} of their partner: {named(wrong)}")

    def read(self, layout: Layout | None, left: Left, progress: Callable[[int, int], None] | None) -> Iterator[Photo]:
        """The photos in a layout, by default the first one's. Raises Wider when a later one does not fit into it."""
        for number, name in enumerate(self.high_res.names, start=1):
            if (photo := self.one(name, layout, left)) is not None:
                layout = layout or photo.layout
                yield photo
            if progress is not None:
                progress(number, len(self.high_res.names))
        left.skipped += self.alone()

    def one(self, name: str, layout: Layout | None, left: Left) -> Photo | None:
        """One of them; None, and in ``left`` why, if it is damaged. Raises Wider."""
        try:
            return self._read(name, layout, left)
        except (ImageError, OSError) as error:
            left.skipped.append((name, str(error).removeprefix("<bytes>: ").removeprefix(f"{name}: ")))
            return None

    def alone(self) -> list[tuple[str, str]]:
        """Low-res pictures without a partner, as `Left` has them."""
        if self.low_res is None:
            return []
        alone = sorted(set(self.low_res.names) - set(self.partner.values()))
        return [(f"{self.low_res.place.name}/{name}", "no high-resolution partner") for name in alone]

    def _read(self, name: str, layout: Layout | None, left: Left) -> Photo:
        data = self.high_res.read(name)
        image = read_image(data)
        if self.low_res is None:
            return Photo(name, sha256(data), in_layout(image, self._room(layout, image, name), name))
        partner = self.partner[name]
        low_data = self.low_res.read(partner)
        low_name = f"{self.low_res.place.name}/{partner}"
        low_image = read_image(low_data, name=low_name)
        room = self._room(self._room(layout, image, name), low_image, low_name)
        pixels, low_res = in_layout(image, room, name), in_layout(low_image, room, low_name)
        pixels = crop_to_multiple(pixels, self.scale)
        down, right = pair_shift(pixels, low_res, self.scale)
        if max(abs(down), abs(right)) > ALLOWED_SHIFT_PX:
            left.shifts.append((name, down, right))
        return Photo(name, sha256(data), pixels, low_res, sha256(low_data))

    def _room(self, layout: Layout | None, image: Image, name: str) -> Layout:
        """The layout with room for this picture. Raises Unsupported when it fits into none, Wider when into a wider one only."""
        own = layout_of(image)
        if self.channels is not None:
            own = replace(own, channels=self.channels)
        if self.bits is not None:
            own = replace(own, dtype=f"uint{self.bits}")
        room = layout.with_room_for(own) if layout is not None else own
        in_layout(replace(image, pixels=image.pixels[:1, :1], alpha=None), room, name)
        if layout is not None and room != layout:
            raise Wider(room)
        return room


def sha256(data: Any) -> str:
    """The digest as hex digits."""
    return hashlib.sha256(data).hexdigest()
