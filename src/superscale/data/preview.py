"""A sheet of what a network will see: patches of a pack beside what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superscale.data.degrade import bicubic_patch, degraded_patch
from superscale.data.patches import PatchPlan
from superscale.image.captions import captioned
from superscale.image.io import Image, write_image
from superscale.image.pixels import white
from superscale.image.resize import Rounding

ROWS = 6
DRAWS = 4
GAP_PX = 4


def write_preview(plan: PatchPlan, path: Path, rounding: Rounding = "double") -> None:
    """Write a PNG: a row for each of a run's first patches, the high-res patch, then its low-res one enlarged by repeating pixels.

    With a degradation, the low-res patch comes ``DRAWS`` times: as the run will draw it first, then as it draws later ones.
    """
    rows = [_row(plan, number, rounding) for number in range(ROWS)]
    sheet = np.concatenate(rows, axis=0)[:-GAP_PX, :-GAP_PX]
    column_px = rows[0].shape[0]
    captions = ["high-res", *(f"low-res, {number}" for number in range(1, rows[0].shape[1] // column_px))]
    write_image(path, Image(captioned(sheet, captions if len(captions) > 2 else ["high-res", "low-res"], column_px)))


def _row(plan: PatchPlan, number: int, rounding: Rounding) -> NDArray[np.uint8]:
    pixels = plan.high_res_with_context(plan.place(number))
    patch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    draws: list[Any] = [draw for column in range(DRAWS) if (draw := plan.draw(number + column * ROWS)) is not None]
    if draws:
        low_res, high_res = degraded_patch(patch.expand(len(draws), -1, -1, -1), plan.scale, draws)
    else:
        low_res, high_res = bicubic_patch(patch, plan.scale, rounding)
    enlarged = low_res.repeat_interleave(plan.scale, dim=-2).repeat_interleave(plan.scale, dim=-1)
    crops = torch.cat((high_res[:1], enlarged)).permute(0, 2, 3, 1).numpy()
    framed = np.pad(crops, ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=white(np.uint8))
    return np.concatenate(list(framed), axis=1)
