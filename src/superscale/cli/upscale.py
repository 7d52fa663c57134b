"""`superscale upscale`."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from superscale.cli.progress import Report, bar, say
from superscale.errors import Cancelled, ModelError, UsageError
from superscale.options import UpscaleOptions

if TYPE_CHECKING:
    from superscale.inference.jobs import Settings
    from superscale.inference.plan import Job
    from superscale.inference.upscaler import Upscaler

INPUTS = "Pictures, folders, quoted globs ('**' too), @list.txt (a path a line), or - for standard input."
OUTPUT = "A file, a folder, - for standard output, or a template with {stem} {name} {ext} {scale} {model} {parent}."
CONSISTENT = "Back-project: the output, reduced again, gives back the input."
TTA = "Self-ensemble: the mean over eight orientations, at eight times the cost."
FIDELITY = "0: most detail (the GAN) to 1: most faithful (its PSNR-oriented partner)."


def upscale(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=INPUTS)],
    output: Annotated[str | None, typer.Option("-o", "--output", help=OUTPUT)] = None,
    model: Annotated[str | None, typer.Option(help="A bundled model's name or a model file.")] = None,
    fidelity: Annotated[float | None, typer.Option(metavar="0..1", help=FIDELITY)] = None,
    scale: Annotated[float | None, typer.Option(help="Any factor; default: the model's own.")] = None,
    tile: Annotated[str, typer.Option(help="Tile side in input pixels, 'auto', or 0 for the whole picture.")] = "auto",
    overlap: Annotated[str, typer.Option(help="Pixels a tile sees around itself, or 'auto'.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")] = "auto",
    consistent: Annotated[bool, typer.Option("--consistent", help=CONSISTENT)] = False,
    tta: Annotated[bool, typer.Option("--tta", help=TTA)] = False,
    form: Annotated[str | None, typer.Option("--format", help="png, jpg, webp or tiff; default: as the input.")] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    metadata: Annotated[str, typer.Option(help="keep or strip EXIF, XMP and text; the colour profile stays.")] = "keep",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist.")] = False,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse inputs of more pixels.")] = 64_000_000,
    max_output_pixels: Annotated[int, typer.Option(min=1, help="Refuse outputs of more pixels.")] = 1_100_000_000,
    max_bytes: Annotated[int, typer.Option(min=1, help="Refuse input files of more bytes.")] = 1_000_000_000,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    failed_list: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what failed here, for @FILE.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say sizes, tiles, memory and time; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say which model, device and tiles are used.")] = False,
) -> None:
    """Enlarge pictures; each goes beside its input as {stem}_x{scale}{ext} unless -o says where."""
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")
    if metadata not in ("keep", "strip"):
        raise UsageError(f"--metadata must be keep or strip, got {metadata!r}")
    if failed_list is not None and failed_list.exists() and str(failed_list) in inputs:
        raise UsageError(f"--failed-list {failed_list} is one of the inputs; name another file")
    options = UpscaleOptions(
        scale=scale,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        tile=_number("--tile", tile),
        overlap=_number("--overlap", overlap),
        consistent=consistent,
        tta=tta,
    )
    suffix = _suffix(form)

    from superscale.inference.jobs import Settings

    upscaler = _upscaler(model, fidelity, options, verbose)
    jobs = _planned(inputs, output, upscaler, suffix, as_json and not dry_run)
    settings = Settings(
        scale=upscaler.scale,
        existing="overwrite" if overwrite else "skip" if skip_existing else "refuse",
        quality=quality,
        metadata=metadata,  # type: ignore[arg-type]
        max_pixels=max_pixels,
        max_output_pixels=max_output_pixels,
        max_bytes=max_bytes,
        fail_fast=fail_fast,
    )
    if dry_run:
        from superscale.cli.dry_run import dry_run as describe

        describe(jobs, upscaler, settings, as_json)
    else:
        _run(jobs, upscaler, settings, Report([job.again for job in jobs], as_json, quiet, failed_list))


def _upscaler(model: str | None, fidelity: float | None, options: UpscaleOptions, verbose: bool) -> Upscaler:
    from superscale.inference.upscaler import Upscaler
    from superscale.machine.device import pick_device
    from superscale.weights.store import default_model

    place = pick_device(options.device).type
    try:
        named = model or default_model(place)
    except ModelError as error:
        raise ModelError(f"{error} with --model FILE") from error
    if fidelity is None:
        upscaler = Upscaler.with_options(named, options)
    else:
        from superscale.weights.blend import with_fidelity

        upscaler = Upscaler.with_options(with_fidelity(named, fidelity), options)
    if verbose:
        engine = upscaler.engine
        chosen = f" (auto: {engine.free_bytes / 1e9:.1f} GB are free)" if engine.shrinks_tiles else ""
        why = "" if model else f" (the best-looking that is fast enough on {place}; --model names another)"
        say(
            f"model {upscaler.model.name}{why}, device {engine.backend.device}, scale {upscaler.scale:g}, "
            f"tile {engine.tile_px} px{chosen}, overlap {engine.overlap_px} px "
            f"(the network sees {upscaler.contract.receptive_field_px} px far)"
        )
    return upscaler


def _planned(inputs: list[str], output: str | None, upscaler: Upscaler, suffix: str | None, as_json: bool) -> list[Job]:
    from superscale.inference.inputs import expand
    from superscale.inference.plan import plan_jobs

    stdin: IO[bytes] | None = getattr(sys.stdin, "buffer", None)  # None where it was closed
    found = expand(inputs, read_list=stdin.read if stdin is not None else None)
    if any(one.from_stdin for one in found) and ("@-" in inputs or stdin is None or sys.stdin.isatty()):
        raise UsageError("- expects a picture on standard input: superscale upscale - < photo.png > bigger.png")
    jobs = plan_jobs(found, output, scale=upscaler.scale, model=upscaler.model.name, suffix=suffix)
    if any(job.output is None and job.verdict is None for job in jobs):
        if as_json:
            raise UsageError("the picture and --json cannot both go to standard output; name a file with -o")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal; send it to a file or a program, or name a file with -o")
    return jobs


def _run(jobs: list[Job], upscaler: Upscaler, settings: Settings, report: Report) -> None:
    from superscale.inference.jobs import run_jobs

    code = 0
    streams = getattr(sys.stdin, "buffer", None), getattr(sys.stdout, "buffer", None)
    with bar(len(jobs), report.quiet) as shown_bar:
        enlarge = upscaler.enlarge if shown_bar is None else partial(upscaler.enlarge, progress=shown_bar.tile)
        try:
            with closing(run_jobs(jobs, enlarge, settings, *streams)) as outcomes:
                for outcome in outcomes:
                    report.add(outcome)
                    if shown_bar is not None:
                        shown_bar.next()
        except (KeyboardInterrupt, Cancelled):
            code = 130
        except SystemExit as stop:  # SIGTERM
            code = int(stop.code or 0)
    code = report.end(code)
    if code:
        raise SystemExit(code)


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
