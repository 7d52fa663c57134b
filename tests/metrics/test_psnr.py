"""PSNR against scikit-image and values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from superscale.metrics.psnr import psnr

Pictures = tuple[np.ndarray, np.ndarray]
Batches = tuple[torch.Tensor, torch.Tensor]


@pytest.mark.parametrize("border", [0, 4])
def test_psnr_is_scikit_images(border: int, pictures: Pictures, batches: Batches, lumas: Pictures) -> None:
    inside = (slice(border, 40 - border), slice(border, 48 - border))
    for color, planes in (("rgb", pictures), ("y", lumas)):
        got = psnr(*batches, data_range=255, border=border, color=color)  # type: ignore[arg-type]
        expected = peak_signal_noise_ratio(planes[0][inside], planes[1][inside], data_range=255)
        assert got.item() == pytest.approx(expected, abs=1e-9)


def test_equal_pictures_are_infinitely_alike(batches: Batches) -> None:
    assert psnr(batches[0], batches[0], data_range=255, border=0, color="y").item() == float("inf")


def test_psnr_by_hand() -> None:
    black, grey = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.1)
    grey[1] *= 10
    assert psnr(black, grey, data_range=1, border=0, color="y").tolist() == pytest.approx([20, 0], abs=1e-5)
