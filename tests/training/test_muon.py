from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stopping import after
from superscale.training.loop.muon import Muon, orthogonalized
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe
from superscale.weights.checkpoint import load_model

RATE, BETAS = 3e-3, (0.9, 0.99)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    channels_last = torch.channels_last
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.PReLU(), nn.Conv2d(8, 24, 3), nn.Conv2d(24, 3, 9))
    return layers.to(memory_format=channels_last)  # type: ignore[no-any-return,call-overload]


def gradients(layers: nn.Module, step: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(step)
    return {name: torch.randn(parameter.shape, generator=draw) for name, parameter in layers.named_parameters()}


def moved(layers: nn.Module, optimizer: torch.optim.Optimizer, steps: int, found_inf: float = 0.0) -> dict[str, Tensor]:
    for step in range(steps):
        for name, gradient in gradients(layers, step).items():
            layers.get_parameter(name).grad = gradient.clone()
        optimizer.found_inf = torch.tensor(found_inf)  # type: ignore[attr-defined]
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in layers.named_parameters()}


@pytest.mark.parametrize("shape", [(16, 144), (48, 48), (100, 20)])
def test_an_orthogonalized_matrix_keeps_its_singular_vectors_and_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.mT @ orthogonalized(matrix) @ right.mT
    values = core.diagonal(dim1=1, dim2=2)
    assert (core - torch.diag_embed(values)).abs().max() < 1e-6
    # The bulk of the values; the smallest of a square matrix take more iterations.
    assert values[:, : shape[1] * 3 // 4].min() > 0.6
    assert values.max() < 1.3


def test_hidden_convolutions_move_as_by_torchs_muon_and_all_else_as_by_torchs_adam() -> None:
    """torch's Muon takes matrices alone, in bf16; hence one per convolution and a hundredth of leeway."""
    layers, start = network(), dict(network().named_parameters())
    got = moved(layers, Muon(layers, RATE, BETAS), 3)
    hidden = {"1.weight", "3.weight"}
    for name, parameter in start.items():
        like = nn.Parameter(parameter.detach().flatten(1) if name in hidden else parameter.detach().clone())
        if name in hidden:
            theirs: torch.optim.Optimizer = torch.optim.Muon(
                [like], lr=RATE, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            )
        else:
            theirs = torch.optim.Adam([like], lr=RATE, betas=BETAS)
        for step in range(3):
            like.grad = gradients(layers, step)[name].reshape(like.shape)
            theirs.step()
        way, expected = got[name] - parameter.detach(), like.detach().reshape(parameter.shape) - parameter.detach()
        leeway = 2e-2 if name in hidden else 1e-5
        assert (way - expected).norm() < leeway * expected.norm(), name


def test_an_update_of_a_hidden_convolution_is_as_large_as_adams_usual_one() -> None:
    layers = network()
    before = layers[1].weight.detach().clone()
    way = moved(layers, Muon(layers, RATE, BETAS), 1)["1.weight"] - before
    assert way.square().mean().sqrt().item() == pytest.approx(0.2 * RATE, rel=0.15)


def test_a_step_that_is_not_finite_moves_no_weight_and_no_moment() -> None:
    layers, untouched = network(), network()
    optimizer, other = Muon(layers, RATE, BETAS), Muon(untouched, RATE, BETAS)
    before = {name: parameter.detach().clone() for name, parameter in layers.named_parameters()}
    for parameter in layers.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(parameter, before[name]) for name, parameter in layers.named_parameters())
    got, expected = moved(layers, optimizer, 2), moved(untouched, other, 2)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_bad_step_after_good_ones_moves_no_weight_and_no_moment() -> None:
    layers, untouched = network(), network()
    optimizer, other = Muon(layers, RATE, BETAS), Muon(untouched, RATE, BETAS)
    moved(layers, optimizer, 2)
    moved(untouched, other, 2)
    for parameter in layers.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    got, expected = moved(layers, optimizer, 3), moved(untouched, other, 3)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_network_of_two_convolutions_moves_by_adam_alone_and_what_has_no_gradient_stays() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3))
    start = {name: parameter.detach().clone() for name, parameter in layers.named_parameters()}
    like = nn.Parameter(start["1.weight"].clone())
    optimizer, theirs = Muon(layers, RATE, BETAS), torch.optim.Adam([like], lr=RATE, betas=BETAS)
    for step in range(2):
        layers[1].weight.grad = gradients(layers, step)["1.weight"]
        like.grad = gradients(layers, step)["1.weight"]
        optimizer.step()
        theirs.step()
    torch.testing.assert_close(layers[1].weight.detach(), like.detach())
    assert torch.equal(layers[0].weight, start["0.weight"])


def test_a_stopped_run_with_muon_goes_on_to_bitwise_the_same_weights(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny()
    recipe = replace(recipe, stage={name: replace(stage, optimizer="muon") for name, stage in recipe.stage.items()})
    train(recipe, tmp_path / "whole", quiet=True)
    for calls in (4, 3, 6, 2):
        train(recipe, tmp_path / "parts", quiet=True, stop=after(calls))
    assert train(recipe, tmp_path / "parts", quiet=True).finished
    whole, parts = (load_model(tmp_path / name / "model.safetensors").generator.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
