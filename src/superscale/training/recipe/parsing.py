"""Nested tables (TOML) <-> frozen dataclasses, strictly: an unknown key is a problem that lists the known ones; all are found at once.

A network is a table whose ``name`` picks one of the catalog's configs; its other keys are the config's fields. So is a kind of damage.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import tomli_w

from superscale.data.draws import DegradationConfig
from superscale.data.photograph import PhotographConfig
from superscale.errors import RecipeError, UsageError, did_you_mean
from superscale.networks import catalog
from superscale.reading import MOST_PARTS, read_toml

# What a table's name picks: a network, or a kind of damage, whose first is meant where a table has no name.
NAMES: dict[type[Any], str] = {**catalog.NAMES, DegradationConfig: "real-esrgan", PhotographConfig: "photograph"}
NAMELESS = (DegradationConfig,)
SHOWN_CHARACTERS = 200


class LeftOut(Exception):
    """A value cannot be built; why is already among the problems."""


def _left_out(problems: list[str], problem: str) -> LeftOut:
    problems.append(problem)
    return LeftOut()


def keys_of(dotted: str) -> list[str]:
    """The keys of a dotted key as TOML writes it; what is not TOML, such as ``my stage.images``, is split at its dots."""
    return _toml_keys(dotted) or dotted.strip().split(".")


def _toml_keys(dotted: str) -> list[str]:
    """Empty when this is no key of TOML."""
    try:
        table: Any = read_toml(f"{dotted} = 0")
    except ValueError:
        return []
    keys = []
    while isinstance(table, dict):
        if len(table) != 1:  # a comment, or several lines
            return []
        key, table = next(iter(table.items()))
        keys.append(key)
    return keys


def dotted_key(*keys: str) -> str:
    """Keys as one dotted key of TOML; a key is quoted where it has to be, as in ``stage."v1.5".images``."""
    return ".".join(tomli_w.dumps({key: 0}).removesuffix(" = 0\n") for key in keys)


def assignment(key: str, text: str) -> str:
    """``key=value`` that `apply` reads back as this text, whatever is in it."""
    return tomli_w.dumps({"": text}).strip().replace('""', key, 1)


def apply(override: str, tables: dict[str, Any]) -> None:
    """Put ``key.sub=value`` into nested tables; the value is read as TOML, never evaluated. Raises RecipeError."""
    path, text = _split(override)
    keys = keys_of(path)
    if text is None or not all(keys):
        raise RecipeError(f"a setting is key=value, such as stage.gan.learning_rate=1e-4, got {_shown(override)}")
    if len(keys) > MOST_PARTS:
        raise RecipeError(f"{_shown(path)}: a key of more than {MOST_PARTS} parts")
    try:
        value = read_toml(f"value = {text}")["value"]
    except ValueError:
        value = text  # a bare word is a string; its type is checked with the field's
    table: Any = tables
    for depth, key in enumerate(keys, start=1):
        place: Any = key
        above = dotted_key(*keys[: depth - 1])
        if isinstance(table, list):
            if key not in map(str, range(len(table))):
                raise RecipeError(f"{path.strip()}: {above} has {len(table)} entries, counted from 0")
            place = int(key)
        elif not isinstance(table, dict):
            raise RecipeError(f"{path.strip()}: {above} is a value, not a table")
        if depth == len(keys):
            table[place] = value
        else:
            table = table[place] if isinstance(table, list) else table.setdefault(place, {})


def _split(override: str) -> tuple[str, str | None]:
    """The key and the value's text, None without an equals sign. A quoted key may hold one itself."""
    places = [place for place, character in enumerate(override) if character == "="]
    place = next((place for place in places if _toml_keys(override[:place])), min(places, default=len(override)))
    return override[:place], override[place + 1 :] if places else None


