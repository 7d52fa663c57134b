"""Progress of upscaling: a line per job, a progress bar on a terminal, and a summary of what failed and how to go on."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscale.errors import SuperscaleError, TooLarge

if TYPE_CHECKING:
    from superscale.inference.outcomes import Outcome

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

EVENT_SECONDS = 1.0


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr)


def shown(text: str | Path) -> str:
    """Return a name with control characters and undecodable bytes escaped, so that it can be printed."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))


def explained(error: SuperscaleError) -> str:
    """What an error says, with the option that is the way out where there is one."""
    return with_flags(str(error), (error.setting,) if isinstance(error, TooLarge) else ())


def with_flags(text: str, settings: Iterable[str]) -> str:
    """What is wrong, with the options that are the way out."""
    flags = " or ".join(FLAGS[setting] for setting in settings if setting in FLAGS)
    return f"{text} ({flags})" if flags else text


def duration(seconds: float) -> str:
    """3.2 -> "3.2 s", 252 -> "4 min 12 s", 12239 -> "3 h 24 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass
class Report:
    """Prints each outcome as it comes and, at the end, the counts, the JSON and the list of failures.

    ``names``: those of all jobs in order, as the list of failures has them; None where they are not known beforehand, and what was
    not begun is not counted. ``verbose``: also what was chosen for each image.
    ``model``: its name. ``retry``: the options that the run was given, for the command that tries failures again. ``passed_over``: files
    in folders that are no pictures. ``cost``: up to now, to be added to a line, or "".
    """

    names: list[str] | None
    as_json: bool = False
    quiet: bool = False
    failed_list: Path | None = None
    verbose: bool = False
    passed_over: str = ""
    model: str = ""
    retry: Sequence[str] = ()
    began: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    again: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    pixels: int = 0
    is_whole: bool = True
    cost: Callable[[], str] = str

    def add(self, outcome: Outcome) -> None:
        """Record an outcome and print it."""
        if outcome.error:
            outcome = replace(outcome, error=with_flags(outcome.error, outcome.settings))
        self._count(outcome)
        if outcome.status == "failed":
            say(f"failed: {_reason(outcome)}")
        elif not outcome.is_whole:
            word = "incomplete" if outcome.code == "left-out" else "damaged"
            say(f"{word}: {_reason(outcome)}; what there is of it is in {shown(outcome.output or '')}")
        elif not self.quiet:
            if outcome.error:
                say(f"skipped: {_reason(outcome)}")
            elif not self.as_json and outcome.output != "-":
                say(f"{outcome.status}: {shown(outcome.output or '')}{self._facts(outcome)}")
            for remark in outcome.remarks if self.verbose else ():
                say(f"{shown(outcome.input)}: {remark}")
        if outcome.status != "failed" and not self.quiet:
            for notice in outcome.notices:
                say(f"note: {shown(outcome.input)}: {notice}")

    def finished(self, pictures: int, passed_over: int) -> None:
        """Count pictures that were finished before, and objects that are no pictures: of millions, no line each."""
        self.counts["skipped"] += pictures
        if passed_over:
            self.passed_over = f"{passed_over} objects that are no pictures by their name"

    def end(self, code: int, backends: Sequence[str] = ()) -> int:
        """Print the summary, in JSON also what computed. The exit code: ``code`` if it is not 0, else 1 if something failed or was damaged."""
        counts = {status: self.counts[status] for status in ("done", "skipped", "failed")}
        if self.as_json:
            end = json.dumps({**counts, "backends": list(backends)})
            print(f'{{"version": 1, "results": [{", ".join(self.results)}], {end[1:]}')
        elif self.verbose:
            say(f"computed by {', '.join(backends)}")
        if self.failed_list is not None:
            from superscale.files import write_bytes
            from superscale.inference.inputs import STDIN, list_of

            # Inputs that were not begun are listed too, or an interrupted retry of a list would lose them.
            again = self.again + (self.names or [])[self.counts.total() :]
            write_bytes(self.failed_list, list_of(name for name in again if name != STDIN))
        if not self.quiet:
            self._summary(counts)
        if code:
            how = "" if self.names is None else " with --skip-existing"
            say(f"interrupted; the same command{how} does what is left")
        return code or int(not self.is_whole)

    def _count(self, outcome: Outcome) -> None:
        """Keep of an outcome what the end needs: of millions, none is kept but names of failures, and JSON where it is asked for."""
        self.counts[outcome.status] += 1
        self.is_whole = self.is_whole and outcome.is_whole
        if outcome.status == "failed":
            self.again.append(outcome.again)
            self.kinds[outcome.code or "error"] += 1
        elif outcome.status == "done":
            self.pixels += (outcome.width or 0) * (outcome.height or 0) * outcome.pages
        if self.as_json:
            self.results.append(json.dumps(outcome.to_dict()))

    def _facts(self, outcome: Outcome) -> str:
        if outcome.width is None or outcome.input_width is None:
            return ""
        sizes = f"{outcome.input_width}x{outcome.input_height} to {outcome.width}x{outcome.height}"
        model = outcome.model or self.model
        return f" ({sizes}, {duration(outcome.seconds or 0)}{f', {model}' if model else ''})"

    def _summary(self, counts: dict[str, int]) -> None:
        jobs = self.counts.total() if self.names is None else len(self.names)
        if not jobs:
            say("nothing to do: the list is empty")
        if jobs > 1:
            left = jobs - self.counts.total()
            text = f"{counts['done']} done, {counts['skipped']} skipped, {counts['failed']} failed of {jobs}"
            say(text + (f", {left} not begun" if left else "") + self._rate())
        if counts["failed"] > 1:
            say(f"failed: {', '.join(f'{count} {kind}' for kind, count in self.kinds.most_common())}")
        if self.passed_over:
            say(f"skipped: {self.passed_over}")
        if counts["failed"] and self.failed_list is not None:
            say(f"try these again: {shlex.join(['superscale', 'upscale', f'@{shown(self.failed_list)}', *self.retry])}")

    def _rate(self) -> str:
        seconds = time.monotonic() - self.began
        if not (self.pixels and seconds):
            return self.cost()
        return f"; {duration(seconds)}, {self.pixels / 1e6 / seconds:.1f} megapixels a second{self.cost()}"


def _reason(outcome: Outcome) -> str:
    return f"{shown(outcome.input)}: {shown(outcome.error or '')}"


class Bar:
    """A progress bar on stderr: the image at work, how much of all is done, megapixels a second, the time left.

    ``pictures``: how many, 0 where that is not known yet (`expect`).
    """

    def __init__(self, pictures: int, model: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        counted = (TextColumn("{task.fields[finished]} of {task.fields[pictures]}"),) if pictures != 1 else ()
        columns = (BarColumn(), TaskProgressColumn(), *counted, TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        console = Console(stderr=True)
        self.progress = Progress(TextColumn("{task.description}", markup=False), *columns, console=console, transient=True)
        self.begun = self.finished = self.pixels = 0
        self.began = time.monotonic()
        self.task = self.progress.add_task(
            f"{model}: starting", total=pictures or None, finished=0, pictures=pictures or "?", rate=""
        )

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, name: str, size: str) -> None:
        """Say which image is at work."""
        self.begun += 1
        self.progress.update(self.task, description=f"{shown(Path(name).name)} {size}")

    def tile(self, done: int, total: int) -> None:
        """Show how many tiles of the current image are done."""
        # An image counts as finished when it is written, which is after the next has begun.
        self._reach(max(self.begun - 1, self.finished) + done / total)

    def frames(self, done: int, total: int, a_second: float | None) -> None:
        """Show how many frames of the current video are done, and how many a second."""
        rate = f", {a_second:.3g} frames/s" if a_second else ""
        self.progress.update(self.task, rate=f"frame {done} of {total}{rate}")
        self.tile(done, total)

    def _reach(self, images: float) -> None:
        task = self.progress.tasks[0]
        self.progress.update(self.task, completed=max(task.completed, images))

    def expect(self, pictures: int) -> None:
        """Say how many there are."""
        self.progress.update(self.task, total=pictures, pictures=pictures)

    def next(self, pixels: int, before: int = 0, cost: str = "") -> None:
        """Count an image as finished, with so many pixels made; ``before``: how many were finished before this run; ``cost``: up to now."""
        self.finished += 1
        self.pixels += pixels
        rate = f"{self.pixels / 1e6 / (time.monotonic() - self.began):.1f} MP/s" if self.pixels else ""
        self.progress.update(self.task, finished=self.finished + before, rate=rate + cost)
        self._reach(self.finished + before)


class FrameWatch:
    """Tells how many frames of a video are done: on a bar, and ``as_json`` in lines on standard output, at most one a second and the last."""

    def __init__(self, shown_bar: Bar | None, as_json: bool) -> None:
        self.bar, self.as_json = shown_bar, as_json
        self._name, self._first, self._began, self._told = "", 0, 0.0, 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        """So many frames of the video ``name`` are done."""
        now = time.monotonic()
        if name != self._name:
            self._name, self._first, self._began, self._told = name, done, now, -EVENT_SECONDS
        rate = (done - self._first) / (now - self._began) if now > self._began and done > self._first else None
        if self.bar is not None:
            self.bar.frames(done, total, rate)
        if self.as_json and (done == total or now - self._told >= EVENT_SECONDS):
            self._told = now
            pace = {"frames_per_second": rate and round(rate, 3), "seconds_left": rate and round((total - done) / rate, 1)}
            print(json.dumps({"event": "frames", "input": name, "done": done, "total": total, **pace}), flush=True)


def bar(pictures: int, quiet: bool, model: str) -> Any:
    """Return a context manager that yields a `Bar` if stderr is a terminal and ``quiet`` is not set, else None."""
    return Bar(pictures, model) if sys.stderr.isatty() and not quiet else nullcontext()
