"""What a run learns from: sources of patches, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from superscale.bounds import Bounds, Side, check_bounds
from superscale.data.draws import DegradationConfig
from superscale.data.mixture import shares_of
from superscale.data.photograph import PhotographConfig
from superscale.errors import RecipeError
from superscale.image.resize import Rounding

SourceWeight = Annotated[float, Bounds(0, 1e6, above=True)]


@dataclass(frozen=True, kw_only=True)
class MoreData:
    """Another source of patches: a prepared pack or a folder of photos, and its weight beside the others'."""

    path: str
    weight: SourceWeight = 1.0

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.path:
            raise RecipeError("path must name a prepared pack or a folder of photos, got an empty one")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``path``: a prepared pack, a folder of photos, or "synthetic". ``patch_px``: side of a high-res patch. ``batch``: of one process.

    ``low_res``: bicubic "on_load", "stored" in the pack, or "degraded" as ``degradation`` says: a table whose name is
    "real-esrgan" (the default) or "photograph", with the ranges as keys. ``more``: other sources; of every 1000 patches each gives
    its ``weight``'s share exactly. ``verify``: compare packs with their checksums before the first step; else each part when it is
    first used.
    """

    path: str = ""
    weight: SourceWeight = 1.0
    # Nothing is not written, so that [[data.more]] can be added to a run's recipe.toml.
    more: tuple[MoreData, ...] = field(default=(), metadata={"written_empty": False})
    patch_px: Side = 128
    batch: Annotated[int, Bounds(1, 16384)] = 16
    low_res: Literal["on_load", "stored", "degraded"] = "on_load"
    rounding: Rounding = "double"
    augment: bool = True
    verify: bool = True
    degradation: DegradationConfig | PhotographConfig | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.low_res == "degraded" and self.degradation is None:
            raise RecipeError('low_res = "degraded" needs a table [data.degradation]; an empty one means Real-ESRGAN\'s ranges')
        if self.low_res != "degraded" and self.degradation is not None:
            raise RecipeError(f'[data.degradation] needs low_res = "degraded", got {self.low_res!r}; change one of them')
        _ = self.shares

    @property
    def shares(self) -> tuple[int, ...]:
        """Patches of each source among 1000, this table's own first."""
        return shares_of([self.weight, *(source.weight for source in self.more)])
