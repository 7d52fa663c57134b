"""`superscale upscale`."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from superscale.errors import UsageError


def upscale(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Pictures, or folders of pictures.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file, or a folder.")] = None,
    model: Annotated[str | None, typer.Option(help="A bundled model's name or a model file.")] = None,
    scale: Annotated[float | None, typer.Option(help="Any factor; default: the model's own.")] = None,
    tile: Annotated[str, typer.Option(help="Tile side in input pixels, 'auto', or 0 for the whole picture.")] = "auto",
    overlap: Annotated[str, typer.Option(help="Pixels a tile sees around itself, or 'auto'.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")] = "auto",
    form: Annotated[str | None, typer.Option("--format", help="png, jpg, webp or tiff; default: as the input.")] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    metadata: Annotated[str, typer.Option(help="keep or strip EXIF, XMP and text; the colour profile stays.")] = "keep",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist.")] = False,
    max_pixels: Annotated[int, typer.Option(help="Refuse inputs of more pixels.")] = 64_000_000,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say which model, device and tiles are used.")] = False,
) -> None:
    """Enlarge pictures; each goes beside its input as {stem}_x{scale}{ext} unless -o says where."""
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")
    if metadata not in ("keep", "strip"):
        raise UsageError(f"--metadata must be keep or strip, got {metadata!r}")
    suffix = _suffix(form)

    from superscale.inference.jobs import Outcome, plan_jobs, run_jobs
    from superscale.inference.upscaler import Upscaler

    upscaler = Upscaler(
        model,
        scale=scale,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        tile=_number("--tile", tile),
        overlap=_number("--overlap", overlap),
    )
    if verbose:
        _say(
            f"model {upscaler.model.name}, device {upscaler.backend.device}, scale {upscaler.scale:g}, "
            f"tile {upscaler.tile_px} px, overlap {upscaler.overlap_px} px"
        )
    jobs = plan_jobs(inputs, output, upscaler.scale, suffix)
    if not jobs:
        raise UsageError(f"no pictures in {', '.join(map(str, inputs))}")
    if dry_run:
        for job in jobs:
            print(f"{job.input} -> {job.output}")
        return
    existing = "overwrite" if overwrite else "skip" if skip_existing else "refuse"
    outcomes: list[Outcome] = []
    with _bar(len(jobs), quiet) as bar:
        if bar is not None:
            upscaler.progress = bar.tile
        for outcome in run_jobs(
            jobs,
            upscaler.enlarge,
            existing=existing,  # type: ignore[arg-type]
            quality=quality,
            max_pixels=max_pixels,
            fail_fast=fail_fast,
            metadata=metadata,  # type: ignore[arg-type]
        ):
            outcomes.append(outcome)
            if bar is not None:
                bar.next()
            if outcome.status == "failed":
                _say(f"failed: {outcome.input}: {_without_name(outcome.error, outcome.input)}")
            elif not quiet and not as_json:
                _say(f"{outcome.status}: {outcome.output}")
            if not quiet:
                for notice in outcome.notices:
                    _say(f"note: {outcome.input}: {notice}")
    counts = {status: sum(one.status == status for one in outcomes) for status in ("done", "skipped", "failed")}
    if as_json:
        print(json.dumps({"version": 1, "results": [one.to_dict() for one in outcomes], **counts}))
    if len(jobs) > 1 and not quiet:
        _say(f"{counts['done']} done, {counts['skipped']} skipped, {counts['failed']} failed of {len(jobs)}")
    if counts["failed"]:
        raise SystemExit(1)


def _without_name(error: str | None, name: str) -> str:
    return (error or "").removeprefix(f"{name}: ")


def _suffix(form: str | None) -> str | None:
    if form is None:
        return None
    suffixes = {"png": ".png", "jpg": ".jpg", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff", "tif": ".tif"}
    if form.lower() not in suffixes:
        raise UsageError(f"--format must be png, jpg, webp or tiff, got {form!r}")
    return suffixes[form.lower()]


def _number(option: str, text: str) -> Any:
    if text == "auto":
        return text
    if not text.isdecimal():
        raise UsageError(f"{option} must be 'auto' or a number of pixels, got {text!r}")
    return int(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


class _Bar:
    """A progress bar on stderr: pictures, and within one its tiles."""

    def __init__(self, pictures: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True)
        self.task = self.progress.add_task("upscaling", total=pictures)
        self.done = 0

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def tile(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=self.done + done / total)

    def next(self) -> None:
        self.done += 1
        self.progress.update(self.task, completed=self.done)


def _bar(pictures: int, quiet: bool) -> Any:
    return _Bar(pictures) if sys.stderr.isatty() and not quiet else nullcontext()
