"""The least and the greatest value of a setting, beside its type: ``batch: Annotated[int, Bounds(1, 4096)]``, and one check for all."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from superscale.errors import RecipeError

LONGEST_NAME = 100
# Of paths, and what ends a name in C.
FORBIDDEN = {"/", os.sep, "\0"}


@dataclass(frozen=True)
class Bounds:
    """From ``low`` to ``high``, both allowed unless ``above`` (more than ``low``) or ``below`` (less than ``high``) says so.

    What is not a number (NaN) is outside. Of a tuple or a dict, every value is meant.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        return f"in {'(' if self.above else '['}{self.low:,}, {self.high:,}{')' if self.below else ']'}"


@dataclass(frozen=True)
class PlainName:
    """Text that is a part of file names: not empty, without slashes, not hidden, of at most so many characters."""

    longest: int = LONGEST_NAME

    def __contains__(self, value: str) -> bool:
        return 0 < len(value) <= self.longest and not FORBIDDEN & set(value) and not value.startswith(".")

    def __str__(self) -> str:
        return f"a name for files: 1 to {self.longest} characters, without slashes, not beginning with a dot"


# Numbers of images, of which no run sees more; sides in pixels; parts of networks; factors of losses; rates.
Images = Annotated[int, Bounds(1, 10**12)]
ImagesOrNone = Annotated[int, Bounds(0, 10**12)]
Side = Annotated[int, Bounds(1, 4096)]
Features = Annotated[int, Bounds(1, 4096)]
Depth = Annotated[int, Bounds(0, 1000)]
Channels = Annotated[int, Bounds(1, 1000)]
Scale = Annotated[int, Bounds(1, 16)]
Weight = Annotated[float, Bounds(0, 1e6)]
Rate = Annotated[float, Bounds(0, 10, above=True)]
Share = Annotated[float, Bounds(0, 1)]
Decay = Annotated[float, Bounds(0, 1, below=True)]
Name = Annotated[str, PlainName()]


def check_bounds(config: Any) -> None:
    """Raise RecipeError, with a line for each, when fields of a dataclass lie outside of the bounds beside their types."""
    problems = [
        f"{name}{place} must be {law}, got {value!r}"
        for name, law in _laws(type(config))
        for place, value in _values(getattr(config, name))
        if value not in law
    ]
    if problems:
        raise RecipeError(*problems)


def _laws(kind: Any) -> list[tuple[str, Bounds | PlainName]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        (field.name, law)
        for field in dataclasses.fields(kind)
        for law in getattr(hints[field.name], "__metadata__", ())
        if isinstance(law, Bounds | PlainName)
    ]


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f".{key}", item) for key, item in value.items())
    elif isinstance(value, tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        yield "", value
