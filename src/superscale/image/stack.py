"""Stacks: files of several pages (TIFF) or frames (DICOM), read and written one at a time."""

from __future__ import annotations

from typing import Protocol

from superscale.image.picture import Image


class Stack(Protocol):
    """Pages that are read when they are asked for."""

    @property
    def count(self) -> int:
        """How many there are."""

    def page(self, number: int) -> Image:
        """The page ``number``, from 0. Raises ImageError, or whatever a decoder stumbles over in a damaged one."""


class StackWriter(Protocol):
    """Pages that are written as they come."""

    def add(self, image: Image) -> None:
        """Write one more page. Raises Unsupported for one that the format does not hold."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What the format did not hold, known when it is finished."""

    def finish(self) -> None:
        """Write what stands behind the last page."""
