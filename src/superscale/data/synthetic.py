"""Drawn pictures for trying the machinery without any photograph: the `smoke` recipe and the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SERIES = 20170721
SHAPES = 14


def synthetic_picture(number: int, side_px: int = 128) -> NDArray[np.uint8]:
    """Picture ``number`` of a fixed series: a soft ground, hard edges, thin lines, fine stripes; uint8 (side, side, 3)."""
    random = np.random.default_rng((SERIES, number))
    y, x = np.mgrid[0:side_px, 0:side_px] / side_px
    slopes = random.uniform(-1, 1, (2, 3))
    picture = 0.5 + 0.3 * (slopes[0] * (x - 0.5)[..., None] + slopes[1] * (y - 0.5)[..., None])
    for _ in range(SHAPES):
        picture[_shape(random, x, y)] = random.random(3)
    pixels: NDArray[np.uint8] = np.rint(picture * np.iinfo(np.uint8).max).astype(np.uint8)
    return pixels


def _shape(random: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pixels a random rectangle, disc, line or set of stripes covers."""
    centre_x, centre_y = random.random(2)
    size = random.uniform(0.05, 0.3)
    inside: NDArray[np.bool_] = np.maximum(np.abs(x - centre_x), np.abs(y - centre_y)) < size
    angle = random.uniform(0, np.pi)
    across = (x - centre_x) * np.cos(angle) + (y - centre_y) * np.sin(angle)
    kind = random.integers(4)
    covered: NDArray[np.bool_] = inside
    if kind == 1:
        covered = np.hypot(x - centre_x, y - centre_y) < size
    elif kind == 2:
        covered = np.abs(across) < random.uniform(0.005, 0.02)
    elif kind == 3:
        covered = inside & (across % random.uniform(0.03, 0.08) < 0.015)
    return covered
