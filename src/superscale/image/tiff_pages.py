"""TIFF files of several pages, read one at a time: stacks of microscopes, scanned documents."""

from __future__ import annotations

from dataclasses import replace
from typing import IO, Any

from tifffile import TiffFile

from superscale.image.picture import Image
from superscale.image.strips import check_directories
from superscale.image.tiff import checked_page, is_picture, page_image


class TiffPages:
    """The pages of a TIFF stream that are pictures of their own: a `Stack`. Raises ImageError where there is none."""

    def __init__(self, stream: IO[bytes], name: str, max_pixels: int | None) -> None:
        self._stream, self._name, self._max_pixels = stream, name, max_pixels
        self._file = TiffFile(stream)
        check_directories(self._file, name)
        kinds = [(is_picture(page), int(getattr(page, "samplesperpixel", 1))) for page in self._file.pages]
        self._places = [number for number, (picture, _) in enumerate(kinds) if picture]
        self._planes = sum(samples for picture, samples in kinds if picture)
        self.count = len(self._places)
        checked_page(self._file.pages[self._places[0]] if self._places else None, self.count, name)

    def page(self, number: int) -> Image:
        """The page ``number``, from 0, with the mask that follows it; what the file says of the whole stays with the first."""
        start = self._places[number]
        end = (*self._places, len(self._file.pages))[number + 1]
        beside: list[Any] = [self._file.pages[place] for place in range(start, end)]
        image = page_image(beside[0], beside, self._stream, self._name, self._max_pixels, self._planes)
        return image if number == 0 else replace(image, metadata=replace(image.metadata, ome=None))
