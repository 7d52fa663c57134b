"""What two processes do together in these tests: ``python worker.py CASE FOLDER`` at each."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from superscale.data.pairs import Pair, PairFolder
from superscale.errors import TrainingError
from superscale.machine import processes
from superscale.training.loop import train as loop
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe, load_recipe

sys.path.insert(0, str(Path(__file__).parent))
import game

BATCH_NORM_INPUT = (4, 3, 5, 7)


def keep(folder: Path, name: str, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / f"{name}-{processes.rank()}.safetensors")


def facts(folder: Path) -> None:
    rank = processes.rank()
    numbers = {"loss": torch.tensor(1.0 + rank), "bad": torch.tensor(float("nan" if rank else 1))}
    found: dict[str, Any] = {
        "gathered": processes.gather({"rank": rank, "text": "é" * rank, "third": 1 / 3, "infinite": float("inf")}),
        "in_order": processes.in_order([number / 7 for number in processes.share(5)]),
        "one_flag": processes.anywhere(rank == 1),
        "no_flag": processes.anywhere(False),
        "means": {key: float(mean) for key, mean in processes.mean_numbers(numbers).items()},
    }
    network = torch.nn.Linear(2, 2)
    processes.synchronized(network)
    processes.require_equal_weights(network)
    with torch.no_grad():
        network.bias[0] += rank * 1e-7
    try:
        processes.require_equal_weights(network)
    except TrainingError as error:
        found["drifted"] = str(error)
    (folder / f"facts-{rank}.json").write_text(json.dumps(found))


def norms(folder: Path) -> None:
    torch.manual_seed(2)
    features = torch.rand(BATCH_NORM_INPUT, dtype=torch.float64)[processes.rank() :: 2].requires_grad_()
    norm = processes.synchronized(torch.nn.Sequential(torch.nn.BatchNorm2d(3).double()))
    out = norm(features)
    (out**3).mean().backward()
    processes.average_gradients(norm)
    gradients = {name: parameter.grad for name, parameter in norm.named_parameters() if parameter.grad is not None}
    assert features.grad is not None
    keep(folder, "norms", {"out": out.detach(), "features": features.grad, **gradients, **dict(norm.named_buffers())})


def games(folder: Path) -> None:
    for name in game.DISCRIMINATORS:
        players = game.networks(name)
        for player in players:
            processes.synchronized(player)
        low_res, high_res = (picture[processes.rank() :: 2] for picture in game.pictures())
        game.play(*players, low_res, high_res, processes.mean)
        for player in players:
            processes.average_gradients(player)
        keep(folder, name, game.outcome(players))


def tiny(folder: Path) -> Recipe:
    data, photos = str(folder / "pack"), str(folder / "photos")
    return load_recipe(str(Path(__file__).with_name("tiny.toml")), [f"data.path={data!r}", f"validation.path={photos!r}"])


def whole(folder: Path) -> None:
    """Notes which validation pictures this process has read."""
    read, one_pair = set(), PairFolder.__getitem__

    def noted(pairs: PairFolder, index: int) -> Pair:
        read.add(index)
        return one_pair(pairs, index)

    PairFolder.__getitem__ = noted  # type: ignore[method-assign]
    train(tiny(folder), folder / "whole", quiet=True)
    PairFolder.__getitem__ = one_pair  # type: ignore[method-assign]
    (folder / f"read-{processes.rank()}.json").write_text(json.dumps(sorted(read)))


def stopped(folder: Path) -> None:
    """Process 1 alone is asked to stop, at the first question after image 36 was saved: in the midst of its validation."""
    state = folder / "stopped" / "checkpoints" / "step-000000000036"
    result = train(tiny(folder), folder / "stopped", stop=lambda: processes.rank() == 1 and state.exists(), quiet=True)
    assert not result.finished
    (folder / f"stopped-{processes.rank()}.json").write_text(json.dumps(result.images))


def poisoned(folder: Path) -> None:
    """The second step of process 1 alone is not finite."""
    whole_step, steps = loop.pixel_step, iter(range(10**6))

    def step(generator: torch.nn.Module, *arguments: Any) -> dict[str, Tensor]:
        numbers = whole_step(generator, *arguments)
        if next(steps) == 1 and processes.rank() == 1:
            numbers["loss"] = numbers["loss"] * float("nan")
        return numbers

    recipe = tiny(folder)
    loop.pixel_step = step  # type: ignore[assignment]
    train(replace(recipe, stage={"psnr": replace(recipe.stage["psnr"], images=12)}), folder / "poisoned", quiet=True)
    loop.pixel_step = whole_step


def muon(folder: Path) -> None:
    """Each save is refused when the weights of the two are not equal."""
    recipe = tiny(folder)
    recipe = replace(recipe, stage={name: replace(stage, optimizer="muon") for name, stage in recipe.stage.items()})
    train(recipe, folder / "muon", quiet=True)


def failing(folder: Path) -> None:
    def stop() -> bool:
        if processes.rank() == 1 and (folder / "failing" / "checkpoints").exists():
            raise TrainingError("this process fails on purpose")
        return False

    train(tiny(folder), folder / "failing", stop=stop, quiet=True)


CASES = {
    "facts": facts,
    "norms": norms,
    "games": games,
    "whole": whole,
    "stopped": stopped,
    "poisoned": poisoned,
    "muon": muon,
    "failing": failing,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with processes.together("cpu"):
        for case in sys.argv[1].split(","):
            CASES[case](Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # as `superscale train` does under torchrun
