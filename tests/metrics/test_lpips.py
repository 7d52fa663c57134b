"""LPIPS against its equation and the published backbones written out here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.errors import UnknownNameError, UsageError
from superscale.metrics.lpips import BACKBONES, Lpips, lpips
from superscale.metrics.notation import LPIPS


def synthetic(name: str) -> Lpips:
    torch.manual_seed(0)
    network = Lpips(name)
    for key, tensor in network.state_dict().items():
        fan_in = tensor[0].numel()
        tensor.copy_(torch.rand(tensor.shape) if key.startswith("lin") else torch.randn(tensor.shape) / max(fan_in, 1) ** 0.5)
    return network


def published_features(name: str, state: dict[str, Tensor], planes: Tensor) -> list[Tensor]:
    """The backbones' published layers, written out: (padding, stride) of convolutions, max-pooling where the papers have it."""

    def conv(number: str, planes: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(planes, state[f"features.{number}.weight"], state[f"features.{number}.bias"], stride, padding).relu()

    seen = []
    if name == "alex":
        planes = conv("0", planes, 4, 2)
        seen.append(planes)
        planes = conv("3", F.max_pool2d(planes, 3, 2), padding=2)
        seen.append(planes)
        planes = F.max_pool2d(planes, 3, 2)
        for number in ("6", "8", "10"):
            planes = conv(number, planes, padding=1)
            seen.append(planes)
    elif name == "vgg":
        for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            planes = F.max_pool2d(planes, 2) if seen else planes
            for number in stage:
                planes = conv(str(number), planes, padding=1)
            seen.append(planes)
    else:
        planes = conv("0", planes, 2)
        seen.append(planes)
        for stage in ((3, 4), (6, 7), (9,), (10,), (11,), (12,)):
            planes = F.max_pool2d(planes, 3, 2, ceil_mode=True) if stage[0] in (3, 6, 9) else planes
            for number in stage:
                low = conv(f"{number}.squeeze", planes)
                planes = torch.cat((conv(f"{number}.expand1x1", low), conv(f"{number}.expand3x3", low, padding=1)), 1)
            seen.append(planes)
    return seen


@pytest.mark.parametrize("name", BACKBONES)
def test_lpips_is_zhangs_equation_on_torchvisions_keys(name: str) -> None:
    network = synthetic(name)
    state = network.state_dict()
    first, second = torch.rand(2, 3, 72, 80), torch.rand(2, 3, 72, 80)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    seen = [published_features(name, state, (2 * planes - 1 - mean) / deviation) for planes in (first, second)]
    expected = torch.zeros(2)
    for layer, (one, other) in enumerate(zip(*seen, strict=True)):
        unit1, unit2 = (f / (torch.sqrt(torch.sum(f**2, dim=1, keepdim=True)) + 1e-10) for f in (one, other))
        expected += F.conv2d((unit1 - unit2) ** 2, state[f"lin{layer}.model.1.weight"]).mean(dim=(1, 2, 3))
    got = lpips(first * 255, second * 255, network, data_range=255, border=0)
    torch.testing.assert_close(got.float(), expected, rtol=1e-4, atol=1e-6)
    assert lpips(first, first, network, data_range=1, border=0).abs().max() == 0
    assert f"lin{len(seen[0])}.model.1.weight" not in state


def test_every_backbone_has_its_metric_and_other_names_a_suggestion() -> None:
    assert tuple(f"lpips-{name}" for name in BACKBONES) == LPIPS
    with pytest.raises(UnknownNameError, match="squeeze"):
        Lpips("sqeeze")


def test_grey_is_compared_as_rgb_of_equal_channels() -> None:
    network = Lpips("squeeze")
    first, second = torch.rand(2, 1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    grey, rgb = (
        lpips(first.repeat(1, channels, 1, 1), second.repeat(1, channels, 1, 1), network, data_range=1.0, border=0)
        for channels in (1, 3)
    )
    assert torch.equal(grey, rgb)
    with pytest.raises(UsageError, match="RGB"):
        lpips(torch.rand(1, 4, 40, 40), torch.rand(1, 4, 40, 40), network, data_range=1.0, border=0)
