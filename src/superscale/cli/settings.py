"""Values of options that are not on the command line: environment > ``superscale.toml`` in the current folder > the user's file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superscale.errors import UnknownNameError, UsageError
from superscale.reading import read_text, read_toml, reason

PROJECT_FILE = Path("superscale.toml")
LARGEST_BYTES = 100_000
# What replaces or deletes files is said in the command itself.
COMMAND_LINE_ONLY = {"output", "overwrite", "fresh", "failed-list", "dry-run", "help"}


@dataclass(frozen=True)
class Setting:
    """An option (``max-pixels``), the parameter of the command that takes it, its value and where that comes from."""

    command: str
    option: str
    parameter: str
    value: Any
    origin: str


def user_file() -> Path:
    """``SUPERSCALE_CONFIG``, else ``XDG_CONFIG_HOME/superscale/config.toml``, else ``~/.config/superscale/config.toml``."""
    if explicit := os.environ.get("SUPERSCALE_CONFIG"):
        return Path(explicit)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".config") / "superscale" / "config.toml"


def plain_commands(root: Any) -> dict[str, Any]:
    """Those that are no groups of commands, by name."""
    return {name: one for name, one in root.commands.items() if not hasattr(one, "commands")}


def defaults(commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """command -> parameter -> value, as click takes them for what the command line does not say. Raises UsageError."""
    found: dict[str, dict[str, Any]] = {}
    for one in settings(commands):
        if one.origin != "default":
            found.setdefault(one.command, {})[one.parameter] = one.value
    return found


def settings(commands: Mapping[str, Any]) -> Iterator[Setting]:
    """Every option of every command, with its value. Raises UsageError for a file that names what does not exist."""
    _check_environment(commands)
    files = [(str(path), _read(path, commands)) for path in (PROJECT_FILE, user_file())]
    for command, options in ((name, _options(command)) for name, command in commands.items()):
        for option, parameter in options.items():
            variable = _variable(command, option)
            sources = [(path, content[command][option]) for path, content in files if option in content.get(command, {})]
            if os.environ.get(variable) and not parameter.multiple:
                sources.insert(0, (variable, os.environ[variable]))
            origin, value = sources[0] if sources else ("default", parameter.default)
            yield Setting(command, option, parameter.name, value, origin)


def _variable(command: str, option: str) -> str:
    """What an option is called in the environment."""
    return f"SUPERSCALE_{command}_{option}".replace("-", "_").upper()


def _check_environment(commands: Mapping[str, Any]) -> None:
    """Raise UsageError for a variable that begins as one of a command does and would do nothing."""
    for command, options in ((name, _options(command)) for name, command in commands.items()):
        known = [_variable(command, option) for option, parameter in options.items() if not parameter.multiple]
        for name, value in os.environ.items():
            if value and name.startswith(_variable(command, "")) and name not in known:
                raise UnknownNameError("setting in the environment", name, known)


def _options(command: Any) -> dict[str, Any]:
    """The options of a command by their long names, those that only the command line sets left out."""
    named = {name[2:]: one for one in command.params for name in one.opts if name.startswith("--")}
    return {name: one for name, one in named.items() if name not in COMMAND_LINE_ONLY}


def _read(path: Path, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        if not path.is_file():
            return {}
        content = read_toml(read_text(path, LARGEST_BYTES))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)})") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    for command, values in content.items():
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {command} stands in no table; write it below [upscale] or another command")
        if command not in commands:
            raise UnknownNameError(f"command in {path}", command, commands)
        content[command] = _checked(path, command, values, _options(commands[command]))
    return content


def _checked(path: Path, command: str, values: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    checked = {}
    for key, value in values.items():
        option = key.replace("_", "-")
        if option in COMMAND_LINE_ONLY:
            raise UsageError(f"{path}: --{option} can only be given on the command line")
        if option not in options:
            raise UnknownNameError(f"option of {command} in {path}", key, options)
        if isinstance(value, list) != bool(options[option].multiple) or isinstance(value, dict):
            raise UsageError(f"{path}: [{command}] {key} must be {'a list' if options[option].multiple else 'one value'}")
        if isinstance(value, bool) and not options[option].is_flag:
            raise UsageError(f"{path}: [{command}] {key} must be a value, got {str(value).lower()}")
        checked[option] = value if isinstance(value, bool) else list(map(str, value)) if isinstance(value, list) else str(value)
    return checked
