"""What a person sees of many jobs: a line each, a bar where there is a terminal, at the end what failed and how to go on."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscale.errors import SuperscaleError, TooLarge

if TYPE_CHECKING:
    from superscale.inference.jobs import Outcome

# A summary repeats so many failures; --failed-list has them all.
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
    """A name as it can be printed: control characters and bytes that are no text are escaped."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))


def explained(error: SuperscaleError) -> str:
    """What an error says, with the option that is the way out where there is one."""
    return _with_flags(str(error), (error.setting,) if isinstance(error, TooLarge) else ())


def _with_flags(text: str, settings: Iterable[str]) -> str:
    flags = " or ".join(FLAGS[setting] for setting in settings if setting in FLAGS)
    return f"{text} ({flags})" if flags else text


class Report:
    """Collects outcomes: each is said as it comes, the counts, the JSON and the list of failures when all is over."""

    def __init__(self, names: list[str], as_json: bool = False, quiet: bool = False, failed_list: Path | None = None) -> None:
        """``names``: of all jobs in their order, as they go into a list of failures."""
        self.names, self.jobs, self.as_json, self.quiet, self.failed_list = names, len(names), as_json, quiet, failed_list
        self.outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        if outcome.error:
            outcome = replace(outcome, error=_with_flags(outcome.error, outcome.settings))
        self.outcomes.append(outcome)
        if outcome.status == "failed":
            say(f"failed: {_reason(outcome)}")
        elif not self.quiet:
            if outcome.error:
                say(f"skipped: {_reason(outcome)}")
            elif not self.as_json and outcome.output != "-":
                say(f"{outcome.status}: {shown(outcome.output or '')}")
            for notice in outcome.notices:
                say(f"note: {shown(outcome.input)}: {notice}")

    def end(self, code: int) -> int:
        """Print what is left to say; the exit code: ``code`` if it is not 0, else 1 when something failed."""
        counts = {status: sum(one.status == status for one in self.outcomes) for status in ("done", "skipped", "failed")}
        failed = [one for one in self.outcomes if one.status == "failed"]
        if self.as_json:
            print(json.dumps({"version": 1, "results": [one.to_dict() for one in self.outcomes], **counts}))
        if self.failed_list is not None:
            from superscale.files import write_bytes
            from superscale.inference.inputs import STDIN, list_of

            # What was not begun is left to do as well; without it, an interrupted retry of a list would shorten the list.
            again = [one.again for one in failed] + self.names[len(self.outcomes) :]
            write_bytes(self.failed_list, list_of(name for name in again if name != STDIN))
        if not self.quiet:
            self._summary(counts, failed)
        if code:
            say("interrupted; the same command with --skip-existing does what is left")
        return code or (1 if failed else 0)

    def _summary(self, counts: dict[str, int], failed: list[Outcome]) -> None:
        if not self.jobs:
            say("nothing to do: the list is empty")
        if self.jobs > 1:
            text = f"{counts['done']} done, {counts['skipped']} skipped, {counts['failed']} failed of {self.jobs}"
            left = self.jobs - len(self.outcomes)
            say(text + (f", {left} not begun" if left else ""))
        if self.jobs > 1 and failed:
            for outcome in failed[:LISTED]:
                say(f"  {_reason(outcome)}")
            if len(failed) > LISTED:
                say(f"  and {len(failed) - LISTED} more")
        if failed and self.failed_list is not None:
            say(f"try these again: superscale upscale {shlex.quote(f'@{shown(self.failed_list)}')}")


def _reason(outcome: Outcome) -> str:
    return f"{shown(outcome.input)}: {shown(outcome.error or '')}"


class Bar:
    """One bar for each picture on stderr, which fills with its tiles; beside it, how many pictures are over."""

    def __init__(self, pictures: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True)
        self.pictures, self.over = pictures, 0
        self.task = self.progress.add_task(self._said(), total=1)

    def _said(self) -> str:
        return "upscaling" if self.pictures == 1 else f"upscaling, {self.over} of {self.pictures} over"

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def tile(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

    def next(self) -> None:
        self.over += 1
        self.progress.update(self.task, description=self._said())


def bar(pictures: int, quiet: bool) -> Any:
    """A `Bar` where somebody can see it move, else None; a context either way."""
    return Bar(pictures) if sys.stderr.isatty() and not quiet else nullcontext()
