"""Losses against the papers' equations written out, and against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.errors import UnknownNameError, UsageError
from superscale.losses.adversarial import RelativisticAverage, StandardAdversarial
from superscale.losses.grid import grid_loss, lines_loss
from superscale.losses.perceptual import PerceptualLoss
from superscale.losses.pixel import PIXEL_LOSSES
from superscale.metrics.features import FEATURE_NETWORKS, FeatureNetwork, FeatureSpec, deepest_layer


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


REAL, FAKE = [1.0, 3.0], [-2.0, 0.5]


def logits(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(-1, 1)


def test_pixel_losses_by_hand() -> None:
    first, second = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.5, 1.0, 0.2])
    assert PIXEL_LOSSES["l1"](first, second).item() == pytest.approx(0.8 / 3)
    assert PIXEL_LOSSES["mse"](first, second).item() == pytest.approx((0.25 + 0.09) / 3)
    charbonnier = sum(math.sqrt(d * d + 1e-6) for d in (0.5, 0.0, 0.3)) / 3
    assert PIXEL_LOSSES["charbonnier"](first, second).item() == pytest.approx(charbonnier)


def test_the_standard_game_is_srgans_equations_2_and_6() -> None:
    loss = StandardAdversarial()
    generator = sum(-math.log(sigmoid(x)) for x in FAKE) / 2
    discriminator = -sum(math.log(sigmoid(x)) for x in REAL) / 2 - sum(math.log(1 - sigmoid(x)) for x in FAKE) / 2
    assert loss.generator(logits(REAL), logits(FAKE)).item() == pytest.approx(generator, rel=1e-12)
    assert loss.discriminator(logits(REAL), logits(FAKE)).item() == pytest.approx(discriminator, rel=1e-12)


def test_the_relativistic_game_is_esrgans_equations_1_and_2() -> None:
    loss = RelativisticAverage()
    mean_real, mean_fake = sum(REAL) / 2, sum(FAKE) / 2
    of_real = [sigmoid(x - mean_fake) for x in REAL]  # D_Ra(x_r, x_f)
    of_fake = [sigmoid(x - mean_real) for x in FAKE]  # D_Ra(x_f, x_r)
    discriminator = -sum(map(math.log, of_real)) / 2 - sum(math.log(1 - d) for d in of_fake) / 2
    generator = -sum(math.log(1 - d) for d in of_real) / 2 - sum(map(math.log, of_fake)) / 2
    assert loss.discriminator(logits(REAL), logits(FAKE)).item() == pytest.approx(discriminator, rel=1e-12)
    assert loss.generator(logits(REAL), logits(FAKE)).item() == pytest.approx(generator, rel=1e-12)


def test_hand_computed_values() -> None:
    zero = logits([0.0, 0.0])
    assert StandardAdversarial().generator(zero, zero).item() == pytest.approx(math.log(2))
    assert StandardAdversarial().discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert RelativisticAverage().generator(zero, zero).item() == pytest.approx(2 * math.log(2))
    # Real a whole unit above fake: both terms are log(1 + e^-1) for the discriminator, log(1 + e) for the generator.
    assert RelativisticAverage().discriminator(logits([1.0]), logits([0.0])).item() == pytest.approx(2 * 0.31326168751822286)
    assert RelativisticAverage().generator(logits([1.0]), logits([0.0])).item() == pytest.approx(2 * 1.3132616875182228)


@pytest.mark.parametrize("loss", [StandardAdversarial(), RelativisticAverage()])
def test_certain_discriminators_do_not_overflow(loss: StandardAdversarial | RelativisticAverage) -> None:
    real, fake = logits([1e4, 2e4]), logits([-1e4, -3e4]).requires_grad_()
    value = loss.generator(real, fake)
    value.backward()
    assert torch.isfinite(value)
    assert fake.grad is not None
    assert torch.isfinite(fake.grad).all()
    assert fake.grad.abs().sum() > 0.4


def test_only_the_relativistic_generator_feels_the_real_pictures() -> None:
    for loss, felt in ((StandardAdversarial(), False), (RelativisticAverage(), True)):
        real = logits(REAL).requires_grad_()
        value = loss.generator(real, logits(FAKE).requires_grad_())
        (gradient,) = torch.autograd.grad(value, real, allow_unused=True)
        assert (gradient is not None) is felt


TINY = FeatureSpec(widths=(2, 3, 4, 4, 4))


def torchvision_order(network: FeatureNetwork, spec: FeatureSpec) -> nn.Sequential:
    """VGG19's ``features`` as torchvision numbers them: 64 64 M 128 128 M 256x4 M 512x4 M 512x4, each followed by ReLU."""
    layers: list[nn.Module] = []
    for block, count in enumerate(spec.convolutions, start=1):
        for number in range(1, count + 1):
            layers += [network.get_submodule(f"conv{block}_{number}"), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("layer", "index"), [("conv1_2", 2), ("conv2_2", 7), ("conv3_4", 16), ("conv4_4", 25), ("conv5_4", 34)]
)
def test_named_layers_are_torchvisions_numbered_ones(layer: str, index: int) -> None:
    torch.manual_seed(0)
    network = FeatureNetwork(TINY, "conv5_4")
    features = torchvision_order(network, TINY)
    image = torch.rand(1, 3, 32, 32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (image - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1)
    before = features[: index + 1](normalized)
    names = frozenset((layer,))
    torch.testing.assert_close(network(image, names, after_activation=False)[layer], before)
    torch.testing.assert_close(network(image, names, after_activation=True)[layer], before.relu())


def test_vgg19_is_sixteen_convolutions_with_the_published_parameters() -> None:
    network = FeatureNetwork(FEATURE_NETWORKS["vgg19"], "conv5_4")
    assert len(network.names) == 16
    assert sum(parameter.numel() for parameter in network.parameters()) == 20_024_384  # VGG19's features
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_perceptual_loss_is_the_weighted_distance_of_features() -> None:
    torch.manual_seed(0)
    network = FeatureNetwork(TINY, "conv2_2")
    first, second = torch.rand(2, 3, 16, 16, requires_grad=True), torch.rand(2, 3, 16, 16)
    weights = {"conv1_2": 0.5, "conv2_2": 2.0}
    names = frozenset(weights)
    for distance, power in (("l1", 1), ("mse", 2)):
        loss = PerceptualLoss(network, weights, after_activation=False, distance=distance)  # type: ignore[arg-type]
        a, b = (network(image, names, after_activation=False) for image in (first, second))
        expected = sum(weight * (a[name] - b[name]).abs().pow(power).mean() for name, weight in weights.items())
        torch.testing.assert_close(loss(first, second), expected)
    loss(first, second).backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert loss(second, second).item() == 0


def test_unknown_layers_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="conv5_1"):
        deepest_layer(FEATURE_NETWORKS["vgg19-distilled"], {"conv5_4": 1.0})
    with pytest.raises(UsageError, match="at least one layer"):
        PerceptualLoss(FeatureNetwork(TINY, "conv1_1"), {}, after_activation=True)


