"""What a person can choose when pictures are enlarged: one value that the command line, Python and others share."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from superscale.errors import UsageError

Precision = Literal["auto", "fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "fp16", "bf16")
BackendName = Literal["auto", "torch", "onnx", "openvino"]
BACKENDS: tuple[BackendName, ...] = ("auto", "torch", "onnx", "openvino")
LARGEST_SCALE = 64
LARGEST_SIDE = 10**9
# With smaller ones nearly all that is computed is overlap.
LEAST_TILE_PX = 16
BOXES: dict[str, tuple[int, int]] = {"hd": (1280, 720), "fullhd": (1920, 1080), "4k": (3840, 2160), "8k": (7680, 4320)}
PERCENTILES = re.compile(r"p(\d+(?:\.\d+)?):p(\d+(?:\.\d+)?)")
Bands = Literal["auto", "all", "rgb+rest"] | tuple[int, int, int]


@dataclass(frozen=True)
class TargetSize:
    """The size of outputs, by one of: ``width``, ``height`` or ``long_side`` in pixels, the other side following; or ``fit``, a box
    that the output just fits into, (width, height) or one of `BOXES` by name, turned for upright images.

    Raises UsageError for none or several of them, and for sides beyond 1 to `LARGEST_SIDE`.

    >>> TargetSize(long_side=3840).factor(height=480, width=640)
    6.0
    """

    width: int | None = None
    height: int | None = None
    long_side: int | None = None
    fit: str | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        given = [side for side in (self.width, self.height, self.long_side) if side is not None]
        if len(given) + (self.fit is not None) != 1:
            raise UsageError("a target size is one of width, height, long_side and fit")
        if not all(1 <= (wrong := side) <= LARGEST_SIDE for side in (*given, *self.box)):
            raise UsageError(f"a target size must be from one pixel to {LARGEST_SIDE:,}, got {wrong}")

    @property
    def box(self) -> tuple[int, ...]:
        """The sides of ``fit``, the longer first; empty for the others. Raises UsageError for an unknown name."""
        if self.fit is None:
            return ()
        if isinstance(self.fit, tuple):
            return tuple(sorted(self.fit, reverse=True))
        if (sides := BOXES.get(self.fit.lower())) is None:
            found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", self.fit.lower())
            if found is None or "0" in found.groups():
                raise UsageError(f"fit must be one of {', '.join(BOXES)}, or WIDTHxHEIGHT such as 1920x1200, got {self.fit!r}")
            sides = int(found[1]), int(found[2])
        return tuple(sorted(sides, reverse=True))

    @property
    def label(self) -> str:
        """Short, as names of files have it: w1920, h1080, 3840px, 4k."""
        if self.fit is not None:
            return self.fit.lower() if isinstance(self.fit, str) else f"{self.fit[0]}x{self.fit[1]}"
        return f"w{self.width}" if self.width else f"h{self.height}" if self.height else f"{self.long_side}px"

    def factor(self, height: int, width: int) -> float:
        """What both sides of an image are multiplied by."""
        if self.width is not None:
            return self.width / width
        if self.height is not None:
            return self.height / height
        long, short = max(height, width), min(height, width)
        return min(self.box[0] / long, self.box[1] / short) if self.fit is not None else (self.long_side or 1) / long


Scale = float | TargetSize


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions:
    """``scale``: any factor, None for the network's own; another one is reached by exact resizing afterwards. Or a `TargetSize`.

    ``backend``: the library that computes, "auto" for the fastest that was found equal on this machine (`inference.backends.choice`).
    ``tile``: input pixels a side, "auto" (as the memory allows that is free, and halved where that turns out wrong), or 0 for the
    whole picture; a number is never shrunk. ``overlap``: pixels that a tile sees around itself, or "auto". ``consistent``:
    back-project, so that the result, reduced again, gives back the input. ``tta``: self-ensemble, the mean over the picture's
    eight orientations, at eight times the cost.

    ``value_range``: the values that are black and white to the network: "auto" (the full range of 8 bits; for other types what the
    header states, or what is measured), "full" (the full range of the type, for floats 0 to 1), two values, or percentiles
    ("p1:p99"). ``bands``: which bands are colours, and seen by the network together, while every other is enlarged by itself:
    "auto" (as the file says), "all" (none, also not alpha), "rgb+rest" (the first three) or the numbers of three, from 1.
    Raises UsageError for a value that cannot be.
    """

    scale: Scale | None = None
    device: str = "auto"
    precision: Precision = "auto"
    backend: BackendName = "auto"
    tile: int | Literal["auto"] = "auto"
    overlap: int | Literal["auto"] = "auto"
    consistent: bool = False
    tta: bool = False
    value_range: str | tuple[float, float] = "auto"
    bands: Bands = "auto"

    def __post_init__(self) -> None:
        if self.scale is not None and not isinstance(self.scale, int | float | TargetSize):
            raise UsageError(f"scale must be a number or a TargetSize, got {self.scale!r}")
        if isinstance(self.scale, int | float) and not 0 < self.scale <= LARGEST_SCALE:
            raise UsageError(f"scale must be above 0 and at most {LARGEST_SCALE}, got {self.scale:g}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.backend not in BACKENDS:
            raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.tile != "auto" and (not isinstance(self.tile, int) or not (self.tile == 0 or self.tile >= LEAST_TILE_PX)):
            raise UsageError(f"tile must be 'auto', 0 (the whole image) or at least {LEAST_TILE_PX} pixels, got {self.tile!r}")
        if self.overlap != "auto" and (not isinstance(self.overlap, int) or self.overlap < 0):
            raise UsageError(f"overlap must be 'auto' or a number of pixels, got {self.overlap!r}")
        _check_value_range(self.value_range)
        if self.bands not in ("auto", "all", "rgb+rest") and not _three_bands(self.bands):
            raise UsageError(f"bands must be 'auto', 'all', 'rgb+rest' or three different numbers from 1, got {self.bands!r}")


def _check_value_range(choice: str | tuple[float, float]) -> None:
    if isinstance(choice, str):
        found = PERCENTILES.fullmatch(choice)
        right = choice in ("auto", "full") or (found and 0 <= float(found[1]) < float(found[2]) <= 100)
    else:
        right = len(choice) == 2 and all(math.isfinite(value) for value in choice) and choice[0] < choice[1]
    if not right:
        raise UsageError(
            f"the value range must be 'auto', 'full', two rising values or two rising percentiles ('p1:p99'), got {choice!r}"
        )


def _three_bands(bands: object) -> bool:
    return (
        isinstance(bands, tuple)
        and len(bands) == len(set(bands)) == 3
        and all(isinstance(band, int) and band > 0 for band in bands)
    )
