"""How good the average is on pictures it never saw: PSNR-Y, SSIM-Y and the sample sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from superscale.data.pairs import PairFolder
from superscale.errors import Cancelled
from superscale.evaluation.benchmark import benchmark
from superscale.image.pixels import to_float, to_pixels
from superscale.training.config import Recipe
from superscale.training.log import write_sample_sheet


def validation_pairs(recipe: Recipe) -> PairFolder | None:
    """The recipe's validation pictures, or None where it names none. Raises DataError when they do not fit."""
    path = recipe.validation.path
    return PairFolder(path, recipe.scale, recipe.data.rounding) if path else None


def validate(
    network: nn.Module, pairs: PairFolder, recipe: Recipe, device: torch.device, sheet: Path, stop: Callable[[], bool]
) -> dict[str, float]:
    """{"validation_psnr": dB, "validation_ssim": 0..1}, means over the pictures in the papers' convention; writes ``sheet``.

    Raises Cancelled when ``stop``, asked before every picture, says so.
    """

    def upscale(low_res: Any) -> Any:
        if stop():
            raise Cancelled("asked to stop while validating")
        with torch.inference_mode():
            return to_pixels(network(to_float(low_res)[None].to(device))[0])

    metrics = ("psnr", "ssim")
    rows = benchmark(upscale, pairs, model=recipe.name, data=pairs.label, metrics=metrics, border=recipe.scale, color="y")
    shown = [pairs[index] for index in range(min(recipe.validation.samples, len(pairs)))]
    write_sample_sheet(sheet, [(pair.low_res, upscale(pair.low_res), pair.high_res) for pair in shown])
    return {f"validation_{row.metric}": row.mean for row in rows}
