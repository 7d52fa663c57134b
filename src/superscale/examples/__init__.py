"""Three small photographs to try things with, free to use (NOTICE): ``superscale examples`` copies them."""

from __future__ import annotations

from pathlib import Path

PHOTOS = ("astronaut.jpg", "cat.jpg", "coffee.jpg")


def photo(name: str = "cat.jpg") -> Path:
    """The path of an example, by its file's name."""
    return Path(__file__).parent / PHOTOS[PHOTOS.index(name)]
