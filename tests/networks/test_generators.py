"""Each generator against its paper's figure: parameters counted by hand, shapes, receptive field, exact rewritings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from superscale.errors import UnknownNameError, UsageError
from superscale.image.resize import imresize
from superscale.networks.blocks import PReLU, conv_after_shuffle
from superscale.networks.catalog import build_generator, describe
from superscale.networks.generator import Generator


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def srresnet_by_hand(doublings: int) -> int:
    """Ledig et al. 2017, Fig. 4: k9n64, 16 x (k3n64 BN PReLU k3n64 BN), k3n64 BN, n x (k3n256 PReLU), k9n3."""
    head = 9 * 9 * 3 * 64 + 64 + 1
    block = 2 * (3 * 3 * 64 * 64 + 2 * 64) + 1
    after = 3 * 3 * 64 * 64 + 2 * 64
    upsample = 3 * 3 * 64 * 256 + 256 + 1
    return head + 16 * block + after + doublings * upsample + 9 * 9 * 64 * 3 + 3


@pytest.mark.parametrize(("scale", "doublings"), [(2, 1), (4, 2), (8, 3)])
def test_srresnet_has_the_parameters_of_its_figure(scale: int, doublings: int) -> None:
    assert parameters(build_generator("srresnet", {"scale": scale})) == srresnet_by_hand(doublings)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("rrdbnet", {}, 16_697_987),  # as published for ESRGAN
        ("compact", {"convolutions": 32}, 1_213_296),  # realesr-general-x4v3
        ("compact", {}, 621_424),  # realesr-animevideov3
    ],
)
def test_published_parameter_counts(name: str, options: dict[str, Any], count: int) -> None:
    assert parameters(build_generator(name, options)) == count


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("srresnet", {"scale": scale, "blocks": 1, "features": 8}) for scale in (2, 4, 8)),
        *(("rrdbnet", {"scale": scale, "blocks": 1, "features": 8, "growth_channels": 4}) for scale in (1, 2, 4)),
        *(("compact", {"scale": scale, "features": 8, "convolutions": 2}) for scale in (1, 2, 3, 4)),
    ],
)
def test_the_output_is_scale_times_the_input(name: str, options: dict[str, Any]) -> None:
    network = build_generator(name, options).eval()
    unit, scale = network.contract.multiple_of, options["scale"]
    with torch.no_grad():
        assert network(torch.rand(2, 3, 3 * unit, 5 * unit)).shape == (2, 3, 3 * unit * scale, 5 * unit * scale)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("srresnet", {"scale": scale, "blocks": 2, "features": 8}) for scale in (2, 4, 8)),
        *(("rrdbnet", {"scale": scale, "blocks": 1, "features": 8, "growth_channels": 4}) for scale in (1, 2, 4)),
        ("compact", {"features": 8, "convolutions": 3}),
    ],
)
def test_no_output_pixel_depends_on_more_than_the_stated_receptive_field_and_one_on_as_much(
    name: str, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    network = build_generator(name, options).eval().double()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, 0.01, 0.1)  # all positive: nothing cancels, no activation is off
    unit, radius, scale = network.contract.multiple_of, network.contract.receptive_field_px, network.contract.scale
    side = -(-(2 * radius + 3 * unit) // unit) * unit
    low_res = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    first = side // 2 // unit * unit
    reached = 0
    for seen in range(first, first + unit):
        for phase in range(scale):
            super_res = network(low_res)
            (gradient,) = torch.autograd.grad(super_res[0, 0, seen * scale + phase, first * scale], low_res)
            rows = gradient[0].abs().sum(dim=(0, 2)).nonzero().ravel()
            reached = max(reached, seen - int(rows.min()), int(rows.max()) - seen)
    assert reached == radius


def test_a_convolution_after_pixel_shuffle_equals_the_one_before_it() -> None:
    torch.manual_seed(0)
    for kernel, factor in ((9, 2), (3, 2), (5, 3), (9, 4), (1, 2)):
        conv = nn.Conv2d(4, 3, kernel, padding=kernel // 2).double()
        features = torch.randn(2, 4 * factor**2, 6, 7, dtype=torch.float64, requires_grad=True)
        assert conv.bias is not None
        fast = conv_after_shuffle(features, conv.weight, conv.bias, factor)
        plain = conv(F.pixel_shuffle(features, factor))
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-12)
        inputs = [features, conv.weight, conv.bias]
        for got, expected in zip(
            torch.autograd.grad(fast.square().sum(), inputs),
            torch.autograd.grad(plain.square().sum(), inputs),
            strict=True,
        ):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_our_prelu_has_torchs_values_and_gradients() -> None:
    torch.manual_seed(0)
    ours, torchs = PReLU().double(), nn.PReLU().double()
    first = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    for module, features in ((ours, first), (torchs, second)):
        module(features).pow(3).sum().backward()
    torch.testing.assert_close(ours(first), torchs(second), rtol=0, atol=0)
    torch.testing.assert_close(first.grad, second.grad)
    torch.testing.assert_close(ours.weight.grad, torchs.weight.grad)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_srresnet_without_batch_norm_starts_near_bilinear_enlargement(scale: int) -> None:
    torch.manual_seed(0)
    network = build_generator("srresnet", {"scale": scale, "batch_norm": False}).eval()
    low_res = F.interpolate(torch.rand(1, 3, 4, 4), size=(16, 16), mode="bicubic").clamp(0, 1)
    expected = low_res
    while expected.shape[-1] < 16 * scale:
        expected = imresize(expected, 2, "bilinear")
    with torch.no_grad():
        error = (network(low_res) - expected)[..., 8:-8, 8:-8].square().mean().sqrt()
    assert error < 0.5 * low_res.std(), "a network of plain random weights would be off by more than the picture itself"


def test_rrdb_scales_its_residuals_by_beta_twice() -> None:
    torch.manual_seed(0)
    options = {"blocks": 1, "features": 8, "growth_channels": 4}
    block = build_generator("rrdbnet", options).body[0]  # type: ignore[index, union-attr]
    features = torch.randn(1, 8, 5, 5)
    dense = features
    for rdb in (block.rdb1, block.rdb2, block.rdb3):
        seen = [dense]
        for conv in (rdb.conv1, rdb.conv2, rdb.conv3, rdb.conv4):
            seen.append(F.leaky_relu(conv(torch.cat(seen, 1)), 0.2))
        dense = dense + 0.2 * rdb.conv5(torch.cat(seen, 1))
    torch.testing.assert_close(block(features), features + 0.2 * dense)


@pytest.mark.parametrize("name", ["srresnet", "rrdbnet", "compact"])
def test_a_description_builds_the_same_network_again(name: str) -> None:
    network = build_generator(name, {"features": 8})
    options = describe(network)
    again = build_generator(options.pop("name"), options)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }
    assert isinstance(again, Generator)
    assert again.contract == network.contract


def test_unknown_names_options_and_scales_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rrdbnet'"):
        build_generator("rrdbnett", {})
    with pytest.raises(UnknownNameError, match="did you mean 'blocks'"):
        build_generator("srresnet", {"block": 3})
    with pytest.raises(UsageError, match="must be int"):
        build_generator("srresnet", {"blocks": "many"})
    for name, scale in (("srresnet", 3), ("rrdbnet", 8), ("compact", 0)):
        with pytest.raises(UsageError, match=rf"got (scale )?{scale}"):
            build_generator(name, {"scale": scale})
