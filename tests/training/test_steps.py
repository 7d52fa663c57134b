"""Two discriminator passes against the papers' loops, which make five: the same gradients for both players."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from superscale.data.loader import Batch
from superscale.losses.adversarial import ADVERSARIAL
from superscale.losses.perceptual import PerceptualLoss
from superscale.losses.pixel import l1
from superscale.metrics.features import FeatureNetwork, FeatureSpec
from superscale.networks.catalog import build_discriminator, build_generator
from superscale.training.loop import health
from superscale.training.loop.ema import ExponentialMovingAverage
from superscale.training.loop.muon import Muon
from superscale.training.loop.steps import (
    Criteria,
    Judgement,
    adversarial_step,
    content_loss,
    discriminator_step,
    enlarge,
    frozen_norms,
    generator_step,
    judge,
    pixel_step,
    shift,
)


def batch_of(size: int = 4) -> Batch:
    return Batch(tuple(range(size)), torch.rand(size, 3, 8, 8), torch.rand(size, 3, 32, 32))


def networks(normalization: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    generator = build_generator("srresnet", {"blocks": 1, "features": 8})
    discriminator = build_discriminator("vgg", {"patch_px": 32, "features": 4, "hidden": 8, **normalization})
    return generator.double().train(), discriminator.double().train()


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


BATCH_NORM = {"batch_norm": True, "spectral_norm": False}
SPECTRAL_NORM = {"batch_norm": False, "spectral_norm": True}


@pytest.mark.parametrize("loss_name", ["standard", "relativistic"])
@pytest.mark.parametrize("normalization", [BATCH_NORM, SPECTRAL_NORM])
def test_two_passes_leave_the_gradients_of_the_usual_five(loss_name: str, normalization: dict[str, Any]) -> None:
    adversarial = ADVERSARIAL[loss_name]()
    batch = batch_of()
    batch = Batch(batch.numbers, batch.low_res.double(), batch.high_res.double())
    features = FeatureNetwork(FeatureSpec(widths=(2, 3, 4, 4, 4)), "conv2_1").double()
    perceptual = PerceptualLoss(features, {"conv2_1": 1.0}, after_activation=False)
    criteria = Criteria(pixel=l1, pixel_weight=1e-2, perceptual=perceptual, adversarial=adversarial, adversarial_weight=5e-3)

    generator, discriminator = networks(normalization)
    if normalization is SPECTRAL_NORM:
        for _ in range(150):  # let the power iteration settle, so that its further steps change nothing
            discriminator(batch.high_res)
    start = {key: value.clone() for key, value in discriminator.state_dict().items()}

    # The usual loop: the generator's turn with the discriminator frozen, then each side of the discriminator by itself.
    super_res = generator(batch.low_res)
    real_logits = discriminator(batch.high_res).detach()
    fake_logits = discriminator(super_res)
    usual = 1e-2 * l1(super_res, batch.high_res) + perceptual(super_res, batch.high_res).double()
    usual = usual + 5e-3 * adversarial.generator(real_logits, fake_logits)
    usual.backward()
    usual_generator = gradients(generator)
    discriminator.zero_grad()
    fake = super_res.detach()
    adversarial.discriminator(discriminator(batch.high_res), discriminator(fake)).backward()
    usual_discriminator = gradients(discriminator)
    generator.zero_grad()
    discriminator.zero_grad()

    generator, _ = networks(normalization)
    discriminator.load_state_dict(start)
    with frozen_norms(discriminator):
        super_res = generator(batch.low_res)
        judgement = judge(discriminator, super_res, batch, None)
        numbers = generator_step(super_res, batch, judgement, criteria, None)
        assert gradients(discriminator) == {}, "the generator's turn must not touch the discriminator"
        discriminator_step(discriminator, judgement, criteria)
    for got, expected in ((gradients(generator), usual_generator), (gradients(discriminator), usual_discriminator)):
        assert got.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, rtol=2e-4, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")
    assert numbers["loss"].item() == pytest.approx(usual.item(), rel=1e-5)


def test_the_discriminators_turn_does_not_reach_the_generator() -> None:
    generator, discriminator = networks(SPECTRAL_NORM)
    generator, discriminator, batch = generator.float(), discriminator.float(), batch_of()
    with frozen_norms(discriminator):
        super_res = enlarge(generator, batch, None)
        judgement = judge(discriminator, super_res, batch, None)
        numbers = discriminator_step(discriminator, judgement, Criteria(adversarial=ADVERSARIAL["relativistic"]()))
    assert gradients(generator) == {}
    assert len(gradients(discriminator)) > 0
    assert 0 <= numbers["accuracy_real"] <= 1


def test_accuracies_are_shares_on_the_right_side_of_the_middle_between_both_means() -> None:
    """Means 2 and 0, the middle 1: of 4, 3, 0, 1 two lie above it, of -2, 0, 0.5, 1.5 three below; of 1 itself nobody is sure."""
    real, fake = torch.tensor([[4.0], [3.0], [0.0], [1.0]]), torch.tensor([[-2.0], [0.0], [0.5], [1.5]])
    scale = nn.Linear(1, 1, bias=False)
    nn.init.ones_(scale.weight)
    judgement = Judgement(scale(real), scale(fake), fake)
    numbers = discriminator_step(scale, judgement, Criteria(adversarial=ADVERSARIAL["standard"]()))
    assert (numbers["accuracy_real"], numbers["accuracy_fake"]) == (0.5, 0.75)


def test_a_pixel_step_is_the_plain_gradient() -> None:
    generator, _ = networks(BATCH_NORM)
    generator, batch = generator.float(), batch_of()
    numbers = pixel_step(generator, batch, Criteria(pixel=l1, pixel_weight=2.0), None)
    got = gradients(generator)
    generator.zero_grad()
    loss = 2 * (generator(batch.low_res) - batch.high_res).abs().mean()
    loss.backward()
    assert numbers["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    for name, gradient in gradients(generator).items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-7)


def test_features_see_both_images_in_every_position_of_a_square_by_the_image_number_alone() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def remember(ours: Tensor, truth: Tensor) -> Tensor:
        seen.append((ours, truth))
        return (ours - truth).abs().mean()

    high_res = torch.rand(1, 3, 32, 32)
    criteria = Criteria(perceptual=remember, turned=True)  # type: ignore[arg-type]
    for number in range(0, 800, 16):
        content_loss(criteria, high_res / 2, Batch((number,), torch.rand(1, 3, 8, 8), high_res), None)
    positions = [torch.rot90(side, quarter, (-2, -1)) for side in (high_res, high_res.mT) for quarter in range(4)]
    found = [next(place for place, image in enumerate(positions) if torch.equal(image, truth)) for _, truth in seen]
    assert set(found) == set(range(8))
    assert all(torch.equal(ours * 2, truth) for ours, truth in seen), "the output is turned as its original"


def test_a_conditional_discriminator_is_shown_the_low_res_image_in_both_passes() -> None:
    generator, discriminator = networks(SPECTRAL_NORM | {"sees_low_res": True})
    generator, discriminator, batch = generator.float(), discriminator.float(), batch_of()
    super_res = enlarge(generator, batch, None)
    with torch.no_grad():
        judgement = judge(discriminator.eval(), super_res, batch, None)
        torch.testing.assert_close(judgement.real, discriminator(batch.high_res, batch.low_res))
        torch.testing.assert_close(judgement.fake, discriminator(super_res, batch.low_res))
        assert not torch.allclose(judgement.real, discriminator(batch.high_res, batch.low_res.flip(0)), atol=1e-6)


def test_feature_shifts_depend_on_the_image_number_alone_and_use_every_offset() -> None:
    assert [shift(number, 3) for number in range(50)] == [shift(number, 3) for number in range(50)]
    assert {shift(number, 3) for number in range(0, 16000, 16)} == {(y, x) for y in range(4) for x in range(4)}
    assert {shift(number, 0) for number in range(50)} == {(0, 0)}


@pytest.mark.parametrize("held", [False, True])
def test_a_discriminator_can_be_held_in_fp32_beside_a_generator_in_bf16(held: bool) -> None:
    coarse: dict[str, set[bool]] = {"generator": set(), "discriminator": set()}
    generator = build_generator("srresnet", {"blocks": 1, "features": 8})
    discriminator = build_discriminator("vgg", {"patch_px": 32, "features": 4, "hidden": 8})
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        network.register_forward_pre_hook(lambda *_, name=name: coarse[name].add(torch.is_autocast_enabled("cpu")))
    criteria = Criteria(pixel=l1, adversarial=ADVERSARIAL["relativistic"](), adversarial_weight=1.0, discriminator_fp32=held)
    adversarial_step(generator, discriminator, batch_of(2), criteria, torch.bfloat16)
    assert coarse == {"generator": {True}, "discriminator": {not held}}


META = torch.device("meta")


@pytest.mark.parametrize("generator_name", ["srresnet", "rrdbnet", "compact"])
@pytest.mark.parametrize("discriminator_name", ["vgg", "unet"])
def test_a_step_mixes_no_devices(generator_name: str, discriminator_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without memory, which as a GPU does refuses tensors of the CPU and to which no kernels fall back."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not known there
    small = {"srresnet": {"blocks": 1, "features": 8}, "compact": {"features": 8, "convolutions": 1}}
    rrdbnet = {"blocks": 1, "features": 8, "growth_channels": 4}
    generator = build_generator(generator_name, small.get(generator_name, rrdbnet)).to(META)
    options = {"vgg": {"hidden": 8}, "unet": {}}[discriminator_name]
    discriminator = build_discriminator(discriminator_name, {"patch_px": 72, "features": 4, "high_pass_px": 1.6, **options}).to(
        META
    )
    features = FeatureNetwork(FeatureSpec(widths=(2, 3, 4, 4, 4)), "conv2_1").to(META)
    perceptual = PerceptualLoss(features, {"conv2_1": 1.0}, after_activation=False).to(META)
    criteria = Criteria(
        pixel=l1,
        grid_weight=1.0,
        lines_weight=1.0,
        mesh_weight=1.0,
        perceptual=perceptual,
        adversarial=ADVERSARIAL["relativistic"](),
        adversarial_weight=1.0,
    )
    average, optimizer = ExponentialMovingAverage(generator, 0.9), Muon(generator, 1e-3, (0.9, 0.99))
    statistics = health.RunningStatistics([generator, discriminator])
    check = health.FiniteCheck()

    batch = Batch((0, 1), torch.rand(2, 3, 18, 18, device=META), torch.rand(2, 3, 72, 72, device=META))
    statistics.keep()
    numbers, super_res = adversarial_step(generator, discriminator, batch, criteria, None)
    numbers["norm"] = health.norm_of_gradients(discriminator)
    good = check.add(0, batch.numbers, numbers)
    optimizer.found_inf = (~good).float()
    optimizer.step()
    statistics.restore_unless(good)
    average.update(generator, 0, good)

    made = [super_res, good, *numbers.values(), *average.network.state_dict().values()]
    made += [parameter.grad for network in (generator, discriminator) for parameter in network.parameters()]
    assert {tensor.device.type for tensor in made} == {"meta"}
