"""Options that do nothing where they are given: refused, not taken in silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from superscale.errors import UsageError

VIDEO = ("codec", "crf", "preset", "start", "duration", "still_tolerance", "steady", "keep_partial")
PICTURE = ("form", "quality")
CLUSTER = ("share", "workers")
STORE = ("endpoint_url", "requester_pays")


def refuse(context: Any, names: Sequence[str], why: str) -> None:
    """Raise UsageError where the command line has one of these options; a file of settings may hold them for other runs."""
    if said := ", ".join(_on_line(context, names)):
        raise UsageError(f"{said}: {why}; leave out")


def _on_line(context: Any, names: Sequence[str]) -> Iterable[str]:
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            yield parameter.opts[-1]
