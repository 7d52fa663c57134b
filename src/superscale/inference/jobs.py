"""Many pictures: each is done, skipped or failed on its own, and none stops the rest unless asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from superscale.errors import Cancelled, SuperscaleError, UsageError
from superscale.image.io import MAX_PIXELS, QUALITY, SUFFIXES, Image, Metadata, list_images, read_image, write_image

Existing = Literal["refuse", "overwrite", "skip"]
Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Job:
    input: Path
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one job; ``width`` and ``height`` of the output, None if there is none; ``notices``: what had to be changed."""

    input: str
    output: str | None
    status: Status
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    error: str | None = None
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The keys that `upscale --json` promises."""
        return {key: value for key, value in asdict(self).items() if key != "notices"}


def scale_label(scale: float) -> str:
    """4 -> "x4", 2.5 -> "x2.5"."""
    return f"x{scale:g}"


def plan_jobs(inputs: Iterable[Path], output: Path | None, scale: float, suffix: str | None = None) -> list[Job]:
    """Where every input goes: ``{stem}_x{scale}{ext}`` beside it, into the folder ``output`` (a folder's tree kept), or to that file.

    ``ext`` is ``suffix``, or the input's own, or .png for a format that is only read.

    Raises UsageError when one output file is named for several inputs, or two inputs would share an output.
    """
    inputs = list(inputs)
    label = scale_label(scale)
    many = len(inputs) > 1 or any(path.is_dir() for path in inputs)
    into_folder = output is not None and (many or output.is_dir() or str(output).endswith("/"))
    if into_folder and output is not None and output.is_file():
        raise UsageError(f"{output} is a file; several pictures need a folder")
    if output is not None and output.suffix.lower() not in SUFFIXES and not into_folder:
        into_folder = True
    jobs: list[Job] = []
    for given in inputs:
        for path in _pictures(given, label):
            own = path.suffix if path.suffix.lower() in SUFFIXES else ".png"
            named = path.with_name(f"{path.stem}_{label}{suffix or own}")
            if output is None:
                target = named
            elif into_folder:
                target = output / (named.relative_to(given) if given.is_dir() else named.name)
            else:
                target = output
            jobs.append(Job(path, target))
    _refuse_collisions(jobs)
    return jobs


def _pictures(given: Path, label: str) -> Iterator[Path]:
    if not given.is_dir():
        yield given
        return
    found = list_images(given)
    stems = {path.with_suffix("") for path in found}
    for path in found:
        # Running on the same folder again must not enlarge what the last run wrote.
        own = path.stem.removesuffix(f"_{label}")
        if own == path.stem or path.with_name(own) not in stems:
            yield path


def _refuse_collisions(jobs: list[Job]) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.output in seen:
            raise UsageError(f"{seen[job.output]} and {job.input} would both be written to {job.output}; use another -o")
        seen[job.output] = job.input


def run_jobs(
    jobs: Iterable[Job],
    enlarge: Callable[[Image], Image],
    *,
    existing: Existing = "refuse",
    quality: int = QUALITY,
    max_pixels: int | None = MAX_PIXELS,
    fail_fast: bool = False,
    metadata: Metadata = "keep",
) -> Iterator[Outcome]:
    """Do the jobs one after another and say what became of each. An output is written whole or not at all."""
    for job in jobs:
        outcome = _run(job, enlarge, existing, quality, max_pixels, metadata)
        yield outcome
        if fail_fast and outcome.status == "failed":
            return


def _run(
    job: Job,
    enlarge: Callable[[Image], Image],
    existing: Existing,
    quality: int,
    max_pixels: int | None,
    metadata: Metadata,
) -> Outcome:
    began = time.monotonic()
    name, target = str(job.input), str(job.output)
    if job.output.exists() and existing == "skip":
        return Outcome(name, target, "skipped")
    if job.output.exists() and existing == "refuse":
        why = f"{job.output} exists; use --overwrite or --skip-existing"
        return Outcome(name, target, "failed", error=why)
    try:
        if job.output.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{job.output}: cannot write this format; expected one of {', '.join(SUFFIXES)}")
        enlarged = enlarge(read_image(job.input, max_pixels))
        notices = write_image(job.output, enlarged, quality, metadata)
    except Cancelled:
        raise
    except (SuperscaleError, OSError, MemoryError) as error:
        return Outcome(name, target, "failed", error=str(error))
    seconds = round(time.monotonic() - began, 3)
    return Outcome(name, target, "done", enlarged.width, enlarged.height, seconds, notices=notices)