def parse(kind: Any, value: Any, where: str, problems: list[str]) -> Any:
    """Check ``value`` against a type annotation and build it; ``where`` is its dotted key.

    What is wrong, unknown keys among it, is added to ``problems``, and left out where a default can stand in. Raises LeftOut
    where none can.
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _parse_table(kind, value, where, problems)
    if origin is types.UnionType:
        kinds = [part for part in typing.get_args(kind) if part is not type(None)]
        return parse(kinds[0], value, where, problems) if len(kinds) == 1 else _parse_named(kinds, value, where, problems)
    if origin is Literal:
        return _one_of(typing.get_args(kind), value, where, problems)
    if origin is dict:
        table = _table(value, where, problems)
        parsed = _parse_each(dict.fromkeys(table, typing.get_args(kind)[1]), table, where, problems)
        if value and not parsed:
            raise LeftOut
        return parsed
    if origin is tuple:
        return _parse_tuple(typing.get_args(kind), value, where, problems)
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _left_out(problems, f"{where}: expected {kind.__name__}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _parse_each(kinds: Mapping[str, Any], table: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """The values of a table by the types of its keys; what cannot be built is left out."""
    parsed: dict[str, Any] = {}
    for key, item in table.items():
        place = f"{where}.{dotted_key(key)}".removeprefix(".")
        if key not in kinds:
            problems.append(f"unknown key {place}{did_you_mean(key, kinds)}; there is: {', '.join(kinds)}")
            continue
        with suppress(LeftOut):
            parsed[key] = parse(kinds[key], item, place, problems)
    return parsed


def _parse_named(kinds: Sequence[type[Any]], value: Any, where: str, problems: list[str]) -> Any:
    by_name = {NAMES[kind]: kind for kind in kinds}
    options = dict(_table(value, where, problems))
    if "name" not in options and kinds[0] in NAMELESS:
        return _parse_table(kinds[0], options, where, problems)
    if "name" not in options:
        raise _left_out(problems, f"{where}.name is missing: a network needs one of {', '.join(by_name)}")
    name = _one_of(list(by_name), options.pop("name"), f"{where}.name", problems)
    return _parse_table(by_name[name], options, where, problems)


def _one_of(options: Sequence[Any], value: Any, where: str, problems: list[str]) -> Any:
    if value in options:
        return value
    names = [str(option) for option in options]
    meant = did_you_mean(str(value), names)
    raise _left_out(problems, f"{where}: expected one of {', '.join(names)}, got {_shown(value)}{meant}")


def _table(value: Any, where: str, problems: list[str]) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _left_out(problems, f"{where or 'the recipe'}: expected a table, got {_shown(value)}")


def _parse_tuple(items: tuple[Any, ...], value: Any, where: str, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _left_out(problems, f"{where}: expected a list, got {value!r}")
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise _left_out(problems, f"{where}: expected {len(items)} values, got {len(value)}")
    return tuple(parse(items[0], item, f"{where}[{index}]", problems) for index, item in enumerate(value))


def _parse_table(kind: type[Any], value: Any, where: str, problems: list[str]) -> Any:
    table = _table(value, where, problems)
    kinds = typing.get_type_hints(kind)
    parsed = _parse_each(kinds, table, where, problems)
    required = [entry.name for entry in dataclasses.fields(kind) if _is_required(entry) and entry.name not in parsed]
    problems += [f"{where}.{name} is missing".removeprefix(".") for name in required if name not in table]
    if required:
        raise LeftOut
    left_out = tuple(f"{key} " for key in table if key in kinds and key not in parsed)
    try:
        return kind(**parsed)
    except UsageError as error:
        found = error.problems if isinstance(error, RecipeError) else [str(error)]
        # What is wrong with a key that was left out has been said.
        problems += [f"{where}: {problem}" if where else problem for problem in found if not problem.startswith(left_out)]
        raise LeftOut from error


def _is_required(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def plain(value: Any) -> Any:
    """A dataclass as nested tables of plain values, without those that are None; a network has its name among its options."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {"name": NAMES[type(value)]} if type(value) in NAMES and type(value) not in NAMELESS else {}
        value = named | {
            entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value) if _is_said(value, entry)
        }
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items() if item is not None} if isinstance(value, Mapping) else value


def _is_said(config: Any, entry: dataclasses.Field[Any]) -> bool:
    if not entry.metadata.get("written_empty", True) and not getattr(config, entry.name):
        return False
    # A discriminator is built for the run's patches; only where a recipe says so itself, its patch_px stands there.
    return type(config) not in NAMES or entry.name != "patch_px" or getattr(config, entry.name) != entry.default


def write(value: Any) -> str:
    """A dataclass of tables and values as TOML."""
    return tomli_w.dumps(plain(value))
