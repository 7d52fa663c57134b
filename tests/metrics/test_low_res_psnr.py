"""LR-PSNR against the variance of rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from superscale.errors import UsageError
from superscale.image.resize import imresize
from superscale.metrics.low_res_psnr import lr_psnr


def plane(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture))[None, None]


def test_lr_psnr_knows_whether_the_output_gives_back_the_input(photo_like: Callable[..., np.ndarray]) -> None:
    truth = photo_like()
    low_res = imresize(truth.astype(np.uint8), 1 / 4).astype(np.float64)
    options = {"scale": 4, "data_range": 255, "border": 1, "color": "y"}
    honest = lr_psnr(plane(truth), plane(low_res), **options).item()  # type: ignore[arg-type]
    # Rounding to 8 bits is all that differs: noise of variance 1/12.
    assert honest == pytest.approx(10 * np.log10(255**2 * 12), abs=0.15)
    assert lr_psnr(plane(truth + 8), plane(low_res), **options).item() == pytest.approx(20 * np.log10(255 / 8), abs=0.1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="×4"):
        lr_psnr(plane(truth[4:]), plane(low_res), **options)  # type: ignore[arg-type]
