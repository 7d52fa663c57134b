"""Progress of upscaling: a line per job, a progress bar on a terminal, and a summary of what failed and how to go on."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscale.errors import SuperscaleError, TooLarge

if TYPE_CHECKING:
    from superscale.inference.jobs import Outcome

# Failures that a summary repeats; --failed-list has all of them.
LISTED = 20
# a setting, by the name that errors give it -> what raises it on the command line
FLAGS = {
    "max_pixels": "upscale --max-pixels",
    "max_output_pixels": "--max-output-pixels",
    "max_bytes": "--max-bytes",
    "tile": "--tile",
    "output": "-o",
    "overwrite": "--overwrite",
    "skip_existing": "--skip-existing",
}


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr)


def shown(text: str | Path) -> str:
    """Return a name with control characters and undecodable bytes escaped, so that it can be printed."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))


def explained(error: SuperscaleError) -> str:
    """What an error says, with the option that is the way out where there is one."""
    return _with_flags(str(error), (error.setting,) if isinstance(error, TooLarge) else ())


def _with_flags(text: str, settings: Iterable[str]) -> str:
    flags = " or ".join(FLAGS[setting] for setting in settings if setting in FLAGS)
    return f"{text} ({flags})" if flags else text


@dataclass
class Report:
    """Prints each outcome as it comes and, at the end, the counts, the JSON and the list of failures.

    ``verbose``: also what was chosen for each image.

    ``names``: those of all jobs in order, as the list of failures has them. ``passed_over``: files in folders that are no pictures.
    """

    names: list[str]
    as_json: bool = False
    quiet: bool = False
    failed_list: Path | None = None
    verbose: bool = False
    passed_over: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Record an outcome and print it."""
        if outcome.error:
            outcome = replace(outcome, error=_with_flags(outcome.error, outcome.settings))
        self.outcomes.append(outcome)
        if outcome.status == "failed":
            say(f"failed: {_reason(outcome)}")
        elif not outcome.is_whole:
            say(f"damaged: {_reason(outcome)}; what there is of it is in {shown(outcome.output or '')}")
        elif not self.quiet:
            if outcome.error:
                say(f"skipped: {_reason(outcome)}")
            elif not self.as_json and outcome.output != "-":
                say(f"{outcome.status}: {shown(outcome.output or '')}")
            for remark in outcome.remarks if self.verbose else ():
                say(f"{shown(outcome.input)}: {remark}")
        if outcome.status != "failed" and not self.quiet:
            for notice in outcome.notices:
                say(f"note: {shown(outcome.input)}: {notice}")

    def end(self, code: int, backends: Sequence[str] = ()) -> int:
        """Print the summary, in JSON also what computed. The exit code: ``code`` if it is not 0, else 1 if something failed or was damaged."""
        counts = {status: sum(one.status == status for one in self.outcomes) for status in ("done", "skipped", "failed")}
        failed = [one for one in self.outcomes if one.status == "failed"]
        if self.as_json:
            results = [one.to_dict() for one in self.outcomes]
            print(json.dumps({"version": 1, "results": results, **counts, "backends": list(backends)}))
        elif self.verbose:
            say(f"computed by {', '.join(backends)}")
        if self.failed_list is not None:
            from superscale.files import write_bytes
            from superscale.inference.inputs import STDIN, list_of

            # Inputs that were not begun are listed too, or an interrupted retry of a list would lose them.
            again = [one.again for one in failed] + self.names[len(self.outcomes) :]
            write_bytes(self.failed_list, list_of(name for name in again if name != STDIN))
        if not self.quiet:
            self._summary(counts, failed)
        if code:
            say("interrupted; the same command with --skip-existing does what is left")
        return code or int(not all(one.is_whole for one in self.outcomes))

    def _summary(self, counts: dict[str, int], failed: list[Outcome]) -> None:
        jobs = len(self.names)
        if not jobs:
            say("nothing to do: the list is empty")
        if jobs > 1:
            left = jobs - len(self.outcomes)
            text = f"{counts['done']} done, {counts['skipped']} skipped, {counts['failed']} failed of {jobs}"
            say(text + (f", {left} not begun" if left else ""))
            for outcome in failed[:LISTED]:
                say(f"  {_reason(outcome)}")
            if len(failed) > LISTED:
                say(f"  and {len(failed) - LISTED} more")
        if self.passed_over:
            say(f"skipped: {self.passed_over}")
        if failed and self.failed_list is not None:
            say(f"try these again: superscale upscale {shlex.quote(f'@{shown(self.failed_list)}')}")


def _reason(outcome: Outcome) -> str:
    return f"{shown(outcome.input)}: {shown(outcome.error or '')}"


class Bar:
    """A progress bar on stderr: the tiles of the current image, and how many images are finished."""

    def __init__(self, pictures: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True)
        self.pictures = pictures
        self.over = 0
        self.task = self.progress.add_task(self._said(), total=1)

    def _said(self) -> str:
        return "upscaling" if self.pictures == 1 else f"upscaling, {self.over} of {self.pictures} over"

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def tile(self, done: int, total: int) -> None:
        """Show how many tiles of the current image are done."""
        self.progress.update(self.task, completed=done, total=total)

    def next(self) -> None:
        """Count an image as finished."""
        self.over += 1
        self.progress.update(self.task, description=self._said())


def bar(pictures: int, quiet: bool) -> Any:
    """Return a context manager that yields a `Bar` if stderr is a terminal and ``quiet`` is not set, else None."""
    return Bar(pictures) if sys.stderr.isatty() and not quiet else nullcontext()
