"""A compiled generator against the eager one; backends that compute faithfully, wrongly and not at all stand in for a compiler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from superscale.networks.catalog import build_generator
from superscale.networks.generator import Generator
from superscale.training.loop import compiled as module
from superscale.training.loop.compiled import compiled
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe
from superscale.weights.checkpoint import load_model

Tiny = Callable[..., Recipe]


def brighter(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
    """Computes the graph, and then one part in a thousand too much."""
    return lambda *inputs: tuple(output * 1.001 if output.is_floating_point() else output for output in graph(*inputs))


def broken(_graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
    raise RuntimeError("no compiler was found")


@pytest.fixture
def generator() -> Generator:
    torch.compiler.reset()
    torch.manual_seed(0)
    return build_generator("srresnet", {"features": 4, "blocks": 1, "batch_norm": True}).train()


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_a_faithful_backend_is_used_and_looking_at_it_moves_nothing(
    precision: torch.dtype | None, generator: Generator
) -> None:
    said: list[str] = []
    before = {key: tensor.clone() for key, tensor in generator.state_dict().items()}
    random = torch.get_rng_state()
    forward = compiled(generator, 2, 32, precision, said.append, backend="aot_eager")
    assert forward is not generator
    assert said == ["the generator is compiled; its output and gradients were compared with eager's"]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in generator.parameters())
    for key, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    low_res = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        torch.testing.assert_close(forward(low_res), generator(low_res))


@pytest.mark.parametrize(("backend", "why"), [(brighter, "its output differs from fp32 by"), (broken, "no compiler was found")])
def test_a_wrong_or_failing_backend_is_told_of_and_not_used(backend: Any, why: str, generator: Generator) -> None:
    said: list[str] = []
    assert compiled(generator, 2, 32, None, said.append, backend=backend) is generator
    assert len(said) == 1
    assert said[0].startswith("the generator is not compiled: ")
    assert why in said[0]


def test_a_run_whose_compiler_is_wrong_is_bitwise_the_eager_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(module, "BACKEND", brighter)
    eager = train(tiny(), tmp_path / "eager", quiet=True)
    told = train(replace(tiny(), compile=True), tmp_path / "compiled")
    assert capsys.readouterr().err.count("the generator is not compiled") == 2, "once a stage"
    expected, got = (load_model(result.model).generator.state_dict() for result in (eager, told))  # type: ignore[arg-type]
    for key, tensor in expected.items():
        assert torch.equal(got[key], tensor), key
