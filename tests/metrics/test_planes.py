"""What every metric refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscale.errors import UnknownNameError, UsageError
from superscale.metrics.catalog import measure
from superscale.metrics.psnr import psnr
from superscale.metrics.ssim import ssim


def test_what_cannot_be_compared_is_refused() -> None:
    image = torch.zeros(1, 3, 12, 12)
    with pytest.raises(UsageError, match="alike"):
        psnr(image, image[..., 1:], data_range=1, border=0, color="y")
    with pytest.raises(UsageError, match="border of 6"):
        psnr(image, image, data_range=1, border=6, color="y")
    with pytest.raises(UsageError, match="11x11"):
        ssim(image, image, data_range=1, border=4, color="y")
    with pytest.raises(UnknownNameError, match="psnr"):
        measure(np.zeros((12, 12, 3), np.uint8), np.zeros((12, 12, 3), np.uint8), ["pnsr"], border=0, color="y")
