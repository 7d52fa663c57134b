"""Training on real pairs: the low-res pictures that were given are the ones that are learnt from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superscale.data.prepare import prepare
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError
from superscale.image.io import Image, write_image
from superscale.training.loop.data_source import open_packs, patch_plan
from superscale.training.loop.preflight import preflight
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe


@pytest.fixture
def pairs(tmp_path: Path, noise: np.random.Generator) -> Path:
    for number in range(4):
        write_image(tmp_path / "set" / "HR" / f"{number}.png", Image(synthetic_picture(number, 48)))
        low_res = noise.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        write_image(tmp_path / "set" / "LR_x4" / f"{number}.png", Image(low_res))
    return tmp_path / "set"


def data(path: Path, low_res: str) -> dict[str, Any]:
    return {"path": str(path), "patch_px": 32, "batch": 2, "low_res": low_res}


def test_a_pack_of_pairs_trains_as_stored_and_no_other_way(pairs: Path, tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    prepare(pairs, tmp_path / "pack")
    recipe = tiny(data=data(tmp_path / "pack", "stored"))
    assert train(recipe, tmp_path / "run", quiet=True, device="cpu").finished
    wrong = tiny(data=data(tmp_path / "pack", "on_load"))
    with pytest.raises(DataError, match="real low-resolution pictures"):
        patch_plan(wrong, open_packs(wrong, tmp_path / "other"))
    assert any("real low-resolution" in problem for problem in preflight(wrong, tmp_path / "other", "cpu").problems)


@pytest.mark.parametrize(("low_res", "stored"), [("stored", "paired"), ("on_load", "none")])
def test_a_run_packs_a_folder_of_pairs_as_its_recipe_reads_it(
    low_res: str, stored: str, pairs: Path, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    recipe = tiny(data=data(pairs, low_res))
    assert not preflight(recipe, tmp_path / "run", "cpu").problems
    (pack,) = open_packs(recipe, tmp_path / "run")
    assert (pack.manifest.low_res, len(pack)) == (stored, 4)
