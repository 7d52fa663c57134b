"""A run of several weighted sources: read from a recipe, checked, resumed bitwise, and told from a run of others."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stopping import after
from superscale.data.prepare import prepare_synthetic
from superscale.data.synthetic import synthetic_picture
from superscale.errors import RecipeError
from superscale.image.io import Image, write_image
from superscale.training.loop.preflight import preflight
from superscale.training.loop.rehearsal import rehearse
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe, load_recipe, parse_recipe, to_toml
from superscale.training.run import states
from superscale.weights.checkpoint import load_model

Make = Callable[..., Recipe]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "pack"
    prepare_synthetic(folder, count=3, side_px=64)
    return folder


@pytest.fixture
def mixed(tiny: Make, pack: Path, other: Path) -> Recipe:
    more = [{"path": str(other), "weight": 0.5}]
    stage = {"psnr": {"images": 16, "learning_rate": 1e-3, "pixel": {}}}
    return tiny(data={"path": str(pack), "patch_px": 32, "batch": 2, "more": more}, stage=stage)


def test_a_recipe_names_more_sources_and_settings_change_them(tmp_path: Path) -> None:
    file = tmp_path / "mixed.toml"
    base = load_recipe("smoke")
    file.write_text(to_toml(base) + '\n[[data.more]]\npath = "b"\nweight = 3\n\n[[data.more]]\npath = "c"\n')
    recipe = load_recipe(str(file), [])
    assert [(source.path, source.weight) for source in recipe.data.more] == [("b", 3.0), ("c", 1.0)]
    assert recipe.data.shares == (200, 600, 200)
    changed = load_recipe(str(file), ["data.more.1.weight=2", "data.more.0.path=d", "data.weight=0.5"])
    assert [(source.path, source.weight) for source in changed.data.more] == [("d", 3.0), ("c", 2.0)]
    given = load_recipe("smoke", ['data.more=[{path="b", weight=0.25}]'])
    assert given.data.shares == (800, 200)
    assert parse_recipe(tomllib.loads(to_toml(changed))) == changed
    for setting, message in [
        ("data.more.2.weight=1", "data.more has 2 entries, counted from 0"),
        ("data.more.weight=1", "data.more has 2 entries"),
        ("data.more.0.path.x=1", r"data\.more\.0\.path is a value, not a table"),
        ("data.more.0.weight=0", r"weight must be in \(0, 1,000,000.0\], got 0.0"),
        ("data.more.0.wieght=1", r"data.more\[0\].wieght"),
        ("data.weight=-1", "weight must be in"),
        ("data.more.0.weight=1e-9", "less than one patch in 1000"),
    ]:
        with pytest.raises(RecipeError, match=message):
            load_recipe(str(file), [setting])


@pytest.mark.slow
def test_a_stopped_run_of_mixed_sources_ends_bitwise_as_an_uninterrupted_one(mixed: Recipe, tmp_path: Path) -> None:
    whole = train(mixed, tmp_path / "whole", device="cpu", quiet=True)
    assert not train(mixed, tmp_path / "cut", device="cpu", quiet=True, stop=after(5)).finished
    cut = train(mixed, tmp_path / "cut", device="cpu", quiet=True)
    assert whole.model is not None
    assert cut.model is not None
    first, second = (load_model(path).generator.state_dict() for path in (whole.model, cut.model))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    alone = train(replace(mixed, data=replace(mixed.data, more=())), tmp_path / "alone", device="cpu", quiet=True)
    assert alone.model is not None
    assert any(not torch.equal(tensor, first[key]) for key, tensor in load_model(alone.model).generator.state_dict().items())


def test_a_run_goes_on_with_its_packs_elsewhere_but_not_with_other_weights_or_sources(
    mixed: Recipe, pack: Path, other: Path, tmp_path: Path
) -> None:
    train(mixed, tmp_path / "run", device="cpu", quiet=True, stop=after(5))
    shutil.copytree(other, tmp_path / "moved")
    (source,) = mixed.data.more

    def now(path: Path, weight: float) -> Recipe:
        return replace(mixed, data=replace(mixed.data, more=(replace(source, path=str(path), weight=weight),)))

    assert preflight(now(tmp_path / "moved", 0.5), tmp_path / "run", "cpu").problems == []
    for wrong in (now(other, 0.25), now(pack, 0.5), replace(mixed, data=replace(mixed.data, more=()))):
        (problem,) = preflight(wrong, tmp_path / "run", "cpu").problems
        assert "data.more was [{'path': 'pack " in problem
        with pytest.raises(RecipeError, match=r"data\.more was"):
            train(wrong, tmp_path / "run", device="cpu", quiet=True)


def test_states_from_before_there_were_more_sources_go_on(tiny: Make, tmp_path: Path) -> None:
    recipe = tiny()
    train(recipe, tmp_path / "run", device="cpu", quiet=True, stop=after(5))
    saved = states.newest(tmp_path / "run" / "checkpoints", print)
    assert saved is not None
    now = dict(saved.facts["settings"])
    del saved.facts["settings"]["data.weight"]
    assert "data.more" not in now
    states.check_same_run(recipe, now, saved, "run")


def test_preflight_looks_at_every_source(tiny: Make, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "small.png", Image(synthetic_picture(3, 24)))
    more = [{"path": "/nowhere"}, {"path": str(tmp_path / "photos")}]
    recipe = tiny(data={"path": str(pack), "patch_px": 32, "batch": 2, "more": more})
    found = preflight(recipe, tmp_path / "run", "cpu").problems
    assert any("/nowhere: no such folder" in problem for problem in found)
    assert any("small.png (24x24)" in problem for problem in found)


@pytest.mark.slow
def test_photos_of_every_source_are_prepared_in_the_run_directory(tiny: Make, tmp_path: Path) -> None:
    for number in range(2):
        for name in "ab":
            write_image(tmp_path / f"photos{number}" / f"{name}.png", Image(synthetic_picture(number + 3, 64)))
    more = [{"path": str(tmp_path / "photos1")}, {"path": "synthetic", "weight": 2.0}]
    stage = {"psnr": {"images": 4, "learning_rate": 1e-3, "pixel": {}}}
    recipe = tiny(data={"path": str(tmp_path / "photos0"), "patch_px": 32, "batch": 2, "more": more}, stage=stage)
    assert preflight(recipe, tmp_path / "run", "cpu").problems == []
    assert [estimate.name for estimate in rehearse(recipe, tmp_path / "run", "cpu")] == ["psnr"]
    assert not (tmp_path / "run").exists()
    assert train(recipe, tmp_path / "run", device="cpu", quiet=True).finished
    assert {path.name for path in (tmp_path / "run").glob("pack*")} == {
        "pack", "pack-2", "pack-3", "pack-source.json", "pack-2-source.json", "pack-3-source.json"
    }  # fmt: skip
    # --fresh deletes all of it.
    assert train(recipe, tmp_path / "run", device="cpu", quiet=True, fresh=True).finished


def test_a_teacher_has_one_source(tiny: Make, other: Path) -> None:
    with pytest.raises(RecipeError, match=r"leave out data\.more or the teacher"):
        tiny(
            data={"path": str(other), "patch_px": 32, "batch": 2, "more": [{"path": str(other)}]},
            teacher={"model": "srresnet-x4"},
        )
