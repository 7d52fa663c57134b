"""Captions stand above their columns and leave the pictures as they are."""

from __future__ import annotations

import numpy as np
import pytest

from superscale.image.captions import BAND_PX, captioned


@pytest.mark.parametrize("channels", [1, 3])
def test_a_caption_stands_above_its_column_and_no_other(channels: int) -> None:
    sheet = np.random.default_rng(0).integers(0, 256, (10, 300, channels), dtype=np.uint8)
    shown = captioned(sheet, ["", "a name much longer than its column is wide", ""], 100)
    np.testing.assert_array_equal(shown[BAND_PX:], sheet)
    dark = (shown[:BAND_PX] < 128).any(axis=(0, 2))
    assert dark[100:200].any()
    assert not dark[:100].any()
    assert not dark[200:].any()
