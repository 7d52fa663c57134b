from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import camera
from skimage.registration import optical_flow_ilk
from torch import Tensor

from superscale.errors import UsageError
from superscale.metrics.flow import consistent, flow, moved
from superscale.metrics.steadiness import FLOOR, Frames, flicker, warping_error

HOW: Any = {"data_range": 1.0, "border": 4, "color": "rgb"}


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.from_numpy(camera()[100:228, 120:312] / np.float32(255))[None, None]


def shifted(picture: Tensor, across: float, down: float) -> Tensor:
    """What it shows, so many pixels to the right and down."""
    by = torch.tensor([-across, -down]).view(1, 2, 1, 1).expand(1, 2, *picture.shape[-2:])
    return moved(picture, by, "bicubic")


@pytest.mark.parametrize("by", [(0.3, 0.7), (-3.4, 2.2), (9.3, -6.1)])
def test_the_flow_is_the_shift_and_at_least_as_near_as_that_of_scikit_image(photo: Tensor, by: tuple[float, float]) -> None:
    other = shifted(photo, *by)
    found = flow(photo, other)[0, :, 16:-16, 16:-16]
    down, across = optical_flow_ilk(photo[0, 0].numpy(), other[0, 0].numpy(), radius=4)
    theirs = torch.from_numpy(np.stack((across, down)))[:, 16:-16, 16:-16]
    error, their_error = ((one - torch.tensor(by).view(2, 1, 1)).norm(dim=0).median() for one in (found, theirs))
    assert error < max(0.1, their_error)


def test_a_flow_is_consistent_but_where_something_is_covered(photo: Tensor) -> None:
    other = shifted(photo, 3, 0)
    assert consistent(flow(photo, other), flow(other, photo))[..., :-4].float().mean() > 0.95
    other[..., 40:100, 60:120] = torch.rand(60, 60, generator=torch.Generator().manual_seed(0))
    covered = consistent(flow(photo, other), flow(other, photo))
    assert covered[..., 45:95, 65:110].float().mean() < 0.6 < covered[..., 130:180].float().mean()


def test_what_only_moves_has_no_warping_error_and_noise_has_its_own(photo: Tensor) -> None:
    clip = Frames(shifted(photo, 2, 1), photo)
    assert warping_error(clip, clip, **HOW).item() < 1
    noise = 5 / 255 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    noisy = Frames(clip.now + noise, photo)
    assert warping_error(noisy, clip, **HOW).item() == pytest.approx(5, rel=0.06)


def test_flicker_is_the_variance_where_the_original_stands_still(photo: Tensor) -> None:
    random = torch.Generator().manual_seed(0)
    moving = photo.clone()
    moving[..., 64:] = torch.rand(128, 128, generator=random)
    truth = Frames(moving, photo)
    assert flicker(truth, truth, **HOW).item() == 1
    for deviation in (1, 4):
        noise = deviation / 255 * torch.randn(photo.shape, generator=random)
        found = flicker(Frames(moving + noise, photo), truth, **HOW).item()
        assert found == pytest.approx((deviation**2 + FLOOR) / FLOOR, rel=0.1)


def test_frames_of_two_sizes_and_too_small_ones_are_refused(photo: Tensor) -> None:
    with pytest.raises(UsageError, match="two frames alike"):
        Frames(photo, photo[..., 1:])
    small = Frames(photo[..., :15, :15], photo[..., :15, :15])
    with pytest.raises(UsageError, match="8x8"):
        flicker(small, small, **HOW)
