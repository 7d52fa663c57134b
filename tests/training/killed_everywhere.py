"""``python killed_everywhere.py RECIPE FOLDER``: a run that was begun, gone on with and killed before each change that a save makes.

Writes to FOLDER/kills.jsonl, for each kill, what it was about to do and the training states then on disk with whether each is whole.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # by Adam, at its first step
import torch.utils.tensorboard  # by the log: every child would import both by itself

from superscale.errors import CheckpointError
from superscale.training.loop.train import train
from superscale.training.recipe.schema import load_recipe
from superscale.weights.checkpoint import load_state, saved_states

# The question whether to stop that is answered yes, in the run that is begun: two states are then saved.
STOP_AT = 4
# What Python tells an audit hook before it changes a folder.
CHANGES = ("open", "os.mkdir", "os.chmod", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def die_before_change(number: int, states: Path, told: Path) -> None:
    """SIGKILL to this process when it is about to make this change, the first being 0, below the folder of states."""
    seen = itertools.count()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        paths = [str(argument) for argument in arguments if isinstance(argument, str | os.PathLike)]
        reading = event == "open" and not int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event in CHANGES and not reading and any(str(states) in path for path in paths) and next(seen) == number:
            told.write_text(f"{event} {Path(paths[0]).name}")
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def in_a_child(work: Callable[[], object]) -> int:
    """Its exit status; a fork, since importing torch takes longer than the run."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    work()
    os._exit(0)


def whole(state: Path) -> bool:
    try:
        load_state(state)
    except CheckpointError:
        return False
    return True


def main(recipe_file: str, folder: Path) -> None:
    recipe = load_recipe(recipe_file)
    torch.set_num_threads(1)
    assert in_a_child(lambda: train(recipe, folder / "whole", quiet=True)) == 0
    asked = itertools.count()
    assert in_a_child(lambda: train(recipe, folder / "begun", quiet=True, stop=lambda: next(asked) >= STOP_AT)) == 0
    assert len(list(saved_states(folder / "begun" / "checkpoints"))) == 2
    for number in itertools.count():
        run_dir, told = folder / f"killed-{number}", folder / "told"
        shutil.copytree(folder / "begun", run_dir)

        def killed(number: int = number, run_dir: Path = run_dir, told: Path = told) -> None:
            die_before_change(number, run_dir / "checkpoints", told)
            train(recipe, run_dir, quiet=True)

        status = in_a_child(killed)
        if status == 0:
            shutil.rmtree(run_dir)
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        states = {state.name: whole(state) for state in saved_states(run_dir / "checkpoints")}
        with open(folder / "kills.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"before": told.read_text(), "states": states}) + "\n")
        assert in_a_child(lambda run_dir=run_dir: train(recipe, run_dir, quiet=True)) == 0  # type: ignore[misc]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
