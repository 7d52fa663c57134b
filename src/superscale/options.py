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
PERCENTILES = re.compile(r"p(\d+(?:\.\d+)?):p(\d+(?:\.\d+)?)")
Bands = Literal["auto", "all", "rgb+rest"] | tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions:
    """``scale``: any factor, None for the network's own; another one is reached by exact resizing afterwards.

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

    scale: float | None = None
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
        if self.scale is not None and not 0 < self.scale <= LARGEST_SCALE:
            raise UsageError(f"scale must be between 0 and {LARGEST_SCALE}, got {self.scale}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.backend not in BACKENDS:
            raise UsageError(f"backend must be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.tile != "auto" and (not isinstance(self.tile, int) or self.tile < 0):
            raise UsageError(f"tile must be 'auto', 0 or a number of pixels, got {self.tile!r}")
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
