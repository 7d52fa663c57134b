"""What a person can choose when pictures are enlarged: one value that the command line, Python and others share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from superscale.errors import UsageError

Precision = Literal["auto", "fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "fp16", "bf16")
LARGEST_SCALE = 64


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions:
    """``scale``: any factor, None for the network's own; another one is reached by exact resizing afterwards.

    ``tile``: input pixels a side, "auto" (as the memory allows that is free, and halved where that turns out wrong), or 0 for the
    whole picture; a number is never shrunk. ``overlap``: pixels that a tile sees around itself, or "auto". ``consistent``:
    back-project, so that the result, reduced again, gives back the input. ``tta``: self-ensemble, the mean over the picture's
    eight orientations, at eight times the cost. Raises UsageError for a value that cannot be.
    """

    scale: float | None = None
    device: str = "auto"
    precision: Precision = "auto"
    tile: int | Literal["auto"] = "auto"
    overlap: int | Literal["auto"] = "auto"
    consistent: bool = False
    tta: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale <= LARGEST_SCALE:
            raise UsageError(f"scale must be between 0 and {LARGEST_SCALE}, got {self.scale}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.tile != "auto" and (not isinstance(self.tile, int) or self.tile < 0):
            raise UsageError(f"tile must be 'auto', 0 or a number of pixels, got {self.tile!r}")
        if self.overlap != "auto" and (not isinstance(self.overlap, int) or self.overlap < 0):
            raise UsageError(f"overlap must be 'auto' or a number of pixels, got {self.overlap!r}")
