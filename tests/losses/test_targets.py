"""Sharpened targets, against the published steps done with SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from superscale.data.synthetic import synthetic_picture
from superscale.losses.targets import sharpened


def published(picture: np.ndarray, amount: float) -> np.ndarray:
    """BasicSR's USMSharp: GaussianBlur(51, sigma by OpenCV's rule = 8.0), threshold 10, soft mask."""
    places = np.arange(-25, 26)
    kernel = np.exp(-(places**2) / (2 * 8.0**2))
    kernel /= kernel.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, kernel, axis=0, mode="mirror"), kernel, axis=1, mode="mirror")

    residual = picture - blur(picture)
    soft = blur((np.abs(residual) * 255 > 10).astype(float))
    return soft * np.clip(picture + amount * residual, 0, 1) + (1 - soft) * picture


@pytest.mark.parametrize("amount", [0.5, 1.5])
def test_targets_are_sharpened_as_published(amount: float) -> None:
    picture = synthetic_picture(2, 64) / 255
    expected = np.stack([published(picture[..., channel], amount) for channel in range(3)])
    found = sharpened(torch.from_numpy(picture).permute(2, 0, 1)[None], amount)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(expected - picture.transpose(2, 0, 1)).max() > 0.05


def test_flat_areas_keep_their_noise() -> None:
    noise = 0.5 + torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0)) * (8 / 255)
    torch.testing.assert_close(sharpened(noise, 0.5), noise, rtol=0, atol=0)
