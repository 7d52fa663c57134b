"""What a run learns from: sources of patches, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from superscale.data.draws import DegradationConfig
from superscale.data.mixture import shares_of
from superscale.data.photograph import PhotographConfig
from superscale.errors import RecipeError
from superscale.image.resize import Rounding


@dataclass(frozen=True, kw_only=True)
class MoreData:
    """Another source of patches: a prepared pack or a folder of photos, and its weight beside the others'."""

    path: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.path:
            raise RecipeError("path must name a prepared pack or a folder of photos, got an empty one")
        _positive_weight(self.weight)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``path``: a prepared pack, a folder of photos, or "synthetic". ``patch_px``: side of a high-res patch. ``batch``: of one process.

    ``low_res``: bicubic "on_load", "stored" in the pack, or "degraded" as ``degradation`` says: a table whose name is
    "real-esrgan" (the default) or "photograph", with the ranges as keys. ``more``: other sources; of every 1000 patches each gives
    its ``weight``'s share exactly.
    """

    path: str = ""
    weight: float = 1.0
    # Nothing is not written, so that [[data.more]] can be added to a run's recipe.toml.
    more: tuple[MoreData, ...] = field(default=(), metadata={"written_empty": False})
    patch_px: int = 128
    batch: int = 16
    low_res: Literal["on_load", "stored", "degraded"] = "on_load"
    rounding: Rounding = "double"
    augment: bool = True
    degradation: DegradationConfig | PhotographConfig | None = None

    def __post_init__(self) -> None:
        at_least_one(patch_px=self.patch_px, batch=self.batch)
        if self.low_res == "degraded" and self.degradation is None:
            raise RecipeError('low_res = "degraded" needs a table [data.degradation]; an empty one means Real-ESRGAN\'s ranges')
        if self.low_res != "degraded" and self.degradation is not None:
            raise RecipeError(f'[data.degradation] needs low_res = "degraded", got {self.low_res!r}; change one of them')
        _positive_weight(self.weight)
        _ = self.shares

    @property
    def shares(self) -> tuple[int, ...]:
        """Patches of each source among 1000, this table's own first."""
        return shares_of([self.weight, *(source.weight for source in self.more)])


def _positive_weight(weight: float) -> None:
    if not (isfinite(weight) and weight > 0):
        raise RecipeError(f"weight must be above 0, got {weight}")


def at_least_one(**values: int) -> None:
    """Raise RecipeError, naming each value below 1."""
    problems = [f"{name} must be at least 1, got {value}" for name, value in values.items() if value < 1]
    if problems:
        raise RecipeError(*problems)
