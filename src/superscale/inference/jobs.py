"""Many pictures: each is done, skipped or failed on its own, and none stops the rest unless asked.

While the network works on one picture, the next is read and the last is written; no more than these three are in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from superscale.errors import Cancelled, Damaged, ImageError, OutputError, TooLarge
from superscale.files import Claims, new_file, sweep, write_bytes, write_stream
from superscale.image.formats import ANIMATED_SUFFIXES, check_sides, suffix_of
from superscale.image.io import Image, encode_with_notices, image_size, open_stack, read_image
from superscale.inference.inputs import unfit
from superscale.inference.outcomes import (
    ByWindows,
    Enlarge,
    Fault,
    Outcome,
    Settings,
    already,
    done,
    elsewhere,
    failed,
    unwritable,
    why,
)
from superscale.inference.plan import FALLBACK_SUFFIX, Job
from superscale.inference.sizes import enlarged
from superscale.inference.stacks import enlarge_stack
from superscale.reading import fingerprint, twice

COPIED_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class _Step:
    """A job on its way: the picture as far as it has come, or its outcome; of a stack, the file that it is read from.

    ``size``: (height, width) of the input; ``source``: its fingerprint; ``was_absent``: its output, when the run began.
    """

    job: Job
    image: Image | None = None
    size: tuple[int, int] = (0, 0)
    stack: Path | bytes | None = None
    suffix: str = ""
    source: str | None = None
    was_absent: bool = False
    seconds: float = 0.0
    outcome: Outcome | None = None
    by_windows: bool = False


def run_jobs(
    jobs: Sequence[Job],
    enlarge: Enlarge,
    settings: Settings,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    windows: ByWindows | None = None,
    unsaid: list[Outcome] | None = None,
) -> Generator[Outcome, None, None]:
    """Do the jobs and say, in their order, what became of each. An output is written whole or not at all.

    ``windows``: how pictures are done that are too large for memory; None: not at all. When the generator is closed or interrupted,
    ``unsaid`` is given the outcome of the picture that was then being written.
    """
    sweep(job.output.parent for job in jobs if job.output is not None)
    run = _Run(enlarge, settings, stdin, stdout, windows)
    with ThreadPoolExecutor(1, "superscale-reader") as reader, ThreadPoolExecutor(1, "superscale-writer") as writer:
        try:
            for outcome in run.overlapped(jobs, reader, writer, unsaid):
                yield outcome
                if settings.fail_fast and outcome.status == "failed":
                    return
        finally:
            reader.shutdown(wait=True, cancel_futures=True)
            run.claims.drop_all()
            run.folder.close()


class _Watched:
    """The folder that was last written into, kept open: it tells when it was deleted, and one of the same name took its place."""

    def __init__(self) -> None:
        self._path, self._descriptor = Path(), -1

    def watch(self, folder: Path) -> None:
        """From now on this one."""
        if folder != self._path and hasattr(os, "O_DIRECTORY"):
            self.close()
            self._path, self._descriptor = folder, os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if os.fstat(self._descriptor).st_nlink == 0:  # a file system that does not count
                self.close()

    def require(self, folder: Path) -> None:
        """Raise ImageError for the watched folder when it was deleted, with what was written there."""
        if folder == self._path and self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0:
            raise ImageError(f"{folder} was deleted while the run went on, with what was written there; run the command again")

    def close(self) -> None:
        """Watch none."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._path, self._descriptor = Path(), -1


