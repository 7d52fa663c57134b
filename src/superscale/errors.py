"""Every error a user can meet.

::

    SuperscaleError
    ├── UsageError            an argument that cannot be right (exit 2)
    │   ├── RecipeError       a recipe with an unknown key or a contradiction
    │   └── UnknownNameError  no such model, recipe or metric; says what is nearest
    ├── ImageError            a picture that cannot be read or written
    │   ├── TooLarge          more pixels or bytes than a setting allows; knows which
    │   ├── Unsupported       a format, a depth or a kind of picture that is not read or not written
    │   └── Damaged           a file that is cut short, or does not hold what its header says
    ├── DataError             a folder of pictures that cannot be trained or measured on
    ├── ModelError            a model file that cannot be loaded
    ├── CheckpointError       a training state that cannot be saved or resumed
    ├── TrainingError         a run that cannot go on
    ├── OutOfMemoryError      the device is full; a smaller tile may fit
    ├── OutputError           standard output cannot be written, or its reader went away
    ├── StoreError            an object store that refuses, or does not answer
    ├── MissingExtraError     a command needs an optional dependency; says what to install
    └── Cancelled             the caller asked to stop
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SuperscaleError(Exception):
    """Base of every error this package raises on purpose. Its text says what was expected, what was got and the way out.

    ``ways_out``: the arguments (``"fresh"``) and settings (``"data.batch=4"``) that would help, for a caller to name in its own words.
    """

    def __init__(self, *args: object, ways_out: tuple[str, ...] = ()) -> None:
        super().__init__(*args)
        self.ways_out = ways_out


class UsageError(SuperscaleError):
    """An argument that cannot be right."""


class RecipeError(UsageError):
    """A recipe with unknown keys, wrong types or contradictions: every one of them, a line each."""

    def __init__(self, *problems: str, ways_out: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems), ways_out=ways_out)
        self.problems = problems


class UnknownNameError(UsageError):
    """A name that is not in a table: what was meant, and what there is."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        super().__init__(f"unknown {kind} {name!r}{did_you_mean(name, names)}; there is: {', '.join(names) or 'none'}")


class ImageError(SuperscaleError):
    """A picture that cannot be read or written."""


class TooLarge(ImageError):
    """A picture or a file beyond a limit: ``limit`` pixels or bytes, which the argument named ``setting`` raises."""

    def __init__(self, message: str, limit: int, setting: str = "max_pixels") -> None:
        super().__init__(message, limit, setting)
        self.limit = limit
        self.setting = setting

    def __str__(self) -> str:
        return f"{self.args[0]}; raise {self.setting} to allow it"


class Unsupported(ImageError):
    """A format, a depth or a kind of picture that is not read or not written."""


class Damaged(ImageError):
    """A file that is cut short, or does not hold what its header says."""


class DataError(SuperscaleError):
    """A folder of pictures that cannot be trained or measured on."""


class ModelError(SuperscaleError):
    """A model file that cannot be loaded."""


class CheckpointError(SuperscaleError):
    """A training state that cannot be saved or resumed."""


class TrainingError(SuperscaleError):
    """A training run that cannot go on."""


class OutOfMemoryError(SuperscaleError):
    """The device is full; a smaller tile may fit."""


class OutputError(SuperscaleError):
    """Standard output cannot be written, or its reader went away."""


class StoreError(SuperscaleError):
    """An object store refuses what it is asked for, or does not answer in several tries."""


class MissingExtraError(SuperscaleError):
    """An optional dependency is needed and not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an extra: {install_line(extra)}")


def install_line(extra: str) -> str:
    """What to type to install an extra, for how the package was installed: from a folder, from an address, or from an index."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote

    try:
        told = json.loads(distribution("superscale").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        told = {}
    url = str(told.get("url", ""))
    if url.startswith("file://") and "archive_info" not in told:
        return f"pip install '{unquote(url.removeprefix('file://'))}[{extra}]'"
    kind = f"{told['vcs_info']['vcs']}+" if "vcs_info" in told else ""
    return f"pip install 'superscale[{extra}]{f' @ {kind}{url}' if url else ''}'"


class Cancelled(SuperscaleError):
    """The caller asked to stop."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'x'?)" for the nearest known name, or nothing when none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
