from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from superscale.data.draws import DegradationConfig, SecondRoundConfig
from superscale.errors import RecipeError, UnknownNameError
from superscale.networks.catalog import discriminator_of, generator_of
from superscale.networks.compact import CompactConfig
from superscale.networks.discriminators import UNetConfig
from superscale.networks.rrdbnet import RRDBNetConfig
from superscale.training.loop.first_generator import with_generator
from superscale.training.loop.schedule import learning_rate
from superscale.training.recipe.bundled import bundled_recipes
from superscale.training.recipe.parsing import assignment, dotted_key
from superscale.training.recipe.schema import load_recipe, parse_recipe, survey_recipe, to_toml

MINIMAL = {"name": "r", "generator": {"name": "srresnet"}, "stage": {"psnr": {"images": 10, "pixel": {}}}}


@pytest.mark.parametrize("name", bundled_recipes())
def test_every_bundled_recipe_loads_builds_and_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / f"{name}.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / f"{name}.toml")) == recipe
    generator = with_generator(recipe).generator
    assert generator is not None
    assert generator_of(generator).contract.scale == recipe.scale
    for stage in recipe.stage.values():
        if stage.adversarial:
            discriminator_of(replace(recipe.discriminator(stage.adversarial), features=4))


AWKWARD = ["two\nlines", "tab\tand \x7f", 'a "quoted" \\ word']


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_with_control_characters_and_quotes_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = parse_recipe({**MINIMAL, "name": name, "data": {"path": name}})
    (tmp_path / "written.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "written.toml")) == recipe


@pytest.mark.parametrize("stage", ["v1.5", "my stage", 'say "x = y"'])
def test_a_stage_whose_name_needs_quotes_survives_being_written_and_can_be_set(stage: str, tmp_path: Path) -> None:
    recipe = parse_recipe({**MINIMAL, "stage": {stage: {"images": 10, "pixel": {}}}})
    (tmp_path / "written.toml").write_text(to_toml(recipe))
    assert load_recipe(str(tmp_path / "written.toml")) == recipe
    quoted = f"stage.{json.dumps(stage)}.learning_rate=3e-4"
    assert load_recipe(str(tmp_path / "written.toml"), [quoted]).stage[stage].learning_rate == 3e-4
    with pytest.raises(RecipeError, match=re.escape(f"stage.{dotted_key(stage)}.learning_rate: expected float, got 'x'")):
        load_recipe(str(tmp_path / "written.toml"), [quoted.replace("3e-4", "x")])


@pytest.mark.parametrize("path", [r"C:\new\photos", "it's", "both ' and \"", *AWKWARD])
def test_an_option_of_the_command_line_sets_exactly_the_text_that_was_typed(path: str) -> None:
    assert load_recipe("smoke", [assignment("data.path", path)]).data.path == path


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("generator.name=srresnt", r"generator\.name: expected one of srresnet, rrdbnet, compact.*did you mean 'srresnet'"),
        ("generator.name=['srresnet']", r"generator\.name: expected one of srresnet, rrdbnet, compact, got \['srresnet'\]"),
        ("generator.scale=3", r"^generator: SRResNet enlarges by 2, 4 or 8, got scale 3$"),
        ("generator={}", r"^generator is missing"),
        ("generator={ features = 8 }", r"^generator\.name is missing: a network needs one of srresnet, rrdbnet, compact$"),
        ("generator.batch_norm=1", r"generator\.batch_norm: expected bool, got 1"),
        ("stage.gan.adversarial.discriminator.hiden=8", r"discriminator\.hiden \(did you mean 'hidden'\?\)"),
        ("stage.gan.adversarial.discriminator={ name = 'unt' }", r"discriminator\.name: expected one of vgg, unet.*'unet'"),
        ("stage.gan.adversarial.discriminator.batch_norm=true", r"discriminator: batch_norm and spectral_norm exclude"),
        ("stage.gan.adversarial.discriminator.patch_px=96", r"discriminator\.patch_px is 96, but data\.patch_px is 48"),
    ],
)
def test_a_network_that_cannot_be_is_named_alone(override: str, match: str) -> None:
    with pytest.raises(RecipeError, match=match) as error:
        load_recipe("smoke", [override])
    assert len(error.value.problems) == 1


def test_a_discriminator_is_built_for_the_runs_patches_and_must_be_able_to_halve_them() -> None:
    recipe = load_recipe("smoke", ["data.patch_px=80"])
    assert recipe.stage["gan"].adversarial is not None
    assert recipe.discriminator(recipe.stage["gan"].adversarial).patch_px == 80
    with pytest.raises(RecipeError, match="must be a multiple of 8, got 100"):
        load_recipe("smoke", ["data.patch_px=100", "stage.gan.adversarial.discriminator={ name = 'unet' }"])


