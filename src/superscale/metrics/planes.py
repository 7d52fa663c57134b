"""What every full-reference metric does first: check the two pictures, choose the colour, cut the border."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from superscale.errors import UsageError
from superscale.image.color import luma
from superscale.image.pixels import PEAK_8BIT

Color = Literal["y", "rgb"]


def measured_planes(
    super_res: Tensor, high_res: Tensor, *, data_range: float, border: int, color: Color
) -> tuple[Tensor, Tensor]:
    """Both batches (B, C, H, W) in float64, values 0 to ``data_range``, as luma (B, 1, ...) or as they are, borders cut.

    Raises UsageError when shapes differ or nothing is left inside the border.
    """
    if super_res.shape != high_res.shape or super_res.ndim != 4:
        raise UsageError(f"expected two batches (B, C, H, W) alike, got {tuple(super_res.shape)} and {tuple(high_res.shape)}")
    if min(super_res.shape[-2:]) <= 2 * border:
        raise UsageError(f"nothing is left of {tuple(super_res.shape[-2:])} pixels inside a border of {border}")
    if color not in ("y", "rgb"):
        raise UsageError(f"color must be 'y' or 'rgb', got {color!r}")
    first, second = (_colored(planes.double(), data_range, color) for planes in (super_res, high_res))
    inside = slice(border, -border) if border else slice(None)
    return first[..., inside, inside], second[..., inside, inside]


def _colored(planes: Tensor, data_range: float, color: Color) -> Tensor:
    if color == "rgb" or planes.shape[1] == 1:
        return planes
    if planes.shape[1] != 3:
        raise UsageError(
            f"pictures of {planes.shape[1]} bands have no luma; measure them with color rgb, which takes all bands"
        )
    return luma(planes / data_range) / PEAK_8BIT * data_range