@pytest.mark.parametrize(("period", "parts"), [(4, 1), (2, 4)])
def test_the_lines_loss_sees_a_period_of_changing_sign_and_no_blur(period: int, parts: int) -> None:
    truth = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    wave = 0.1 * torch.cos(2 * torch.pi * torch.arange(128) / period)
    # White noise of uniform channels against a wave of 0.1, Hann window: (sum of w)^2 / (sum of w^2) is 32^2 / 24; one place of four.
    noise = (65.481**2 + 128.553**2 + 24.966**2) / 12
    expected = math.log(1 + parts * 21.9**2 / 4 * 32**2 / 24 / noise) / 4
    assert lines_loss(truth, truth).item() == 0
    assert lines_loss(truth + wave, truth).item() == pytest.approx(expected, rel=0.2)
    assert lines_loss(truth, truth + wave).item() < 0.02
    # In turns against each other in stripes of eight rows: an average over an area sees nothing of it.
    turns = wave * (1 - 2 * (torch.arange(128) // 8 % 2))[:, None]
    assert lines_loss(truth + turns, truth).item() > 0.5 * expected
    assert grid_loss(truth + turns, truth, 4).item() < 0.3 * grid_loss(truth + wave, truth, 4).item()
    assert lines_loss(torch.lerp(truth, F.avg_pool2d(truth, 3, 1, 1), 0.3), truth).item() < 0.05


def test_the_lines_loss_has_a_gradient_on_flat_pictures_and_needs_65_pixels() -> None:
    flat = torch.full((1, 3, 65, 65), 0.5, requires_grad=True)
    lines_loss(flat, torch.rand(1, 3, 65, 65)).backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
    with pytest.raises(UsageError, match="65 pixels"):
        lines_loss(torch.rand(1, 3, 64, 80), torch.rand(1, 3, 64, 80))


def test_the_grid_loss_sees_a_pattern_of_the_cell_and_neither_brightness_nor_texture() -> None:
    truth = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    pattern = torch.zeros(4, 4)
    pattern[0, 0] = 1.6  # its mean is 0.1: 15 phases lie 0.1 below, one 1.5 above
    expected = (15 * 0.1 + 1.5) / 16
    tiled = pattern.repeat(24, 24)
    assert grid_loss(truth + tiled, truth, 4).item() == pytest.approx(expected, rel=1e-4)
    assert grid_loss(truth + 0.3, truth, 4).item() == pytest.approx(0, abs=1e-6)
    texture = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    assert grid_loss(truth + texture * tiled.std(), truth, 4).item() < 0.4 * expected
    assert grid_loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), 4).isfinite()