def test_the_srgan_recipe_is_the_papers() -> None:
    """Ledig et al. 2017, §3.2: 10^6 updates of 16 patches of 96x96 at 10^-4; then 10^5 at 10^-4 and 10^5 at 10^-5."""
    recipe = load_recipe("srgan_x4")
    psnr, gan = recipe.stage["psnr"], recipe.stage["gan"]
    assert (recipe.data.patch_px, recipe.data.batch) == (96, 16)
    assert psnr.pixel is not None
    assert (psnr.images, psnr.learning_rate, psnr.pixel.loss) == (16 * 10**6, 1e-4, "mse")
    assert gan.pixel is None
    assert gan.perceptual is not None
    assert gan.adversarial is not None
    assert gan.images == 16 * 2 * 10**5
    assert gan.perceptual.layers == {"conv5_4": 1.0}
    assert gan.perceptual.after_activation
    assert (gan.adversarial.loss, gan.adversarial.weight) == ("standard", 1e-3)
    assert learning_rate(gan, 16 * 10**5 - 1) == pytest.approx(1e-4)
    assert learning_rate(gan, 16 * 10**5) == pytest.approx(1e-5)


def test_the_esrgan_recipe_is_the_papers() -> None:
    """Wang et al. 2018, §4.1 and eq. 3: eta = 10^-2, lambda = 5*10^-3; halved at 50k, 100k, 200k and 300k updates."""
    recipe = load_recipe("esrgan_x4")
    psnr, gan = recipe.stage["psnr"], recipe.stage["gan"]
    assert psnr.pixel is not None
    assert (psnr.pixel.loss, psnr.learning_rate) == ("l1", 2e-4)
    assert [learning_rate(psnr, 16 * step) for step in (0, 200_000, 400_000)] == pytest.approx([2e-4, 1e-4, 5e-5])
    assert gan.pixel is not None
    assert gan.perceptual is not None
    assert gan.adversarial is not None
    assert (gan.pixel.weight, gan.perceptual.weight, gan.adversarial.weight) == (1e-2, 1.0, 5e-3)
    assert gan.adversarial.loss == "relativistic"
    assert not gan.perceptual.after_activation
    rates = [learning_rate(gan, 16 * step) for step in (0, 50_000, 100_000, 200_000, 300_000)]
    assert rates == pytest.approx([1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6])


