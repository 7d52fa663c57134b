from __future__ import annotations

import numpy as np
import pytest

from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image
from superscale.image.resize import imresize
from superscale.inference.consistency import back_projected, low_res_psnr
from superscale.inference.upscaler import Upscaler
from superscale.weights.checkpoint import Model

SMALL = imresize(synthetic_picture(2, 160), 1 / 4)


def independent_lr_psnr(super_res: np.ndarray, low_res: np.ndarray) -> float:
    """With MATLAB's reduction of 8-bit pictures left unrounded, and the definition of PSNR."""
    error = imresize(super_res.astype(float), 1 / 4) - low_res
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def test_a_back_projected_picture_gives_back_the_input_far_better() -> None:
    blurred = imresize(SMALL, 4, "bilinear")
    corrected, before, after = back_projected(blurred, SMALL)
    assert before == pytest.approx(independent_lr_psnr(blurred, SMALL))
    assert after == pytest.approx(independent_lr_psnr(corrected, SMALL))
    assert after > before + 8
    assert after > 40
    assert corrected.dtype == np.uint8


def test_what_is_consistent_already_stays_as_it_is() -> None:
    flat = np.full((10, 12, 3), 77, np.uint8)
    corrected, before, after = back_projected(imresize(flat, 4), flat)
    assert np.unique(corrected).tolist() == [77]
    assert before == after == float("inf") or min(before, after) > 200


def test_floats_and_sixteen_bits_keep_their_type_and_range() -> None:
    for dtype, largest in ((np.uint16, 65535), (np.float32, 1)):
        low_res = (SMALL / 255 * largest).astype(dtype)
        corrected, before, after = back_projected(imresize(low_res, 4, "bilinear"), low_res)
        assert corrected.dtype == dtype
        assert after > before + 8
        assert low_res_psnr(corrected, low_res) == after


def test_the_upscaler_says_what_it_gained_and_does_the_same_to_arrays(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, consistent=True)
    image = upscaler.enlarge(Image(SMALL))
    plain = Upscaler(tiny_model)(SMALL)
    assert any("dB before back-projection" in notice for notice in image.notices)
    assert independent_lr_psnr(image.pixels, SMALL) > independent_lr_psnr(plain, SMALL)
    np.testing.assert_array_equal(upscaler(SMALL), image.pixels)
