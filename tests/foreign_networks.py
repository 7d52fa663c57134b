"""Networks of published files, written anew from the published key names, and whether a file computes what they compute."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.weights.store import find_model

FEATURES, GROWTH, BLOCKS = 8, 4, 2


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1)


class Shortcut(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.sub = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)


class Dense(nn.Module):
    """``boxed``: the original wraps each convolution and its activation in a Sequential. ``plus``: ESRGAN+'s shortcuts."""

    def __init__(self, features: int, growth: int, boxed: bool, plus: bool = False) -> None:
        super().__init__()
        self.plus = plus
        if plus:
            self.conv1x1 = nn.Conv2d(features, growth, 1, bias=False)
        for n in range(1, 6):
            layer: nn.Module = conv(features + (n - 1) * growth, growth if n < 5 else features)
            self.add_module(f"conv{n}", nn.Sequential(layer) if boxed else layer)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for n in range(1, 5):
            seen.append(F.leaky_relu(self.get_submodule(f"conv{n}")(torch.cat(seen, 1)), 0.2))
            if self.plus and n in (2, 4):
                seen[n] = seen[n] + (self.conv1x1(x) if n == 2 else seen[2])
        return x + self.get_submodule("conv5")(torch.cat(seen, 1)) * 0.2


class Block(nn.Module):
    def __init__(self, name: str, boxed: bool, features: int = FEATURES, growth: int = GROWTH, plus: bool = False) -> None:
        super().__init__()
        for n in range(1, 4):
            self.add_module(f"{name}{n}", Dense(features, growth, boxed, plus))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for dense in self.children():
            y = dense(y)
        return x + y * 0.2


class Original(nn.Module):
    """The first release: one Sequential, whose numbers move with the upsamplings."""

    def __init__(
        self,
        ups: int,
        inputs: int = 3,
        features: int = FEATURES,
        growth: int = GROWTH,
        blocks: int = BLOCKS,
        outputs: int = 3,
        plus: bool = False,
    ) -> None:
        super().__init__()
        trunk = [*(Block("RDB", True, features, growth, plus) for _ in range(blocks)), conv(features, features)]
        layers: list[nn.Module] = [conv(inputs, features), Shortcut(*trunk)]
        for _ in range(ups):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), conv(features, features), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, conv(features, features), nn.LeakyReLU(0.2), conv(features, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


NEW = ("RRDB_trunk", "RDB", "trunk_conv", "upconv", "HRconv")
BASICSR = ("body", "rdb", "conv_body", "conv_up", "conv_hr")


class Named(nn.Module):
    """The later releases: the same figure, layers by name."""

    def __init__(
        self,
        names: tuple[str, str, str, str, str],
        ups: int = 2,
        inputs: int = 3,
        outputs: int = 3,
        size: tuple[int, int, int] = (FEATURES, GROWTH, BLOCKS),
        plus: bool = False,
    ) -> None:
        super().__init__()
        self.names, self.ups = names, ups
        trunk, dense, body, up, hr = names
        features, growth, blocks = size
        self.conv_first = conv(inputs, features)
        self.add_module(trunk, nn.Sequential(*(Block(dense, False, features, growth, plus) for _ in range(blocks))))
        self.add_module(body, conv(features, features))
        for n in range(1, ups + 1):
            self.add_module(f"{up}{n}", conv(features, features))
        self.add_module(hr, conv(features, features))
        self.conv_last = conv(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        trunk, _, body, up, hr = self.names
        x = self.conv_first(x)
        x = x + self.get_submodule(body)(self.get_submodule(trunk)(x))
        for n in range(1, self.ups + 1):
            x = F.leaky_relu(self.get_submodule(f"{up}{n}")(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), 0.2)
        y: Tensor = self.conv_last(F.leaky_relu(self.get_submodule(hr)(x), 0.2))
        return y


def seeded(network: type[nn.Module], *arguments: object) -> nn.Module:
    torch.manual_seed(3)
    return network(*arguments).eval()


def picture(side: int = 12, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(1))


def assert_same(path: Path, network: nn.Module, unshuffle: int = 1, tolerance: float = 1e-5, channels: int = 3) -> None:
    given = picture(channels=channels)
    with torch.no_grad():
        expected = network(F.pixel_unshuffle(given, unshuffle))
        got = find_model(path).generator(given)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
