"""A run as frozen dataclasses, and the strict loader of TOML recipes: an unknown key is an error that lists the known ones."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from superscale.data.draws import DegradationConfig
from superscale.errors import RecipeError, UnknownNameError, did_you_mean
from superscale.image.resize import Rounding

T = TypeVar("T")
Schedule = Literal["constant", "cosine", "step"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``path``: a prepared pack, a folder of photos, or "synthetic". ``patch_px``: side of a high-res patch. ``batch``: of one process.

    ``low_res``: bicubic "on_load", "stored" in the pack, or "degraded" as ``degradation`` says, whose empty table is Real-ESRGAN's.
    """

    path: str = ""
    patch_px: int = 128
    batch: int = 16
    low_res: Literal["on_load", "stored", "degraded"] = "on_load"
    rounding: Rounding = "double"
    augment: bool = True
    degradation: DegradationConfig | None = None

    def __post_init__(self) -> None:
        if self.low_res == "degraded" and self.degradation is None:
            raise RecipeError('low_res = "degraded" needs a table [data.degradation]; an empty one means Real-ESRGAN\'s ranges')
        if self.low_res != "degraded" and self.degradation is not None:
            raise RecipeError(f'[data.degradation] needs low_res = "degraded", got {self.low_res!r}; change one of them')


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """``path``: a folder of high-resolution pictures ("" for none). The first ``samples`` of them make the sample sheet."""

    path: str = ""
    every_images: int = 100_000
    samples: int = 4


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often a training state is written, in images, and how many are kept."""

    every_images: int = 100_000
    keep: int = 2

    def __post_init__(self) -> None:
        if self.keep < 2:
            raise RecipeError(f"keep must be at least 2, so that one is left when the newest is damaged; got {self.keep}")


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """A step with a loss or gradient that is not finite moves nothing. ``bad_in_a_row`` of them take the run back to its newest
    training state, there to go on with ``rate_factor`` times the learning rate; at most ``rollbacks`` times a stage.
    """

    bad_in_a_row: int = 3
    rate_factor: float = 0.5
    rollbacks: int = 3

    def __post_init__(self) -> None:
        if self.bad_in_a_row < 1 or self.rollbacks < 0 or not 0 < self.rate_factor <= 1:
            raise RecipeError(
                "health needs bad_in_a_row >= 1, rollbacks >= 0 and rate_factor in (0, 1], "
                f"got {self.bad_in_a_row}, {self.rollbacks} and {self.rate_factor}"
            )


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    loss: Literal["l1", "mse", "charbonnier"] = "l1"
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PerceptualConfig:
    """``layers``: name -> weight. ``shift_px``: crop both pictures by up to this before the features, so no grid can hide there."""

    network: str = "vgg19"
    weights: str = ""
    layers: dict[str, float] = field(default_factory=lambda: {"conv5_4": 1.0})
    after_activation: bool = False
    distance: Literal["mse", "l1"] = "l1"
    weight: float = 1.0
    shift_px: int = 0


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """``discriminator``: {"name": ..., options}. For ``alone_images`` the discriminator learns while the generator waits."""

    loss: Literal["standard", "relativistic"] = "relativistic"
    weight: float = 5e-3
    discriminator: dict[str, Any] = field(default_factory=lambda: {"name": "vgg"})
    learning_rate: float = 1e-4
    alone_images: int = 0


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One call of the training loop: how long, how fast, by which losses; without ``adversarial`` there is no discriminator.

    ``schedule``: "constant"; "cosine" to zero at ``images``; "step", times ``gamma`` at each of ``milestones_images``.
    ``gradient_clip``: largest norm of the generator's gradient, 0 for no limit. ``grid_weight``: of `losses.grid`.
    """

    images: int
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "constant"
    warmup_images: int = 0
    milestones_images: tuple[int, ...] = ()
    gamma: float = 0.5
    ema_decay: float = 0.999
    gradient_clip: float = 0.0
    pixel: PixelConfig | None = None
    grid_weight: float = 0.0
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.learning_rate <= 0:
            raise RecipeError(f"a stage needs images >= 1 and learning_rate > 0, got {self.images} and {self.learning_rate}")
        if self.pixel is None and self.perceptual is None:
            raise RecipeError("a stage needs a pixel loss or a perceptual loss, or nothing holds the output to the picture")
        if not 0 <= self.ema_decay < 1:
            raise RecipeError(f"ema_decay must be in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run's result. ``start``: a model file or name whose weights the first stage begins with."""

    name: str
    scale: int = 4
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    start: str = ""
    generator: dict[str, Any]
    report_every_images: int = 1600
    data: DataConfig = DataConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    health: HealthConfig = HealthConfig()
    stage: dict[str, StageConfig]

    def __post_init__(self) -> None:
        if not self.stage:
            raise RecipeError("a recipe needs at least one [stage.NAME]")
        networks = {"generator": self.generator}
        networks |= {name: stage.adversarial.discriminator for name, stage in self.stage.items() if stage.adversarial}
        for of, options in networks.items():
            if "name" not in options:
                raise RecipeError(f"{of}: the network needs a name")
        own_scale = self.generator.get("scale", 4)
        if own_scale != self.scale:
            raise RecipeError(f"scale is {self.scale}, but generator.scale is {own_scale}")

    @property
    def total_images(self) -> int:
        return sum(stage.images for stage in self.stage.values())


def bundled_recipes() -> list[str]:
    """The names that `load_recipe` knows without a path."""
    folder = files("superscale") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A bundled recipe by name or a TOML file by path, with ``key.sub=value`` overrides. Raises RecipeError or UnknownNameError."""
    path = Path(name_or_path)
    if name_or_path in bundled_recipes():
        text = (files("superscale") / "recipes" / f"{name_or_path}.toml").read_text()
    elif path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"{path}: no such recipe")
        text = path.read_text()
    else:
        raise UnknownNameError("recipe", name_or_path, bundled_recipes())
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name_or_path}: not TOML ({error})") from error
    tables.setdefault("name", path.stem)
    for override in overrides:
        _override(tables, override)
    return parse_recipe(tables)


def parse_recipe(tables: Mapping[str, Any]) -> Recipe:
    """Nested tables -> Recipe. ``stage.start`` may stand among the stages; it is the run's ``start``."""
    tables = dict(tables)
    stages = tables.get("stage")
    if isinstance(stages, Mapping) and isinstance(stages.get("start"), str):
        tables["start"] = stages["start"]
        tables["stage"] = {name: stage for name, stage in stages.items() if name != "start"}
    recipe: Recipe = _parse(Recipe, tables, "")
    return recipe


def _override(tables: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise RecipeError(f"--set expects key=value, such as stage.gan.learning_rate=1e-4, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string; its type is checked with the field's
    table = tables
    for depth, key in enumerate(keys[:-1]):
        below = table.setdefault(key, {})
        if not isinstance(below, dict):
            raise RecipeError(f"--set {path}: {'.'.join(keys[: depth + 1])} is a value, not a table")
        table = below
    table[keys[-1]] = value


def _parse(kind: Any, value: Any, where: str) -> Any:
    """Check ``value`` against a type annotation and build it; ``where`` is the dotted key for messages."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _parse_table(kind, value, where)
    if origin is types.UnionType:
        return _parse(next(part for part in typing.get_args(kind) if part is not type(None)), value, where)
    if origin is Literal:
        if value not in typing.get_args(kind):
            options = [str(option) for option in typing.get_args(kind)]
            raise RecipeError(
                f"{where}: expected one of {', '.join(options)}, got {value!r}{did_you_mean(str(value), options)}"
            )
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where}: expected a table, got {value!r}")
        return {key: _parse(typing.get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple:
        return _parse_tuple(typing.get_args(kind), value, where)
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecipeError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _parse_tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RecipeError(f"{where}: expected a list, got {value!r}")
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise RecipeError(f"{where}: expected {len(items)} values, got {len(value)}")
    return tuple(_parse(items[0], item, f"{where}[{index}]") for index, item in enumerate(value))


def _parse_table(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where or 'the recipe'}: expected a table, got {value!r}")
    hints = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in value:
        if key not in hints:
            raise RecipeError(f"unknown key {prefix}{key}{did_you_mean(key, hints)}; there is: {', '.join(hints)}")
    for entry in dataclasses.fields(kind):
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and entry.name not in value:
            raise RecipeError(f"{prefix}{entry.name} is missing")
    try:
        return kind(**{key: _parse(hints[key], item, f"{prefix}{key}") for key, item in value.items()})
    except RecipeError as error:
        if where and not str(error).startswith((where, "unknown")):
            raise RecipeError(f"{where}: {error}") from error
        raise


def to_toml(recipe: Recipe) -> str:
    """The effective recipe as TOML that `load_recipe` reads back to an equal one."""
    lines: list[str] = []
    _write_table(_plain(recipe), "", lines)
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _write_table(table: Mapping[str, Any], where: str, lines: list[str]) -> None:
    lines += [
        f"{key} = {_toml_value(value)}" for key, value in table.items() if value is not None and not isinstance(value, Mapping)
    ]
    for key, value in table.items():
        if isinstance(value, Mapping):
            name = f"{where}.{key}" if where else key
            lines += ["", f"[{name}]"]
            _write_table(value, name, lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, Sequence):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    return repr(value)
