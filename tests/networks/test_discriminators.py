from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.errors import UsageError
from superscale.networks.catalog import build_discriminator
from superscale.networks.discriminators import HighPass


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_srgans_discriminator_has_the_parameters_of_its_figure() -> None:
    """Fig. 4: k3n64s1, then s2 and s1 in turn up to 512 with BN (no bias needed before it), 96 / 16 = 6, dense 1024, dense 1."""
    widths = [64, 64, 128, 128, 256, 256, 512, 512]
    convolutions = 9 * 3 * 64 + 64 + sum(9 * a * b + 2 * b for a, b in pairwise(widths))
    dense = 512 * 6 * 6 * 1024 + 1024 + 1024 + 1
    discriminator = build_discriminator("vgg", {"patch_px": 96, "batch_norm": True, "spectral_norm": False})
    assert parameters(discriminator) == convolutions + dense


def test_the_published_unet_has_4376897_parameters() -> None:
    assert parameters(build_discriminator("unet", {})) == 4_376_897


def test_the_unet_is_the_published_figure_with_weights_over_their_largest_singular_value() -> None:
    """Wang et al. 2021, Fig. 6, written out with functions; the singular values are numpy's, the parameters the published ones."""
    torch.manual_seed(0)
    discriminator = build_discriminator("unet", {"features": 4})
    for _ in range(200):  # power iterations
        discriminator(torch.zeros(1, 3, 8, 8))
    discriminator.eval()

    def conv(features: Tensor, number: int, stride: int = 1) -> Tensor:
        layer = discriminator.get_submodule(f"conv{number}")
        weight = layer.parametrizations.weight.original if number in range(1, 9) else layer.weight  # type: ignore[union-attr]
        assert isinstance(weight, Tensor)
        assert weight.shape[-1] == (4 if stride == 2 else 3)
        largest = np.linalg.svd(weight.detach().flatten(1).numpy(), compute_uv=False)[0] if number in range(1, 9) else 1.0
        bias = layer.bias if number in (0, 9) else None
        assert (layer.bias is None) == (number in range(1, 9))
        return F.conv2d(features, weight / float(largest), bias, stride, padding=1)  # type: ignore[arg-type]

    def act(features: Tensor) -> Tensor:
        return torch.where(features > 0, features, 0.2 * features)

    def up(features: Tensor) -> Tensor:
        return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)

    image = torch.rand(2, 3, 24, 16)
    x0 = act(conv(image, 0))
    x1 = act(conv(x0, 1, stride=2))
    x2 = act(conv(x1, 2, stride=2))
    x3 = act(conv(x2, 3, stride=2))
    x4 = act(conv(up(x3), 4)) + x2
    x5 = act(conv(up(x4), 5)) + x1
    x6 = act(conv(up(x5), 6)) + x0
    expected = conv(act(conv(act(conv(x6, 7)), 8)), 9)
    torch.testing.assert_close(discriminator(image), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("patch_px", [16, 30, 97, 128])
def test_any_patch_size_gives_one_logit_a_picture(patch_px: int) -> None:
    discriminator = build_discriminator("vgg", {"patch_px": patch_px, "features": 4, "hidden": 8})
    assert discriminator(torch.rand(3, 3, patch_px, patch_px)).shape == (3, 1)
    with pytest.raises(UsageError, match=f"built for {patch_px}x{patch_px}"):
        discriminator(torch.rand(3, 3, patch_px + 1, patch_px))


def test_the_unet_judges_every_pixel() -> None:
    assert build_discriminator("unet", {"features": 4})(torch.rand(2, 3, 32, 48)).shape == (2, 1, 32, 48)


@pytest.mark.parametrize(("name", "free"), [("vgg", set()), ("unet", {"conv0", "conv9"})])
def test_spectral_normalisation_bounds_every_layer_by_one(name: str, free: set[str]) -> None:
    torch.manual_seed(0)
    discriminator = build_discriminator(name, {"features": 4, "patch_px": 16})
    for _ in range(100):  # power iterations
        discriminator(torch.rand(1, 3, 16, 16))
    discriminator.eval()
    bounded = 0
    for layer_name, layer in discriminator.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer_name not in free:
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
            assert largest == pytest.approx(1, abs=1e-2), layer_name
            bounded += 1
    assert bounded == (10 if name == "vgg" else 8)


def test_batch_norm_and_spectral_norm_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        build_discriminator("vgg", {"batch_norm": True})


def test_without_normalisation_there_is_neither() -> None:
    discriminator = build_discriminator("vgg", {"spectral_norm": False, "features": 4, "patch_px": 16})
    kinds = {type(module) for module in discriminator.modules()}
    assert nn.BatchNorm2d not in kinds
    assert not any("parametrizations" in name for name, _ in discriminator.named_parameters())


def test_the_high_pass_shows_detail_and_hides_what_all_pictures_share() -> None:
    """A wave of w radians a pixel passes a Gaussian of deviation s as exp(-s²w²/2); a flat picture is all blur."""
    torch.manual_seed(0)
    deviation, w = 1.6, 2.0
    detail = HighPass(96, deviation)
    wave = torch.cos(w * torch.arange(96.0)).expand(1, 3, 96, 96)
    expected = wave * (1 - math.exp(-((deviation * w) ** 2) / 2)) * HighPass.GAIN
    inside = (..., slice(16, 80), slice(16, 80))
    torch.testing.assert_close(detail(wave)[inside], expected[inside], atol=1e-3, rtol=0)
    torch.testing.assert_close(detail(torch.full((1, 3, 96, 96), 0.7)), torch.zeros(1, 3, 96, 96), atol=1e-5, rtol=0)


def test_a_judge_with_a_high_pass_tells_no_brightness_apart() -> None:
    torch.manual_seed(0)
    judge = build_discriminator("vgg", {"patch_px": 32, "features": 4, "hidden": 8, "high_pass_px": 1.6}).eval()
    plain = build_discriminator("vgg", {"patch_px": 32, "features": 4, "hidden": 8}).eval()
    picture = torch.rand(2, 3, 32, 32) / 2
    torch.testing.assert_close(judge(picture), judge(picture + 0.3), atol=1e-5, rtol=0)
    assert not torch.allclose(plain(picture), plain(picture + 0.3), atol=1e-5)
    with pytest.raises(UsageError, match=r"high_pass_px must be in .*got -1"):
        build_discriminator("vgg", {"high_pass_px": -1.0})


def test_a_u_net_with_a_high_pass_tells_no_brightness_apart() -> None:
    judge = build_discriminator("unet", {"patch_px": 32, "features": 4, "high_pass_px": 1.6}).eval()
    image = torch.rand(2, 3, 32, 32) / 2
    torch.testing.assert_close(judge(image + 0.25), judge(image), atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="built for 32x32 patches"):
        judge(torch.rand(1, 3, 40, 40))


@pytest.mark.parametrize("name", ["vgg", "unet"])
def test_a_conditional_discriminator_judges_by_the_low_res_image_too(name: str) -> None:
    torch.manual_seed(0)
    options = {"patch_px": 32, "features": 4, "sees_low_res": True, "high_pass_px": 1.6}
    judge = build_discriminator(name, options).eval()
    image, low_res = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 8, 8)
    assert judge(image, low_res).shape[0] == 2
    assert not torch.allclose(judge(image, low_res), judge(image, low_res.flip(0)), atol=1e-5)
    with pytest.raises(UsageError, match=r"sees the low-res image too .*got none"):
        judge(image)
    alone = build_discriminator(name, options | {"sees_low_res": False}).eval()
    torch.testing.assert_close(alone(image, low_res), alone(image), atol=0, rtol=0)
