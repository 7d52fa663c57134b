"""What many pictures are done by, and what became of each: settings, outcomes, and why something failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from superscale.errors import (
    Damaged,
    MissingExtraError,
    OutOfMemoryError,
    SuperscaleError,
    TooLarge,
    Unsupported,
)
from superscale.image.geo import unread_beside
from superscale.image.io import QUALITY, Image, KeepOrStrip
from superscale.image.value_range import ValueRange
from superscale.inference.plan import STDOUT, Job
from superscale.options import Scale

Existing = Literal["refuse", "overwrite", "skip"]
Status = Literal["done", "skipped", "failed"]
Enlarge = Callable[..., Image]
Measure = Callable[[Image], ValueRange]
# kind of error -> `Outcome.code`
CODES: dict[type[SuperscaleError], str] = {
    Damaged: "damaged",
    Unsupported: "unsupported",
    OutOfMemoryError: "out-of-memory",
    MissingExtraError: "needs-extra",
}
# How the damage of a result begins that lacks something of a whole input.
LEFT_OUT = "left out: "
TOO_LITTLE_MEMORY = "too large for the memory there is; smaller tiles or a lower limit of pixels may help"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How jobs are done. Limits: None for none; each error names the setting that raises it.

    ``scale``: that of ``enlarge``, to refuse an output of too many pixels before it is computed. ``lenient``:
    take what there is of damaged pictures. ``measure``: the range of values of a page; ``enlarge`` then gets that of the whole stack
    as ``values``. ``limits_given``: the limits, by name, that hold for pictures done by windows too; the others are there to protect
    the memory, which these do not need. ``settled``: how all pages of a stack are enlarged that begins with this one; None: as
    others are. ``began`` is told of each job when its network begins, and the input's height and width.
    """

    scale: Scale
    existing: Existing = "refuse"
    quality: int = QUALITY
    metadata: KeepOrStrip = "keep"
    max_pixels: int | None = None
    max_output_pixels: int | None = None
    max_bytes: int | None = None
    fail_fast: bool = False
    lenient: bool = False
    measure: Measure | None = None
    began: Callable[[Job, int, int], None] | None = None
    limits_given: frozenset[str] = frozenset()
    settled: Callable[[Image], Enlarge] | None = None


class ByWindows(Protocol):
    """What enlarges pictures that are too large for memory: `scenes.Windows`."""

    def wanted(self, job: Job, settings: Settings) -> bool:
        """Whether a job is one of these."""

    def enlarge(self, job: Job, settings: Settings) -> tuple[Image, tuple[int, int]]:
        """Do it, output and all; an image of the result's size, and the input's (height, width)."""


class Fault(NamedTuple):
    """Why something failed: its kind, as `Outcome.code`, a sentence, and the settings that it speaks of, by name."""

    code: str
    text: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of one job; ``width`` and ``height`` of the output, None if there is none.

    A job that is done and has an ``error`` was done on what there is of a damaged picture, and is no success: see `is_whole`.
    ``pages``: how many pictures the file holds. ``code``: the kind of error: damaged, left-out, unsupported, too-large, unreadable, exists,
    is-input, unwritable, elsewhere, out-of-memory, needs-extra, system (of the operating system) or error.
    ``notices``: what had to be changed in the picture; ``again``: its name in a list of pictures to try again; ``settings``:
    those that ``error`` speaks of, by name; ``range``: the values that were black and white; ``remarks``: what was chosen;
    ``model``: the name of the network, None where nothing was computed.
    """

    input: str
    output: str | None
    status: Status
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    error: str | None = None
    code: str | None = None
    notices: tuple[str, ...] = ()
    again: str = ""
    settings: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()
    pages: int = 1
    input_width: int | None = None
    input_height: int | None = None
    model: str | None = None

    @property
    def is_whole(self) -> bool:
        """Neither failed nor done on a damaged picture."""
        return self.status != "failed" and not (self.status == "done" and self.error)

    def to_dict(self) -> dict[str, Any]:
        """The keys that ``upscale --json`` promises."""
        return {key: value for key, value in asdict(self).items() if key not in ("notices", "again", "settings", "remarks")}


def why(error: Exception) -> Fault:
    """What went wrong, by kind, and the settings that it speaks of."""
    if isinstance(error, TooLarge):
        return Fault("too-large", str(error), (error.setting,))
    if isinstance(error, SuperscaleError):
        return Fault(next((code for kind, code in CODES.items() if isinstance(error, kind)), "error"), str(error))
    if isinstance(error, MemoryError):
        return Fault("out-of-memory", TOO_LITTLE_MEMORY, ("tile", "max_pixels"))
    if isinstance(error, OSError) and error.strerror:
        return Fault("system", error.strerror)
    return Fault("error", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def failed(job: Job, fault: Fault) -> Outcome:
    """The outcome of a job that failed."""
    target = None if job.output is None else str(job.output)
    text = fault.text.removeprefix(f"{job.name}: ")
    return Outcome(job.name, target, "failed", error=text, code=fault.code, again=job.again, settings=fault.settings)


def elsewhere(job: Job, why: str) -> Outcome:
    """The outcome of a job that another process does or has done."""
    return Outcome(job.name, str(job.output), "skipped", error=why, code="elsewhere")


def already(job: Job, settings: Settings, was_absent: bool = False) -> Outcome | None:
    """The outcome of a job whose output is there, if it is not to be replaced. Never is an input replaced.

    ``was_absent``: when the run began, so that another process has written it since.
    """
    if job.output is None or not os.path.lexists(job.output):
        return None
    if settings.existing == "skip" and job.overwrites is None and job.output.is_file():
        return Outcome(job.name, str(job.output), "skipped")
    if job.overwrites is not None:
        text = f"{job.output} is the input {job.overwrites}, and no input is overwritten; name another output"
        return failed(job, Fault("is-input", text, ("output",)))
    # A link that leads nowhere may be replaced.
    if not job.output.is_file() and (settings.existing != "overwrite" or job.output.exists()):
        kind = "a folder" if job.output.is_dir() else "no file"
        return failed(job, Fault("unwritable", f"{job.output} is {kind}, and should be the output; name another", ("output",)))
    if settings.existing == "overwrite":
        return None
    if was_absent:
        return elsewhere(job, "another process has made it since this one began")
    return failed(
        job, Fault("exists", f"{job.output} exists; choose to overwrite or to skip it", ("overwrite", "skip_existing"))
    )


def unwritable(job: Job) -> Outcome | None:
    """The outcome of a job whose output's folder may not be written into, asked before anything is computed."""
    if job.output is None:
        return None
    folder = next((parent for parent in job.output.absolute().parents if parent.exists()), None)
    if folder is None or not folder.is_dir() or os.access(folder, os.W_OK | os.X_OK):
        return None
    return failed(job, Fault("unwritable", f"{job.output} cannot be written: no permission to write into {folder}"))


def done(job: Job, image: Image, size: tuple[int, int], pages: int = 1) -> Outcome:
    """The outcome of a job that is done. ``size``: (height, width) of the input."""
    target = STDOUT if job.output is None else str(job.output)
    values = None if image.values is None else (image.values.low, image.values.high)
    code = None if image.damage is None else "left-out" if image.damage.startswith(LEFT_OUT) else "damaged"
    one = Outcome(job.name, target, "done", image.width, image.height, pages=pages, error=image.damage, code=code)
    one = replace(one, input_height=size[0], input_width=size[1])
    beside = () if job.from_stdin else unread_beside(job.input, image.metadata.geo)
    return replace(one, notices=image.notices + beside, range=values, remarks=image.remarks, model=image.network or None)
