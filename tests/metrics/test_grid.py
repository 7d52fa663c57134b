"""The grid meter on grids that were put into a picture, and on photographs that have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from superscale.data.pairs import PairFolder
from superscale.image.pixels import to_float
from superscale.metrics.grid import grid, grid_lines


def plane(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture))[None, None]


@pytest.mark.parametrize(("period", "place"), [(4, 0), (2, 1)])
def test_the_grid_meter_sees_a_faint_grid_and_its_direction(
    period: int, place: int, photo_like: Callable[..., np.ndarray]
) -> None:
    photo = photo_like()
    options = {"data_range": 255, "border": 4, "color": "y"}
    clean = grid(plane(photo), **options).item()  # type: ignore[arg-type]
    assert 0.7 < clean < 1.3
    stripes = photo + 3 * np.cos(2 * np.pi * np.arange(256) / period)
    lines = grid_lines(plane(stripes), **options)[0]  # type: ignore[arg-type]
    assert lines[0, place] > 2 * clean
    assert lines[1].max() < 1.3
    both = photo + 3.0 * (np.indices(photo.shape) % 4 == 0).all(axis=0)
    assert grid(plane(both.round()), **options).item() > 1.5  # type: ignore[arg-type]


def test_photographs_have_no_grid(benchmarks: Path) -> None:
    values = [
        grid(torch.from_numpy(to_float(pair.high_res))[None], data_range=1, border=4, color="y").item()
        for pair in PairFolder(benchmarks / "Set14" / "HR", 4)
    ]
    assert np.median(values) == pytest.approx(1.05, abs=0.15)
