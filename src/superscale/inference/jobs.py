"""Many pictures: each is done, skipped or failed on its own, and none stops the rest unless asked.

While the network works on one picture, the next is read and the last is written; no more than these three are in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Literal

from superscale.errors import Cancelled, Damaged, ImageError, OutputError, SuperscaleError, TooLarge
from superscale.files import Claims, new_file, sweep, write_bytes, write_stream
from superscale.image.formats import suffix_of
from superscale.image.io import QUALITY, Image, KeepOrStrip, encode_with_notices, image_size, open_stack, read_image
from superscale.image.value_range import ValueRange
from superscale.inference.inputs import unfit
from superscale.inference.plan import FALLBACK_SUFFIX, STDOUT, Job
from superscale.inference.sizes import enlarged
from superscale.inference.stacks import enlarge_stack
from superscale.reading import fingerprint, twice

COPIED_BYTES = 16 * 1024**2
Existing = Literal["refuse", "overwrite", "skip"]
Status = Literal["done", "skipped", "failed"]
Enlarge = Callable[..., Image]
Measure = Callable[[Image], ValueRange]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How jobs are done. Limits: None for none; each error names the setting that raises it.

    ``scale``: what ``enlarge`` multiplies both sides by, to refuse an output of too many pixels before it is computed. ``lenient``:
    take what there is of damaged pictures. ``measure``: the range of values of a page; ``enlarge`` then gets that of the whole stack
    as ``values``.
    """

    scale: float
    existing: Existing = "refuse"
    quality: int = QUALITY
    metadata: KeepOrStrip = "keep"
    max_pixels: int | None = None
    max_output_pixels: int | None = None
    max_bytes: int | None = None
    fail_fast: bool = False
    lenient: bool = False
    measure: Measure | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one job; ``width`` and ``height`` of the output, None if there is none.

    A job that is done and has an ``error`` was done on what there is of a damaged picture, and is no success: see `is_whole`.
    ``pages``: how many pictures the file holds.
    ``notices``: what had to be changed in the picture; ``again``: its name in a list of pictures to try again; ``settings``:
    those that ``error`` speaks of, by name; ``range``: the values that were black and white; ``remarks``: what was chosen.
    """

    input: str
    output: str | None
    status: Status
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    error: str | None = None
    notices: tuple[str, ...] = ()
    again: str = ""
    settings: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()
    pages: int = 1

    @property
    def is_whole(self) -> bool:
        """Neither failed nor done on a damaged picture."""
        return self.status != "failed" and not (self.status == "done" and self.error)

    def to_dict(self) -> dict[str, Any]:
        """The keys that ``upscale --json`` promises."""
        return {key: value for key, value in asdict(self).items() if key not in ("notices", "again", "settings", "remarks")}


@dataclass(frozen=True)
class _Step:
    """A job on its way: the picture as far as it has come, or its outcome; of a stack, the file that it is read from.

    ``source``: the input's fingerprint; ``was_absent``: its output, when the run began.
    """

    job: Job
    image: Image | None = None
    stack: Path | bytes | None = None
    suffix: str = ""
    source: str | None = None
    was_absent: bool = False
    seconds: float = 0.0
    outcome: Outcome | None = None


def run_jobs(
    jobs: Sequence[Job],
    enlarge: Enlarge,
    settings: Settings,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    unsaid: list[Outcome] | None = None,
) -> Generator[Outcome, None, None]:
    """Do the jobs and say, in their order, what became of each. An output is written whole or not at all.

    When the generator is closed or interrupted, ``unsaid`` is given the outcome of the picture that was then being written.
    """
    sweep(job.output.parent for job in jobs if job.output is not None)
    claims = Claims()
    with ThreadPoolExecutor(1, "superscale-reader") as reader, ThreadPoolExecutor(1, "superscale-writer") as writer:
        try:
            for outcome in _overlapped(jobs, enlarge, settings, reader, writer, (stdin, stdout), claims, unsaid):
                yield outcome
                if settings.fail_fast and outcome.status == "failed":
                    return
        finally:
            reader.shutdown(wait=True, cancel_futures=True)
            claims.drop_all()


def _overlapped(
    jobs: Sequence[Job],
    enlarge: Enlarge,
    settings: Settings,
    reader: ThreadPoolExecutor,
    writer: ThreadPoolExecutor,
    streams: tuple[IO[bytes] | None, IO[bytes] | None],
    claims: Claims,
    unsaid: list[Outcome] | None,
) -> Iterator[Outcome]:
    stdin, stdout = streams
    before: Future[_Step] | None = None
    ahead = iter([_Step(job, was_absent=job.output is not None and not os.path.lexists(job.output)) for job in jobs])

    def submitted() -> Future[_Step] | None:
        step = next(ahead, None)
        if step is None:
            return None
        load = partial(_timed, step, lambda step: _loaded(step, settings, stdin, claims))
        if not step.job.from_stdin:
            return reader.submit(load)
        read: Future[_Step] = Future()
        read.set_result(load())  # here: a signal ends what waits in the main thread alone
        return read

    def outcome(future: Future[_Step]) -> Outcome:
        step = future.result()
        claims.drop(step.job.output)
        return _outcome(step)

    try:
        loading = submitted()
        while loading is not None:
            loaded, loading = loading.result(), submitted()
            enlarged = _timed(loaded, lambda step: _enlarged(step, enlarge, settings, stdout))
            if before is not None:
                said, before = outcome(before), None
                yield said
            before = writer.submit(_timed, enlarged, lambda step: _stored(step, settings, stdout))
            # Without this the picture would stay in memory until the next one is read.
            del loaded, enlarged
        if before is not None:
            said, before = outcome(before), None
            yield said
    finally:
        if before is not None and unsaid is not None:
            unsaid.append(outcome(before))


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
        return replace(step, image=None, outcome=_failed(step.job, *_why(error)))
    return replace(after, seconds=step.seconds + time.monotonic() - began)


def _why(error: Exception) -> tuple[str, ...]:
    """What went wrong, and the settings that it speaks of."""
    if isinstance(error, TooLarge):
        return str(error), error.setting
    if isinstance(error, SuperscaleError):
        return (str(error),)
    if isinstance(error, MemoryError):
        return "too large for the memory there is; smaller tiles or a lower limit of pixels may help", "tile", "max_pixels"
    if isinstance(error, OSError) and error.strerror:
        return (error.strerror,)
    return (f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",)


def _failed(job: Job, why: str, *settings: str) -> Outcome:
    target = None if job.output is None else str(job.output)
    return Outcome(job.name, target, "failed", error=why.removeprefix(f"{job.name}: "), again=job.again, settings=settings)


def _outcome(step: _Step) -> Outcome:
    if step.outcome is None:
        raise RuntimeError(f"{step.job.name}: no outcome")
    return replace(step.outcome, seconds=round(step.seconds, 3)) if step.outcome.status == "done" else step.outcome


def _loaded(step: _Step, settings: Settings, stdin: IO[bytes] | None, claims: Claims) -> _Step:
    job = step.job
    if job.verdict is not None:
        skipped = Outcome(job.name, None, "skipped", error=job.why)
        return replace(step, outcome=skipped if job.verdict == "skipped" else _failed(job, job.why or ""))
    if (already := _already(job, settings, step.was_absent)) is not None:
        return replace(step, outcome=already)
    if (folder := _unwritable(job)) is not None:
        return replace(step, outcome=_failed(job, f"{job.output} cannot be written: no permission to write into {folder}"))
    if job.output is not None:
        if not claims.take(job.output):
            return replace(step, outcome=_elsewhere(job, "another process is making it"))
        if (already := _already(job, settings, step.was_absent)) is not None:  # it was made while we asked
            return replace(step, outcome=already)
    if job.from_stdin:
        data = _read_stream(stdin, settings.max_bytes)
        source = fingerprint(data)
        own, name = suffix_of(data) or FALLBACK_SUFFIX, "standard input"
        image, count = _first_page(data, name, settings)
    else:
        data, own, source = b"", job.input.suffix, fingerprint(job.input)
        image, count = read_input(job.input, settings)
    _check_output_size(image.width, image.height, settings)
    named = None if job.output is None else job.output.suffix
    stack = None if count == 1 else data or job.input
    return replace(step, image=None if stack else image, stack=stack, suffix=named or job.suffix or own, source=source)


def read_input(path: Path, settings: Settings) -> tuple[Image, int]:
    """Decode a file within the limits: its picture, or the first of how many. Raises ImageError, TooLarge for what is beyond them."""
    if (why := unfit(path)) is not None:
        raise ImageError(why)
    size = os.stat(path).st_size
    if settings.max_bytes is not None and size > settings.max_bytes:
        raise TooLarge(f"{size} bytes, more than {settings.max_bytes}", settings.max_bytes, "max_bytes")
    return twice(partial(_first_page, path, str(path), settings))


def _first_page(source: Path | bytes, name: str, settings: Settings) -> tuple[Image, int]:
    _check_promised_size(source, settings)
    # Of damaged pictures `read_image` may take what there is.
    with suppress(Damaged), open_stack(source, settings.max_pixels, name) as stack:
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
        _check_output_size(width, height, settings)


def _check_output_size(width: int, height: int, settings: Settings) -> None:
    width, height = enlarged(width, settings.scale), enlarged(height, settings.scale)
    limit = settings.max_output_pixels
    if limit is not None and width * height > limit:
        raise TooLarge(f"the output would be {width}x{height}, more than {limit} pixels", limit, "max_output_pixels")


def _elsewhere(job: Job, why: str) -> Outcome:
    return Outcome(job.name, str(job.output), "skipped", error=why)


def _already(job: Job, settings: Settings, was_absent: bool = False) -> Outcome | None:
    """The outcome of a job whose output is there, if it is not to be replaced. Never is an input replaced.

    ``was_absent``: when the run began, so that another process has written it since.
    """
    if job.output is None or not os.path.lexists(job.output):
        return None
    if settings.existing == "skip":
        return Outcome(job.name, str(job.output), "skipped")
    if job.overwrites is not None:
        return _failed(
            job, f"{job.output} is the input {job.overwrites}, and no input is overwritten; name another output", "output"
        )
    if job.output.is_dir():
        return _failed(job, f"{job.output} is a folder, and should be the output; name another", "output")
    if settings.existing == "overwrite":
        return None
    if was_absent:
        return _elsewhere(job, "another process has made it since this one began")
    return _failed(job, f"{job.output} exists; choose to overwrite or to skip it", "overwrite", "skip_existing")


def _unwritable(job: Job) -> Path | None:
    """The folder that the output should go into and may not, asked before anything is computed."""
    if job.output is None:
        return None
    folder = next((parent for parent in job.output.absolute().parents if parent.exists()), None)
    return None if folder is None or not folder.is_dir() or os.access(folder, os.W_OK | os.X_OK) else folder


def _enlarged(step: _Step, enlarge: Enlarge, settings: Settings, stdout: IO[bytes] | None) -> _Step:
    if step.stack is None:
        return step if step.image is None else replace(step, image=enlarge(step.image))
    job = step.job
    with open_stack(step.stack, settings.max_pixels, job.name) as stack, _place(job, stdout) as stream:
        last = enlarge_stack(stack, stream, enlarge, settings.measure, step.suffix, settings.metadata, step.source)
        # Again: another process may have written it while we computed.
        if (already := _already(job, settings)) is not None:
            raise _There(already)
        return replace(step, stack=None, outcome=_done(job, last, stack.count))


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


def _stored(step: _Step, settings: Settings, stdout: IO[bytes] | None) -> _Step:
    job, image = step.job, step.image
    if image is None:
        return step
    # Again: another process may have written it while we computed.
    if (already := _already(job, settings)) is not None:
        return replace(step, image=None, outcome=already)
    data, notices = encode_with_notices(image, step.suffix, settings.quality, settings.metadata, step.source)
    if job.output is not None:
        _put(job.output, data)
    elif stdout is not None:
        _send(stdout, data)
    return replace(step, image=None, outcome=_done(job, image.noted(*notices)))


def _done(job: Job, image: Image, pages: int = 1) -> Outcome:
    target = STDOUT if job.output is None else str(job.output)
    values = None if image.values is None else (image.values.low, image.values.high)
    done = Outcome(job.name, target, "done", image.width, image.height, pages=pages, error=image.damage)
    return replace(done, notices=image.notices, range=values, remarks=image.remarks)


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
