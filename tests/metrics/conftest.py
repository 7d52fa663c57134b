"""Pictures to measure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

Picture = Callable[..., np.ndarray]


@pytest.fixture
def photo_like(noise: np.random.Generator) -> Picture:
    """Smooth fields at several sizes: a spectrum that falls as a photograph's does."""

    def draw(side: int = 256) -> np.ndarray:
        fields = [gaussian_filter(noise.normal(0, 1, (side, side)), size) * size * 18 for size in (0.7, 1.5, 3, 6, 12)]
        return (128 + sum(fields)).clip(0, 255).round()

    return draw


@pytest.fixture
def pictures(noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A noisy ramp and the same with more noise, (40, 48, 3), whole numbers from 0 to 255."""
    ramp = np.linspace(20, 220, 48)[None, :, None] * np.ones((40, 1, 3))
    first = ramp + noise.normal(0, 6, ramp.shape)
    return first.clip(0, 255).round(), (first + noise.normal(0, 9, ramp.shape)).clip(0, 255).round()


@pytest.fixture
def batches(pictures: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures as (1, 3, 40, 48)."""
    first, second = (torch.from_numpy(picture).movedim(-1, 0)[None] for picture in pictures)
    return first, second


@pytest.fixture
def lumas(pictures: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Their luma (40, 48)."""
    first, second = (picture @ np.array([65.481, 128.553, 24.966]) / 255 + 16 for picture in pictures)
    return first, second