@dataclass(frozen=True)
class _Run:
    """What the three parts of a job need: reading, enlarging and writing."""

    enlarge: Enlarge
    settings: Settings
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    windows: ByWindows | None
    claims: Claims = field(default_factory=Claims)
    folder: _Watched = field(default_factory=_Watched)

    def overlapped(
        self, jobs: Sequence[Job], reader: ThreadPoolExecutor, writer: ThreadPoolExecutor, unsaid: list[Outcome] | None
    ) -> Iterator[Outcome]:
        """Their outcomes: the next is read and the last is written while one is enlarged."""
        before: Future[_Step] | None = None
        ahead = iter([_Step(job, was_absent=job.output is not None and not os.path.lexists(job.output)) for job in jobs])
        try:
            loading = self._submitted(next(ahead, None), reader)
            while loading is not None:
                loaded, loading = loading.result(), self._submitted(next(ahead, None), reader)
                larger = _timed(loaded, self._enlarged)
                if before is not None:
                    said, before = self._outcome(before), None
                    yield said
                # Known before it is begun: a signal may arrive in `submit`, which wakes the writer.
                before = Future()
                writer.submit(_fill, before, larger, self._stored)
                # Without this the picture would stay in memory until the next one is read.
                del loaded, larger
            if before is not None:
                said, before = self._outcome(before), None
                yield said
        finally:
            if before is not None and unsaid is not None:
                writer.shutdown(wait=True)
                if before.done():
                    unsaid.append(self._outcome(before))

    def _submitted(self, step: _Step | None, reader: ThreadPoolExecutor) -> Future[_Step] | None:
        if step is None:
            return None
        if not step.job.from_stdin:
            return reader.submit(_timed, step, self._loaded)
        read: Future[_Step] = Future()
        read.set_result(_timed(step, self._loaded))  # here: a signal ends what waits in the main thread alone
        return read

    def _outcome(self, future: Future[_Step]) -> Outcome:
        step = future.result()
        self.claims.drop(step.job.output)
        if step.outcome is None:
            raise RuntimeError(f"{step.job.name}: no outcome")
        return replace(step.outcome, seconds=round(step.seconds, 3)) if step.outcome.status == "done" else step.outcome

    def _loaded(self, step: _Step) -> _Step:
        job, settings = step.job, self.settings
        if (outcome := before_reading(job, settings, step.was_absent)) is not None:
            return replace(step, outcome=outcome)
        if job.output is not None:
            if not self.claims.take(job.output):
                return replace(step, outcome=elsewhere(job, "another process is making it"))
            if (outcome := already(job, settings, step.was_absent)) is not None:  # it was made while we asked
                return replace(step, outcome=outcome)
        if self.windows is not None and self.windows.wanted(job, settings):
            return replace(step, by_windows=True)
        if job.from_stdin:
            data = _read_stream(self.stdin, settings.max_bytes)
            source = fingerprint(data)
            own, name = suffix_of(data) or FALLBACK_SUFFIX, "standard input"
            image, count = _first_page(data, name, settings)
        else:
            data, own, source = b"", job.input.suffix, fingerprint(job.input)
            image, count = read_input(job.input, settings)
        named = None if job.output is None else job.output.suffix
        suffix = named or job.suffix or own
        check_output_size(image.width, image.height, settings, suffix)
        stack = None if count == 1 else data or job.input
        size = image.height, image.width
        return replace(step, image=None if stack else image, size=size, stack=stack, suffix=suffix, source=source)

    def _enlarged(self, step: _Step) -> _Step:
        job, settings = step.job, self.settings
        if settings.began is not None:
            settings.began(job, *step.size)
        if step.by_windows and self.windows is not None:
            return replace(step, outcome=done(job, *self.windows.enlarge(job, settings)))
        if step.stack is None:
            return step if step.image is None else replace(step, image=self.enlarge(step.image))
        with open_stack(step.stack, settings.max_pixels, job.name) as stack, _place(job, self.stdout) as stream:
            enlarge = self.enlarge if settings.settled is None else settings.settled(stack.page(0))
            last = enlarge_stack(stack, stream, enlarge, settings.measure, step.suffix, settings.metadata, step.source)
            # Again: another process may have written it while we computed.
            if (outcome := already(job, settings)) is not None:
                raise _There(outcome)
            return replace(step, stack=None, outcome=done(job, last, step.size, stack.count))

    def _stored(self, step: _Step) -> _Step:
        job, image, settings = step.job, step.image, self.settings
        if image is None:
            return step
        # Again: another process may have written it while we computed.
        if (outcome := already(job, settings)) is not None:
            return replace(step, image=None, outcome=outcome)
        data, notices = encode_with_notices(image, step.suffix, settings.quality, settings.metadata, step.source)
        if job.output is not None:
            self.folder.require(job.output.parent)
            _put(job.output, data)
            self.folder.watch(job.output.parent)
        elif self.stdout is not None:
            _send(self.stdout, data)
        return replace(step, image=None, outcome=done(job, image.noted(*notices), step.size))


