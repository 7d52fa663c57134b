"""A run as frozen dataclasses, and where its recipe is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from superscale.bounds import (
    Bounds,
    Decay,
    Images,
    ImagesOrNone,
    Name,
    PlainName,
    Rate,
    Scale,
    Share,
    Side,
    Weight,
    check_bounds,
)
from superscale.errors import RecipeError, UsageError
from superscale.metrics.mesh import WINDOW_PX
from superscale.metrics.spectrum import SEGMENT_PX
from superscale.networks.catalog import DiscriminatorConfig
from superscale.networks.configs import GeneratorConfig
from superscale.networks.discriminators import VGGStyleConfig
from superscale.reading import read_text, read_toml, reason
from superscale.training.recipe.bundled import recipe_text
from superscale.training.recipe.data import DataConfig
from superscale.training.recipe.parsing import LeftOut, apply, dotted_key, parse, write

# The longest bundled one has 3 kB.
MOST_RECIPE_BYTES = 1_000_000
Schedule = Literal["constant", "cosine", "step"]


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A large ``model`` (a name or a file) that a small network learns from: it upscales ``patches`` damaged patches once, of
    ``patch_px`` high-res pixels a side, and the target is ``weight`` parts of what it makes and 1 - ``weight`` of the truth.

    ``colors_px``: what is coarser in its outputs than a Gaussian blur of this standard deviation, the colours above all, comes from the
    truth, because GANs shift them (RealESRGAN_x4plus darkens red by three levels); 0: the outputs as they are.
    ``licence``: of its weights, for the card of the model that learns from it.
    """

    model: str
    weight: Share = 1.0
    patches: Images = 4000
    patch_px: Side = 256
    colors_px: Annotated[float, Bounds(0, 1000)] = 8.0
    licence: str = ""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """``path``: a folder of high-resolution pictures ("" for none). The first ``samples`` of them make the sample sheet."""

    path: str = ""
    every_images: Images = 100_000
    samples: Annotated[int, Bounds(1, 1000)] = 4

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often a training state is written, in images, and how many are kept."""

    every_images: Images = 100_000
    # Two, so that one is left when the newest is damaged.
    keep: Annotated[int, Bounds(2, 1_000_000)] = 2

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """A step with a loss or gradient that is not finite moves nothing. ``bad_in_a_row`` of them take the run back to its newest
    training state, there to go on with ``rate_factor`` times the learning rate; at most ``rollbacks`` times a stage.
    """

    bad_in_a_row: Annotated[int, Bounds(1, 10**6)] = 3
    rate_factor: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    rollbacks: Annotated[int, Bounds(0, 1000)] = 3

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """The loss between pixels and its weight in the sum."""

    loss: Literal["l1", "mse", "charbonnier"] = "l1"
    weight: Weight = 1.0

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class PerceptualConfig:
    """``layers``: name -> weight. ``shift_px``: crop both pictures by up to this before the features, so no grid can hide there.
    ``turned``: turn and mirror both at random before the features, so that no pattern of one direction is rewarded (the idea is that of
    Kettunen et al. 2019, "E-LPIPS").
    """

    network: str = "vgg19"
    weights: str = ""
    layers: Annotated[dict[str, float], Bounds(0, 1e6)] = field(default_factory=lambda: {"conv5_4": 1.0})
    after_activation: bool = False
    distance: Literal["mse", "l1"] = "l1"
    weight: Weight = 1.0
    shift_px: Annotated[int, Bounds(0, 1024)] = 0
    turned: bool = False

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.layers:
            raise RecipeError("layers names no layer; expected at least one with its weight, such as { conv5_4 = 1.0 }")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """``discriminator``: built for the run's patches, see `Recipe.discriminator`. ``precision``: its own, "inherit" is the stage's.

    For ``alone_images`` it learns while the generator waits.
    """

    loss: Literal["standard", "relativistic"] = "relativistic"
    weight: Weight = 5e-3
    discriminator: DiscriminatorConfig = field(default_factory=VGGStyleConfig)
    precision: Literal["inherit", "fp32"] = "inherit"
    learning_rate: Rate = 1e-4
    alone_images: ImagesOrNone = 0

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One call of the training loop: how long, how fast, by which losses; without ``adversarial`` there is no discriminator.

    ``schedule``: "constant"; "cosine" to zero at ``images``; "step", times ``gamma`` at each of ``milestones_images``.
    ``precision``: a short last stage in "fp32" fits weights to the precision they are used in; bf16 rounds a weight near 1 by up
    to 0.4 %, which shows in the brightness.
    ``optimizer``: of the generator, "adam" as both papers or "muon" (`training.muon`); a discriminator has Adam.
    ``gradient_clip``: largest norm of the generator's gradient, 0 for no limit.
    ``grid_weight``, ``lines_weight``: of the two losses of `losses.grid`; ``mesh_weight``: of `losses.mesh`.
    ``sharpen_targets``: strength of an unsharp mask on what the pixel and perceptual losses compare with, as Real-ESRGAN's 0.5; the
    discriminator sees the picture as it is.
    """

    images: Images
    precision: Literal["inherit", "fp32", "bf16"] = "inherit"
    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: Rate = 1e-4
    betas: Annotated[tuple[float, float], Bounds(0, 1, below=True)] = (0.9, 0.999)
    schedule: Schedule = "constant"
    warmup_images: ImagesOrNone = 0
    milestones_images: Annotated[tuple[int, ...], Bounds(0, 10**12)] = ()
    gamma: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    ema_decay: Decay = 0.999
    gradient_clip: Annotated[float, Bounds(0, 1e12)] = 0.0
    pixel: PixelConfig | None = None
    grid_weight: Weight = 0.0
    lines_weight: Weight = 0.0
    mesh_weight: Weight = 0.0
    sharpen_targets: Annotated[float, Bounds(0, 10)] = 0.0
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.pixel is None and self.perceptual is None:
            raise RecipeError("a stage needs a pixel loss or a perceptual loss, or nothing holds the output to the picture")
        if not self.held_by:
            raise RecipeError(
                "the weights of the pixel and the perceptual loss are both 0: nothing holds the output to the picture"
            )

    @property
    def held_by(self) -> float:
        """The weights together of what holds the output to the picture."""
        perceptual = self.perceptual.weight * sum(self.perceptual.layers.values()) if self.perceptual else 0
        return (self.pixel.weight if self.pixel else 0) + perceptual


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run's result.

    ``start``: a model's name or file (ours, or a published one) whose weights the first stage begins with; without a
    ``generator``, its network is trained. ``compile``: the generator, if it then does what it does uncompiled (`training.compiled`).
    """

    name: Name
    scale: Scale = 4
    seed: Annotated[int, Bounds(0, 2**63 - 1)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    start: str = ""
    generator: GeneratorConfig | None = None
    report_every_images: Images = 1600
    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig | None = None
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    health: HealthConfig = HealthConfig()
    stage: dict[str, StageConfig]

    def __post_init__(self) -> None:
        check_bounds(self)
        problems = [] if self.stage else ["a recipe needs at least one [stage.NAME]"]
        problems += [f"the name of stage {name!r} must be {PlainName()}" for name in self.stage if name not in PlainName()]
        if self.generator is None and not self.start:
            problems.append("generator is missing: give [generator] a name, or start a model whose network is trained")
        for name, stage in self.stage.items():
            problems += self._discriminator_problems(dotted_key("stage", name), stage.adversarial)
            problems += self._channel_problems(dotted_key("stage", name), stage)
        if self.data.low_res == "degraded" and self.channels not in (1, 3):
            problems.append(f"data.low_res = 'degraded' knows pictures of 1 or 3 channels, the generator takes {self.channels}")
        problems += [
            f"{dotted_key('stage', name)}.perceptual.shift_px must be at most half of data.patch_px ({self.data.patch_px}), "
            f"got {stage.perceptual.shift_px}"
            for name, stage in self.stage.items()
            if stage.perceptual and 2 * stage.perceptual.shift_px > self.data.patch_px
        ]
        problems += [
            f"{dotted_key('stage', name)}.lines_weight needs data.patch_px of at least {SEGMENT_PX + 1}, got {self.data.patch_px}"
            for name, stage in self.stage.items()
            if stage.lines_weight and self.data.patch_px <= SEGMENT_PX
        ]
        problems += [
            f"{dotted_key('stage', name)}.mesh_weight needs data.patch_px of at least {WINDOW_PX}, got {self.data.patch_px}"
            for name, stage in self.stage.items()
            if stage.mesh_weight and self.data.patch_px < WINDOW_PX
        ]
        if self.generator and self.generator.scale != self.scale:
            problems.append(f"scale is {self.scale}, but generator.scale is {self.generator.scale}")
        if self.teacher and self.data.more:
            problems.append("a teacher is asked about the patches of one source; leave out data.more or the teacher")
        if self.teacher and self.data.low_res == "stored":
            problems.append('a teacher is asked about patches as they are damaged: data.low_res must not be "stored"')
        if self.teacher and (self.teacher.patch_px < self.data.patch_px or self.teacher.patch_px % self.scale):
            problems.append(
                f"teacher.patch_px must be a multiple of {self.scale} and at least data.patch_px ({self.data.patch_px}), "
                f"got {self.teacher.patch_px}"
            )
        if problems:
            raise RecipeError(*problems)

    def of_each_source(self) -> list[Recipe]:
        """The recipe with each of its data sources alone."""
        paths = [self.data.path, *(source.path for source in self.data.more)]
        return [replace(self, data=replace(self.data, path=path, more=())) for path in paths]

    def _discriminator_problems(self, stage: str, adversarial: AdversarialConfig | None) -> list[str]:
        if adversarial is None:
            return []
        where = f"{stage}.adversarial.discriminator"
        own_px = adversarial.discriminator.patch_px
        if own_px not in (type(adversarial.discriminator).patch_px, self.data.patch_px):
            return [f"{where}.patch_px is {own_px}, but data.patch_px is {self.data.patch_px}; leave it out"]
        own_channels = adversarial.discriminator.channels
        if own_channels not in (type(adversarial.discriminator).channels, self.channels):
            return [f"{where}.channels is {own_channels}, but the generator's are {self.channels}; leave it out"]
        try:
            self.discriminator(adversarial)
        except UsageError as error:
            return [f"{where}: {error}"]
        return []

    def _channel_problems(self, where: str, stage: StageConfig) -> list[str]:
        """What of a stage looks at colours, and knows only those of grey and RGB pictures."""
        named = {"perceptual": stage.perceptual is not None, "lines_weight": stage.lines_weight > 0}
        return [
            f"{where}.{name} knows pictures of 1 channel (grey) or 3 (RGB), the generator takes {self.channels}; leave it out"
            for name, used in named.items()
            if used and self.channels not in (1, 3)
        ]

    @property
    def channels(self) -> int:
        """Samples a pixel of what it trains on: the generator's; 3 while it is not known."""
        return self.generator.channels if self.generator is not None else 3

    def precision_of(self, stage: StageConfig) -> Literal["fp32", "bf16"]:
        """What one of its stages is computed in."""
        return self.precision if stage.precision == "inherit" else stage.precision

    def discriminator(self, adversarial: AdversarialConfig) -> DiscriminatorConfig:
        """The discriminator of one of its stages, for the run's patches. Raises UsageError when there is none for them."""
        return replace(adversarial.discriminator, patch_px=self.data.patch_px, channels=self.channels)


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A bundled recipe by name or a TOML file by path, with ``key.sub=value`` overrides.

    Raises RecipeError, which names all that is wrong at once, or UnknownNameError.
    """
    recipe, problems = survey_recipe(name_or_path, overrides)
    if recipe is None or problems:
        raise RecipeError(*problems)
    return recipe


def survey_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> tuple[Recipe | None, list[str]]:
    """What can be read of a recipe, and all that is wrong with it; a wrong value is left at its default.

    The recipe is None where nothing can stand in for what is wrong. Raises as `load_recipe` for a recipe that is not there.
    """
    tables = _read(name_or_path)
    problems: list[str] = []
    for override in overrides:
        try:
            apply(override, tables)
        except RecipeError as error:
            problems += error.problems
    recipe, more = _survey(tables)
    return recipe, problems + more


def _read(name_or_path: str) -> dict[str, Any]:
    path = Path(name_or_path)
    if path.suffix != ".toml":
        text = recipe_text(name_or_path)
    else:
        try:
            text = read_text(path, MOST_RECIPE_BYTES)
        except FileNotFoundError:
            raise RecipeError(f"{path}: no such recipe") from None
        except OSError as error:
            raise RecipeError(f"{path}: cannot be read ({reason(error)})") from error
    try:
        return {"name": path.stem} | read_toml(text)
    except ValueError as error:
        raise RecipeError(f"{name_or_path}: not TOML that is read ({error})") from error


def parse_recipe(tables: Mapping[str, Any]) -> Recipe:
    """Nested tables -> Recipe. ``stage.start`` may stand among the stages; it is the run's ``start``. Raises RecipeError."""
    recipe, problems = _survey(tables)
    if recipe is None or problems:
        raise RecipeError(*problems)
    return recipe


def _survey(tables: Mapping[str, Any]) -> tuple[Recipe | None, list[str]]:
    tables = dict(tables)
    stages = tables.get("stage")
    if isinstance(stages, Mapping) and isinstance(stages.get("start"), str):
        tables["start"] = stages["start"]
        tables["stage"] = {name: stage for name, stage in stages.items() if name != "start"}
    if not tables.get("generator", True):
        del tables["generator"]  # an empty table, as older versions wrote where there is none
    problems: list[str] = []
    try:
        return parse(Recipe, tables, "", problems), problems
    except LeftOut:
        return None, problems


def to_toml(recipe: Recipe) -> str:
    """The effective recipe as TOML that `load_recipe` reads back to an equal one."""
    return write(recipe)
