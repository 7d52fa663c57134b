from __future__ import annotations

import numpy as np
import pytest
import torch

from superscale.errors import UsageError
from superscale.image.region import Region, crop_to_multiple, mirrored, mirrored_patch


def test_a_region_grows_only_as_far_as_the_picture_goes() -> None:
    assert Region(1, 5, 4, 4).grown(3, 20, 10) == Region(0, 2, 8, 8)


def test_a_region_within_its_surroundings_is_the_same_pixels() -> None:
    picture = np.arange(200).reshape(10, 20)
    region = Region(3, 4, 2, 5)
    outer = region.grown(2, 10, 20)
    np.testing.assert_array_equal(region.within(outer).of(outer.of(picture)), region.of(picture))
    assert region.scaled(4) == Region(12, 16, 8, 20)


def test_the_crop_keeps_the_upper_left() -> None:
    picture = np.arange(7 * 9).reshape(7, 9)
    np.testing.assert_array_equal(crop_to_multiple(picture, 4), picture[:4, :8])
    with pytest.raises(UsageError, match="smaller than 16x16"):
        crop_to_multiple(picture, 16)


def test_patches_over_the_border_are_numpys_symmetric_padding() -> None:
    picture = np.arange(30).reshape(5, 6)
    expected = np.pad(picture, 4, mode="symmetric")
    np.testing.assert_array_equal(mirrored_patch(picture, Region(-4, -4, 13, 14)), expected)


def test_indices_are_mirrored_alike_as_arrays_and_as_tensors_with_a_length_each() -> None:
    indices = np.arange(-12, 18)
    expected = np.pad(np.arange(6), 12, mode="symmetric")
    np.testing.assert_array_equal(mirrored(indices, 6), expected)
    lengths = torch.tensor([[6], [4]])
    of_tensor = mirrored(torch.from_numpy(indices)[None].expand(2, -1), lengths)
    np.testing.assert_array_equal(of_tensor[0], expected)
    np.testing.assert_array_equal(of_tensor[1], mirrored(indices, 4))
