"""Pictures to be damaged, and the one question about what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from superscale.errors import ImageError
from superscale.image.io import read_image

Array = NDArray[Any]
HEIGHT, WIDTH = 48, 64
DEPTHS = (0.02, 0.3, 0.6, 0.9, 0.99)


def photo(channels: int = 3, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Smooth, with some noise, and never flat: every block of it needs bits."""
    y, x = np.mgrid[:height, :width]
    waves = [100 + 70 * np.sin(x / (5 + n) + n) + 40 * np.cos(y / (4 + n)) for n in range(channels)]
    noise = np.random.default_rng(channels).integers(-15, 16, (height, width, channels))
    return (np.dstack(waves) + noise).clip(1, 254).astype(np.uint8)


def saved(form: str, picture: Any = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (picture or Pillow.fromarray(photo())).save(stream, form, **options)
    return stream.getvalue()


def assert_refused_or_same(damaged: bytes, whole: Array, must_refuse: bool = True) -> None:
    try:
        pixels = read_image(damaged).pixels
    except ImageError:
        return
    assert pixels.shape == whole.shape
    np.testing.assert_array_equal(pixels, whole)
    assert not must_refuse, "what went missing was needed"


JPEGS: dict[str, Callable[[], bytes]] = {
    "4:2:0": lambda: saved("JPEG"),
    "4:2:2": lambda: saved("JPEG", subsampling=1),
    "4:4:4": lambda: saved("JPEG", subsampling=0, quality=95),
    "optimised": lambda: saved("JPEG", optimize=True, quality=30),
    "grey": lambda: saved("JPEG", Pillow.fromarray(photo(1)[..., 0])),
    "RGB": lambda: saved("JPEG", keep_rgb=True),
    "CMYK": lambda: saved("JPEG", Pillow.fromarray(photo(4), "CMYK")),
    "restarts": lambda: saved("JPEG", restart_marker_rows=1),
    "many restarts": lambda: saved("JPEG", restart_marker_blocks=1, subsampling=0),
    "progressive": lambda: saved("JPEG", progressive=True),
    "progressive grey": lambda: saved("JPEG", Pillow.fromarray(photo(1)[..., 0]), progressive=True),
    "progressive 4:4:4 with restarts": lambda: saved("JPEG", progressive=True, subsampling=0, restart_marker_rows=1),
}
END = b"\xff\xd9"
