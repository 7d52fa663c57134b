"""`superscale upscale --dry-run`: estimates for every job. Inputs are decoded, so damaged ones show; nothing is written."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from superscale.cli.progress import duration, explained, say, shown, with_flags
from superscale.errors import ImageError
from superscale.image.scene import Scene
from superscale.inference.estimate import Estimate, estimate, seconds_per_pixel
from superscale.inference.jobs import before_reading, check_output_size, read_input
from superscale.inference.outcomes import Settings
from superscale.inference.plan import STDOUT, Job
from superscale.inference.scenes import Windows
from superscale.inference.upscaler import Upscaler
from superscale.video.jobs import Clips, is_video
from superscale.video.options import ClipOptions

MEGABYTE = 1_000_000


def dry_run(jobs: list[Job], upscaler: Upscaler, settings: Settings, as_json: bool, clips: ClipOptions) -> None:
    """Print one line per job and the totals, or JSON. Exits with 1 if an input cannot be read."""
    paces: dict[str, float] = {}
    entries: list[dict[str, Any]] = []
    estimates: list[Estimate] = []
    for job in jobs:
        target = STDOUT if job.output is None else str(job.output)
        if (outcome := before_reading(job, settings)) is not None:
            fails = outcome.status == "failed"
            why = with_flags(outcome.error or f"{target} exists", outcome.settings)
            say(f"would {'fail' if fails else 'be skipped'}: {shown(job.name)}: {shown(why)}")
            entries.append({"input": job.name, "output": None, "error": why, "failed": fails})
            continue
        try:
            taken = _estimated(job, upscaler, settings, paces, clips)
        except ImageError as error:
            why = explained(error).removeprefix(f"{job.name}: ")
            say(f"would fail: {shown(job.name)}: {shown(why)}")
            entries.append({"input": job.name, "output": None, "error": why, "failed": True})
            continue
        estimates += [taken] if taken else []
        sizes = {**asdict(taken), "seconds": round(taken.seconds, 3)} if taken else {}
        entries.append({"input": job.name, "output": target, **sizes, "error": None, "failed": False})
        if not as_json:
            print(f"{shown(job.name)} -> {shown(target)}  {_line(taken)}")
    failed = sum(entry.pop("failed") for entry in entries)
    seconds = sum((one.seconds for one in estimates), 0.0)
    memory_bytes = max((one.memory_bytes for one in estimates), default=0)
    if as_json:
        print(json.dumps({"version": 1, "jobs": entries, "seconds": round(seconds, 1), "memory_bytes": memory_bytes}))
    else:
        images = f"{len(jobs)} image{'s' if len(jobs) != 1 else ''}"
        say(f"{images}, about {duration(seconds)} and {memory_bytes / MEGABYTE:.0f} MB; {failed} would fail")
    if failed:
        raise SystemExit(1)


def _estimated(
    job: Job, upscaler: Upscaler, settings: Settings, paces: dict[str, float], clips: ClipOptions
) -> Estimate | None:
    # Standard input can be read only once, so it is left for the real run.
    if job.from_stdin:
        return None
    if is_video(job):
        return _clip_estimated(job, upscaler.for_damaged(), settings, paces, clips)
    if Windows(upscaler).wanted(job, settings):
        with Scene(job.input) as scene:
            return estimate(scene.header, upscaler, _pace(upscaler, paces), by_windows=True)
    image, pages = read_input(job.input, settings)
    check_output_size(image.width, image.height, settings, job.suffix if job.output is None else job.output.suffix)
    upscaler = upscaler.settled(image)
    one = estimate(image, upscaler, _pace(upscaler, paces))
    return replace(one, tiles=one.tiles * pages, seconds=one.seconds * pages)


def _pace(upscaler: Upscaler, paces: dict[str, float]) -> float:
    """The seconds that a model takes for a pixel, measured once."""
    name = upscaler.model.name
    if name not in paces:
        paces[name] = seconds_per_pixel(upscaler)
    return paces[name]


def _clip_estimated(job: Job, upscaler: Upscaler, settings: Settings, paces: dict[str, float], clips: ClipOptions) -> Estimate:
    """Of all frames of a video that are asked for, moving ones."""
    Clips(upscaler, clips, Windows(upscaler)).wanted(job, settings)
    from superscale.video.upscaling import estimated, planned

    assert job.output is not None
    one = estimated(upscaler, planned(upscaler, job.input, job.output.suffix.lower(), clips), _pace(upscaler, paces))
    check_output_size(one.width, one.height, settings)
    return one


def _line(taken: Estimate | None) -> str:
    if taken is None:
        return "size unknown until it is read"
    return (
        f"{taken.width}x{taken.height} to {taken.output_width}x{taken.output_height}, tiles: {taken.tiles}, "
        f"about {taken.memory_bytes / MEGABYTE:.0f} MB and {duration(taken.seconds)}"
    )
