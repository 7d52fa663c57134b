"""High resolution -> low resolution, on the device that trains."""

from __future__ import annotations

from torch import Tensor

from superscale.image.region import Region
from superscale.image.resize import Rounding, imresize, margin_px


def context_px(scale: int) -> int:
    """High-res pixels around a patch that its reduction reads; a multiple of the scale."""
    return margin_px(1 / scale)


def bicubic_patch(high_res: Tensor, scale: int, rounding: Rounding) -> tuple[Tensor, Tensor]:
    """Patches with their context, uint8 (B, C, P + 2m, P + 2m), m = `context_px` -> (low_res, high_res), uint8.

    (B, C, P/scale, P/scale) and (B, C, P, P): sample for sample what cropping a reduction of the whole picture gives.
    """
    margin = context_px(scale)
    side = high_res.shape[-1] - 2 * margin
    inner = Region(margin, margin, side, side)
    low_res = imresize(high_res, 1 / scale, rounding=rounding)
    low_inner = Region(margin // scale, margin // scale, side // scale, side // scale)
    return low_inner.of(low_res), inner.of(high_res)
