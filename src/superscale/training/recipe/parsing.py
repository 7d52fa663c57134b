"""Nested tables (TOML) <-> frozen dataclasses, strictly: an unknown key is a problem that lists the known ones; all are found at once."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from superscale.errors import RecipeError, did_you_mean


class LeftOut(Exception):
    """A value cannot be built; why is already among the problems."""


def _left_out(problems: list[str], problem: str) -> LeftOut:
    problems.append(problem)
    return LeftOut()


def apply(override: str, tables: dict[str, Any]) -> None:
    """Put ``key.sub=value`` into nested tables; the value is read as TOML, never evaluated. Raises RecipeError."""
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


def parse(kind: Any, value: Any, where: str, problems: list[str]) -> Any:
    """Check ``value`` against a type annotation and build it; ``where`` is its dotted key.

    What is wrong, unknown keys among it, is added to ``problems``, and left out where a default can stand in. Raises LeftOut
    where none can.
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _parse_table(kind, value, where, problems)
    if origin is types.UnionType:
        return parse(next(part for part in typing.get_args(kind) if part is not type(None)), value, where, problems)
    if origin is Literal:
        if value not in typing.get_args(kind):
            options = [str(option) for option in typing.get_args(kind)]
            meant = did_you_mean(str(value), options)
            raise _left_out(problems, f"{where}: expected one of {', '.join(options)}, got {value!r}{meant}")
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _left_out(problems, f"{where}: expected a table, got {value!r}")
        parsed = _parse_each(dict.fromkeys(value, typing.get_args(kind)[1]), value, f"{where}.", problems)
        if value and not parsed:
            raise LeftOut
        return parsed
    if origin is tuple:
        return _parse_tuple(typing.get_args(kind), value, where, problems)
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _left_out(problems, f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _parse_each(kinds: Mapping[str, Any], table: Mapping[str, Any], prefix: str, problems: list[str]) -> dict[str, Any]:
    """The values of a table by the types of its keys; what cannot be built is left out."""
    parsed: dict[str, Any] = {}
    for key, item in table.items():
        if key not in kinds:
            problems.append(f"unknown key {prefix}{key}{did_you_mean(key, kinds)}; there is: {', '.join(kinds)}")
            continue
        with suppress(LeftOut):
            parsed[key] = parse(kinds[key], item, f"{prefix}{key}", problems)
    return parsed


def _parse_tuple(items: tuple[Any, ...], value: Any, where: str, problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _left_out(problems, f"{where}: expected a list, got {value!r}")
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise _left_out(problems, f"{where}: expected {len(items)} values, got {len(value)}")
    return tuple(parse(items[0], item, f"{where}[{index}]", problems) for index, item in enumerate(value))


def _parse_table(kind: type[Any], value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        raise _left_out(problems, f"{where or 'the recipe'}: expected a table, got {value!r}")
    prefix = f"{where}." if where else ""
    parsed = _parse_each(typing.get_type_hints(kind), value, prefix, problems)
    required = [entry.name for entry in dataclasses.fields(kind) if _is_required(entry) and entry.name not in parsed]
    problems += [f"{prefix}{name} is missing" for name in required if name not in value]
    if required:
        raise LeftOut
    try:
        return kind(**parsed)
    except RecipeError as error:
        problems += [f"{where}: {problem}" if where else problem for problem in error.problems]
        raise LeftOut from error


def _is_required(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def write(value: Any) -> str:
    """A dataclass of tables and values as TOML."""
    lines: list[str] = []
    _write_table(_plain(value), "", lines)
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
