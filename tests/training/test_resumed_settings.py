"""Which settings may change between the parts of a run, and which may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stopping import after
from superscale.data.prepare import prepare_synthetic
from superscale.errors import RecipeError
from superscale.networks.compact import CompactConfig
from superscale.networks.srresnet import SRResNetConfig
from superscale.training.loop.train import train
from superscale.training.recipe.schema import PerceptualConfig, Recipe, load_recipe
from superscale.training.run import log
from superscale.weights.checkpoint import load_model, load_state, save_state, saved_states

Tiny = Callable[..., Recipe]


def changed(recipe: Recipe, stage: str, **fields: Any) -> Recipe:
    return replace(recipe, stage=recipe.stage | {stage: replace(recipe.stage[stage], **fields)})


REFUSED: dict[str, Callable[[Recipe], Recipe]] = {
    r"generator\.blocks was 1, is 2": lambda r: replace(r, generator=SRResNetConfig(features=4, blocks=2)),
    r"data\.batch was 2, is 4": lambda r: replace(r, data=replace(r.data, batch=4)),
    r"seed was 0, is 1": lambda r: replace(r, seed=1),
    r"stage\.psnr\.learning_rate was 0\.001, is 0\.002": lambda r: changed(r, "psnr", learning_rate=2e-3),
    r"stage\.psnr\.images was 16, is 2": lambda r: changed(r, "psnr", images=2),
    r"generator\.name was srresnet, is compact": lambda r: replace(r, generator=CompactConfig(features=4)),
    r"perceptual\.network was \(nothing\), is vgg19-random": lambda r: changed(
        r, "psnr", perceptual=PerceptualConfig(network="vgg19-random", layers={"conv1_1": 1.0})
    ),
    r"stages were psnr, are gan": lambda r: replace(r, stage=dict(reversed(r.stage.items()))),
}
ALLOWED: dict[str, Callable[[Recipe], Recipe]] = {
    "a name, reports, validation, states and health": lambda r: replace(
        r, name="other", report_every_images=4, checkpoint=replace(r.checkpoint, keep=3), health=replace(r.health, rollbacks=9)
    ),
    "the length of the running stage": lambda r: changed(r, "psnr", images=20),
    "a stage that has not begun": lambda r: changed(r, "gan", learning_rate=2e-4, images=4),
}


def test_a_setting_that_the_state_depends_on_cannot_change(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", stop=after(3), quiet=True)
    written = (tmp_path / "run" / "recipe.toml").read_bytes()
    for match, change in REFUSED.items():
        with pytest.raises(RecipeError, match=rf"another recipe: .*{match}.*begin anew"):
            train(change(tiny()), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == written


def test_a_state_from_before_a_setting_was_there_is_resumed_with_what_was_done_then_alone(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", stop=after(3), quiet=True)
    for folder in saved_states(tmp_path / "run" / "checkpoints"):
        tensors, facts = load_state(folder)
        later = (".optimizer", ".precision", ".lines_weight", ".mesh_weight", ".sees_low_res", ".turned")
        facts["settings"] = {key: value for key, value in facts["settings"].items() if not key.endswith(later)}
        save_state(folder, tensors, facts)
    with pytest.raises(RecipeError, match=r"stage\.psnr\.optimizer was adam, is muon"):
        train(changed(tiny(), "psnr", optimizer="muon"), tmp_path / "run", quiet=True)
    assert train(tiny(), tmp_path / "run", quiet=True).finished


# What `tiny` does not say of its networks, or as the defaults have it.
LEFT_TO_DEFAULTS = ("generator.scale", "generator.channels", "generator.batch_norm", "discriminator.channels")


def as_older_versions_wrote(settings: dict[str, Any]) -> dict[str, Any]:
    """Of a network only the options that its recipe gave, and a stage's name without quotes."""
    return {key.replace('"', ""): value for key, value in settings.items() if not key.endswith(LEFT_TO_DEFAULTS)}


@pytest.mark.parametrize("stage", ["gan", "my gan"])
def test_a_state_that_names_only_the_options_given_is_resumed_by_networks_with_the_default_rest(
    stage: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = replace(tiny(), stage={stage: tiny().stage["gan"]})
    assert not train(recipe, tmp_path / "run", stop=after(3), quiet=True).finished
    for folder in saved_states(tmp_path / "run" / "checkpoints"):
        tensors, facts = load_state(folder)
        older = as_older_versions_wrote(facts["settings"])
        assert len(older) == len(facts["settings"]) - len(LEFT_TO_DEFAULTS)
        save_state(folder, tensors, facts | {"settings": older})
    with pytest.raises(RecipeError, match=r"generator\.batch_norm was True, is False"):
        train(replace(recipe, generator=SRResNetConfig(features=4, blocks=1, batch_norm=False)), tmp_path / "run", quiet=True)
    assert train(recipe, tmp_path / "run", quiet=True).finished


def test_a_stage_whose_name_holds_a_dot_goes_on_where_it_stopped(tiny: Tiny, tmp_path: Path) -> None:
    recipe = replace(tiny(), stage={"v1.5": tiny().stage["psnr"]})
    train(recipe, tmp_path / "run", stop=after(3), quiet=True)
    resumed = load_recipe(str(tmp_path / "run" / "recipe.toml"), ['stage."v1.5".images=20'])
    assert train(resumed, tmp_path / "run", quiet=True).images == 20
    with pytest.raises(RecipeError, match=r'stage\."v1\.5"\.learning_rate was 0\.001, is 0\.1'):
        train(changed(recipe, "v1.5", learning_rate=0.1), tmp_path / "run", quiet=True)


@pytest.mark.parametrize("what", ALLOWED)
def test_what_may_change_leads_to_the_weights_of_a_run_that_always_had_it(what: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = ALLOWED[what](tiny())
    train(tiny(), tmp_path / "parts", stop=after(3), quiet=True)
    for run_dir in ("parts", "whole"):
        train(recipe, tmp_path / run_dir, quiet=True)
    expected = load_model(tmp_path / "whole" / "model.safetensors").generator.state_dict()
    for key, tensor in load_model(tmp_path / "parts" / "model.safetensors").generator.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def test_a_pack_may_move_but_not_be_another(tiny: Tiny, pack: Path, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", stop=after(3), quiet=True)
    (tmp_path / "moved").symlink_to(pack)
    moved = replace(tiny(), data=replace(tiny().data, path=str(tmp_path / "moved")))
    train(moved, tmp_path / "run", stop=after(3), quiet=True)
    prepare_synthetic(tmp_path / "other", count=9, side_px=48)
    other = replace(tiny(), data=replace(tiny().data, path=str(tmp_path / "other")))
    with pytest.raises(RecipeError, match=r"data\.path was pack [0-9a-f]{64}, is pack"):
        train(other, tmp_path / "run", quiet=True)


def test_a_state_of_other_versions_is_resumed_with_a_word_about_it(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(log.np, "__version__", "1.0")
        train(tiny(), tmp_path / "run", stop=after(3), quiet=True)
    train(tiny(), tmp_path / "run", stop=after(3))
    assert "saved with numpy 1.0, now" in capsys.readouterr().err
