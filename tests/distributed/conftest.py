"""What two processes have done, for the tests that look at it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from launch import two_processes
from worker import tiny

from superscale.data.prepare import prepare
from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image, write_image
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five photos and a pack of them."""
    folder = tmp_path_factory.mktemp("together")
    for number in range(5):
        write_image(folder / "photos" / f"photo-{number}.png", Image(synthetic_picture(number, 112)[:96]))
    prepare(folder / "photos", folder / "pack")
    return folder


@pytest.fixture(scope="session")
def together(material: Path) -> Path:
    """`material` after two processes have worked through the cases, in one start since starting takes longest."""
    codes, said = two_processes("facts,norms,games,muon,whole,stopped,poisoned", material)
    assert codes == [0, 0], said
    return material


@pytest.fixture(scope="session")
def one(together: Path) -> Path:
    """The run "whole" by one process with twice the batch."""
    return alone(tiny(together), together / "one")


def alone(recipe: Recipe, run_dir: Path) -> Path:
    """A run by one process, as fast as the two together: with twice the batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(replace(recipe, data=replace(recipe.data, batch=2 * recipe.data.batch)), run_dir, quiet=True)
    torch.set_num_threads(threads)
    return run_dir