def test_schedules_are_functions_of_images_seen() -> None:
    stage = parse_recipe(
        {**MINIMAL, "stage": {"s": {"images": 1000, "learning_rate": 2.0, "schedule": "cosine", "pixel": {}}}}
    ).stage["s"]
    assert [learning_rate(stage, n) for n in (0, 250, 500, 1000)] == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 0.0])
    table = {"images": 1000, "learning_rate": 2.0, "warmup_images": 100, "pixel": {}}
    stage = parse_recipe({**MINIMAL, "stage": {"s": table}}).stage["s"]
    assert [learning_rate(stage, n) for n in (0, 49, 99, 500)] == pytest.approx([0.02, 1.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("stage.gan.learning_rte=1e-4", r"unknown key stage\.gan\.learning_rte \(did you mean 'learning_rate'\?\)"),
        ("stage.gan.learning_rate=fast", r"stage\.gan\.learning_rate: expected float, got 'fast'"),
        ("data.batch=2.5", r"data\.batch: expected int"),
        ("data.augment=1", r"data\.augment: expected bool"),
        ("precision=bf15", r"precision: expected one of fp32, bf16.*did you mean 'bf16'"),
        ("stage.psnr.betas=[0.9]", r"stage\.psnr\.betas: expected 2 values"),
        ("stage.psnr.images=0", r"stage\.psnr: images must be in \[1, .*got 0"),
        ("stage.psnr.ema_decay=1.5", "ema_decay"),
        ("stage.psnr.betas=[1.5, 0.9]", r"betas\[0\] must be in \[0, 1\), got 1\.5"),
        ("stage.psnr.gradient_clip=-1.0", r"gradient_clip must be in \[0, .*got -1"),
        ("stage.psnr.warmup_images=-5", r"warmup_images must be in \[0, "),
        ("stage.psnr.gamma=-1.0", r"gamma must be in \(0, 1\]"),
        ("stage.psnr.learning_rate=nan", r"learning_rate must be in \(0, 10\], got nan"),
        ("stage.gan.adversarial.learning_rate=-1.0", r"adversarial: learning_rate must be in \(0, 10\], got -1"),
        ("stage.psnr.learning_rate=1" + 400 * "0", r"learning_rate: expected float, got 1000"),
        ("data.more." + 5000 * "9" + ".path=x", r"data\.more has 1 entries"),
        ("seed=-1", r"seed must be in \[0, 9,223,372,036,854,775,807\], got -1"),
        ("stage.psnr.lines_weight=1.0", r"stage\.psnr\.lines_weight needs data\.patch_px of at least 65, got \d+"),
        ("scale=2", r"scale is 2, but generator\.scale is 4"),
        ("data", "key=value"),
        ("seed.deeper=1", "seed is a value"),
        ("#=1", "unknown key"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_the_way_out(override: str, match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        load_recipe("smoke", ["seed=0", "data.more=[{ path = 'synthetic' }]", override])


def test_a_mesh_is_looked_for_in_patches_that_hold_a_window() -> None:
    with pytest.raises(RecipeError, match=r"stage\.psnr\.mesh_weight needs data\.patch_px of at least 32, got 24"):
        load_recipe("smoke", ["data.patch_px=24", "stage.psnr.mesh_weight=1.0"])


def test_all_that_is_wrong_with_a_recipe_is_said_at_once() -> None:
    overrides = [
        "sed=1",
        "data.bach=2",
        "data.patch_px=big",
        "stage.gan.perceptual.wight=1",
        "stage.psnr.images=0",
        "checkpoint.keep=0",
    ]
    with pytest.raises(RecipeError) as error:
        load_recipe("smoke", overrides)
    assert [problem.split(";")[0] for problem in error.value.problems] == [
        "data.patch_px: expected int, got 'big'",
        "unknown key data.bach (did you mean 'batch'?)",
        "checkpoint: keep must be in [2, 1,000,000], got 0",
        "stage.psnr: images must be in [1, 1,000,000,000,000], got 0",
        "unknown key stage.gan.perceptual.wight (did you mean 'weight'?)",
        "unknown key sed (did you mean 'seed'?)",
    ]


def test_what_is_left_of_a_wrong_recipe_can_still_be_checked() -> None:
    recipe, problems = survey_recipe("smoke", ["data.bach=2", "data.path=/nowhere"])
    assert recipe is not None
    assert (recipe.data.path, recipe.data.batch, len(problems)) == ("/nowhere", 4, 1)
    recipe, problems = survey_recipe("smoke", ["stage=3"])
    assert (recipe, problems) == (None, ["stage: expected a table, got 3"])


def test_settings_are_typed_by_the_field_and_never_evaluated() -> None:
    recipe = load_recipe("smoke", ["stage.gan.learning_rate=3", "data.path=__import__('os').getcwd()", "seed=7"])
    assert recipe.stage["gan"].learning_rate == 3.0
    assert isinstance(recipe.stage["gan"].learning_rate, float)
    assert recipe.data.path == "__import__('os').getcwd()"
    assert recipe.seed == 7


def test_a_stage_without_anything_to_hold_the_picture_is_refused() -> None:
    with pytest.raises(RecipeError, match="pixel loss or a perceptual loss"):
        parse_recipe({**MINIMAL, "stage": {"psnr": {"images": 10}}})


def test_recipes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'srgan_x4'"):
        load_recipe("srgan_4x")
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(RecipeError, match="not TOML"):
        load_recipe(str(tmp_path / "bad.toml"))


def test_the_real_world_recipes_are_the_papers() -> None:
    """Wang et al. 2021, §4.1: 48 patches of 256; L1 at 2e-4 for 1000K, then 1 : 1 : 0.1 at 1e-4 for 400K; VGG19 before activation."""
    for name, generator in (("real_x4", CompactConfig), ("real_rrdb_x4", RRDBNetConfig)):
        recipe = load_recipe(name)
        psnr, gan = recipe.stage["psnr"], recipe.stage["gan"]
        assert type(recipe.generator) is generator
        assert (recipe.data.patch_px, recipe.data.batch, recipe.data.low_res) == (256, 48, "degraded")
        assert (psnr.images, psnr.learning_rate) == (48 * 10**6, 2e-4)
        assert (gan.images, gan.learning_rate) == (48 * 4 * 10**5, 1e-4)
        assert psnr.pixel is not None
        assert gan.pixel is not None
        assert gan.perceptual is not None
        assert gan.adversarial is not None
        assert (psnr.pixel.loss, gan.pixel.loss) == ("l1", "l1")
        assert (gan.pixel.weight, gan.perceptual.weight, gan.adversarial.weight) == (1.0, 1.0, 0.1)
        assert list(gan.perceptual.layers.values()) == [0.1, 0.1, 1.0, 1.0, 1.0]
        assert not gan.perceptual.after_activation
        assert (gan.adversarial.loss, gan.adversarial.discriminator) == ("standard", UNetConfig())
        assert recipe.data.degradation == DegradationConfig()


def test_a_degradation_in_part_keeps_the_published_rest() -> None:
    recipe = load_recipe("real_rrdb_x4", ["data.degradation.second.resize_range=[0.5, 1.0]"])
    assert recipe.data.degradation is not None
    assert recipe.data.degradation.second == SecondRoundConfig(resize_range=(0.5, 1.0))
    assert recipe.data.degradation.second.noise_sigma == (1.0, 25.0)


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("data.low_res=on_load", r'data: \[data\.degradation\] needs low_res = "degraded", got \'on_load\''),
        (
            "data.degradation.first.jpeg_qualty=[1, 2]",
            r"data\.degradation\.first\.jpeg_qualty \(did you mean 'jpeg_quality'\?\)",
        ),
        ("data.degradation.first.resize_range=[2.0, 1.0]", r"data\.degradation\.first: resize_range must be \[low, high\]"),
        ("data.degradation.second.resize_weights={}", r"data\.degradation\.second: resize_weights"),
    ],
)
def test_a_degradation_that_cannot_be_is_named(override: str, match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        load_recipe("real_x4", [override])
    with pytest.raises(RecipeError, match=r"data: low_res = \"degraded\" needs a table \[data\.degradation\]"):
        load_recipe("smoke", ["data.low_res=degraded"])
