"""Which piece of a picture a report shows."""

from __future__ import annotations

import numpy as np

from superscale.data.pairs import Pair
from superscale.evaluation.crops import telling_region
from superscale.image.resize import imresize


def test_the_crop_lies_where_bicubic_loses_most() -> None:
    high_res = np.full((128, 160, 3), 90, np.uint8)
    high_res[70:90:2, 100:120] = 255
    region = telling_region(Pair("a", imresize(high_res, 1 / 4), high_res), 32)
    assert (region.height, region.width) == (32, 32)
    assert region.top % 4 == region.left % 4 == 0
    assert 58 <= region.top <= 70
    assert 88 <= region.left <= 100