def _timed(step: _Step, work: Callable[[_Step], _Step]) -> _Step:
    """The step taken further, its time added; or with the outcome that it failed."""
    if step.outcome is not None:
        return step
    began = time.monotonic()
    try:
        after = work(step)
    except (Cancelled, OutputError):
        raise
    except _There as there:
        return replace(step, outcome=there.outcome)
    # Anything: a decoder given damaged bytes raises whatever it stumbles over, and must not stop the rest.
    except Exception as error:
        return replace(step, image=None, outcome=failed(step.job, why(error)))
    return replace(after, seconds=step.seconds + time.monotonic() - began)


def _fill(future: Future[_Step], step: _Step, work: Callable[[_Step], _Step]) -> None:
    try:
        future.set_result(_timed(step, work))
    except BaseException as error:
        future.set_exception(error)


def before_reading(job: Job, settings: Settings, was_absent: bool = False) -> Outcome | None:
    """The outcome of a job that needs no reading to be told. ``was_absent``: its output, when the run began."""
    if job.verdict == "skipped":
        return Outcome(job.name, None, "skipped", error=job.why, code="unreadable")
    if job.verdict is not None:
        return failed(job, Fault("unreadable", job.why or ""))
    return already(job, settings, was_absent) or unwritable(job)


def read_input(path: Path, settings: Settings) -> tuple[Image, int]:
    """Decode a file within the limits: its picture, or the first of how many. Raises ImageError, TooLarge for what is beyond them."""
    if (reason := unfit(path)) is not None:
        raise ImageError(reason)
    size = os.stat(path).st_size
    if settings.max_bytes is not None and size > settings.max_bytes:
        raise TooLarge(f"{size} bytes, more than {settings.max_bytes}", settings.max_bytes, "max_bytes")
    return twice(partial(_first_page, path, str(path), settings))


def _first_page(source: Path | bytes, name: str, settings: Settings) -> tuple[Image, int]:
    _check_promised_size(source, settings)
    # Of damaged pictures `read_image` may take what there is; otherwise they are called damaged, not several.
    forgiven = (Damaged,) if settings.lenient else ()
    with suppress(*forgiven), open_stack(source, settings.max_pixels, name) as stack:
        if stack.count > 1:
            return stack.page(0), stack.count
    read = partial(read_image, lenient=True) if settings.lenient else read_image
    return read(source, settings.max_pixels, name), 1


def _read_stream(stdin: IO[bytes] | None, max_bytes: int | None) -> bytes:
    if stdin is None:
        raise ImageError("there is no standard input")
    data = stdin.read() if max_bytes is None else stdin.read(max_bytes + 1)
    if max_bytes is not None and len(data) > max_bytes:
        raise TooLarge(f"standard input brings more than {max_bytes} bytes", max_bytes, "max_bytes")
    return data


def _check_promised_size(source: Path | bytes, settings: Settings) -> None:
    """What the header tells, before gigabytes are decoded."""
    try:
        width, height = image_size(source)
    except ImageError:
        return  # reading says why, or finds more than the header tells
    if settings.max_pixels is None or width * height <= settings.max_pixels:
        check_output_size(width, height, settings)


def check_output_size(width: int, height: int, settings: Settings, suffix: str | None = None) -> None:
    """Raise TooLarge where the output of an input of this size would be beyond the limit, Unsupported where its format holds none so long."""
    height, width = enlarged(height, width, settings.scale)
    limit = settings.max_output_pixels
    if limit is not None and width * height > limit:
        raise TooLarge(f"the output would be {width}x{height}, more than {limit} pixels", limit, "max_output_pixels")
    check_sides(ANIMATED_SUFFIXES.get((suffix or "").lower(), ""), width, height)


class _There(Exception):
    """The output is there now, and is not to be replaced."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@contextmanager
def _place(job: Job, stdout: IO[bytes] | None) -> Iterator[IO[bytes]]:
    """A file to write a stack into, which is at its place when the block ends, whole."""
    if job.output is not None:
        with new_file(job.output) as stream:
            yield stream
        return
    with NamedTemporaryFile() as stream:
        yield stream
        if stdout is not None:
            stream.seek(0)
            while data := stream.read(COPIED_BYTES):
                _send(stdout, data)


def _send(stdout: IO[bytes], data: bytes) -> None:
    try:
        write_stream(stdout, data)
    except OSError as error:
        raise OutputError(f"standard output: not all was written ({error.strerror or error})") from error


def _put(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror or error}") from error
