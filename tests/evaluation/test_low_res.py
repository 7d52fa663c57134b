"""How low-resolution pictures were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscale.data.pairs import PairFolder
from superscale.evaluation.low_res import low_res_of, not_antialiased
from superscale.image.io import Image, write_image


def test_without_antialiasing_four_taps_are_read() -> None:
    """a = -0.75 halfway between two samples: weights -3/32, 19/32, 19/32, -3/32."""
    row = np.array([10, 200, 30, 90, 10, 200, 30, 90], np.uint8)
    high_res = np.repeat(np.repeat(row[None, :, None], 8, axis=0), 3, axis=2)
    expected = (-3 * 10 + 19 * 200 + 19 * 30 - 3 * 90) / 32
    assert abs(float(not_antialiased(high_res, 4)[0, 0, 0]) - expected) <= 0.5


@pytest.mark.parametrize("rounding", ["double", "uint8"])
def test_stored_low_res_pictures_are_recognised_by_their_pixels(photos: Path, tmp_path: Path, rounding: str) -> None:
    for pair in PairFolder(photos, 4, rounding):  # type: ignore[arg-type]
        write_image(tmp_path / "set" / "HR" / f"{pair.name}.png", Image(pair.high_res))
        write_image(tmp_path / "set" / "LR_x4" / f"{pair.name}.png", Image(pair.low_res))
    assert low_res_of(PairFolder(tmp_path / "set", 4)) == f"bicubic, {rounding}"
    write_image(tmp_path / "set" / "LR_x4" / "photo-0.png", Image(np.zeros((24, 28, 3), np.uint8)))
    assert low_res_of(PairFolder(tmp_path / "set", 4)) == "LR_x4/ as found"
