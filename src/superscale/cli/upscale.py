"""`superscale upscale`."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from superscale.cli.completion import model_names
from superscale.cli.counts import is_count, pixels
from superscale.cli.effect import CLUSTER, PICTURE, STORE, VIDEO, refuse
from superscale.cli.progress import Bar, FrameWatch, Report, bar, say, shown
from superscale.cli.remote import HERE, ON, PRICE, SHARE, WORKERS, cluster_of, remote_of, upscale_remote
from superscale.cli.streams import binary
from superscale.errors import Cancelled, ModelError, UsageError
from superscale.options import Scale, TargetSize, UpscaleOptions

if TYPE_CHECKING:
    from superscale.inference.inputs import Found
    from superscale.inference.outcomes import Outcome, Settings
    from superscale.inference.plan import Job
    from superscale.inference.upscaler import Upscaler
    from superscale.machine.ray_pool import Cluster
    from superscale.video.options import ClipOptions

INPUTS = "Images, videos, folders, quoted globs (also '**'), @list.txt (one path per line), s3://bucket/prefix/, or - for standard input."
OUTPUT = (
    "File, folder, s3://bucket/prefix/, - for standard output, or a template with {stem} {name} {ext} {scale} {model} {parent}."
)
ENDPOINT = "The server of s3:// or gs:// addresses, where it is not AWS or Google."
MODEL = "A model's name (see: superscale models list), or a model file. Default: auto, by what is in each image."
LIMITS = ("max_pixels", "max_output_pixels", "max_bytes")
RANGE = "The values of black and white: auto, full (of the type), LOW:HIGH, or percentiles such as p1:p99."
BANDS = "Bands upscaled together as RGB, the others one by one: auto, all (each by itself), rgb+rest, or three as 4,3,2."
FIT = "Or the box it just fits into, upright or not: hd, fullhd, 4k, 8k or such as 1920x1200."
CODEC = "Video: h264, hevc, av1, vp9, ffv1 or prores. Default: the input's."
STILL = "Video: a tile that changed by no more than so many of 255 levels is not computed again. Default: 0."
STEADY = "Video: against flicker, the share of the frame before, moved along, in each. Default: 0."
SAMPLE = "Video: only so many seconds, from --start or the middle, with bicubic at the left, as NAME_sample."
KEEP_PARTIAL = "Video: when stopped, make what is done a playable NAME.partial; removed when all is done."
CONSISTENT = "Back-projection: downscaling the output gives back the input."

NAMED = typer.Option("-m", "--model", metavar="NAME|FILE", help=MODEL, autocompletion=model_names)


def upscale(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help=INPUTS)],
    output: Annotated[str | None, typer.Option("-o", "--output", help=OUTPUT)] = None,
    model: Annotated[str | None, NAMED] = None,
    fidelity: Annotated[float | None, typer.Option(metavar="0..1", help="0: the GAN, to 1: its PSNR-oriented partner.")] = None,
    scale: Annotated[str | None, typer.Option("-s", "--scale", metavar="X", help="Any factor. Default: the model's.")] = None,
    width: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Width of the output in pixels, instead of --scale.")
    ] = None,
    height: Annotated[int | None, typer.Option(metavar="N", min=1, help="Or its height.")] = None,
    long_side: Annotated[int | None, typer.Option(metavar="N", min=1, help="Or its longer side.")] = None,
    fit: Annotated[str | None, typer.Option(metavar="BOX", help=FIT)] = None,
    tile: Annotated[str, typer.Option(metavar="auto|N", help="Tile side in input pixels; 0: the whole image.")] = "auto",
    overlap: Annotated[str, typer.Option(metavar="auto|N", help="Input pixels added around each tile.")] = "auto",
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="TYPE", help="auto, fp32, fp16 or bf16.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, torch, onnx or openvino.")] = "auto",
    consistent: Annotated[bool, typer.Option("--consistent", help=CONSISTENT)] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Self-ensemble of eight orientations: slower, more accurate.")] = False,
    values: Annotated[str, typer.Option("--range", metavar="RANGE", help=RANGE)] = "auto",
    bands: Annotated[str, typer.Option(metavar="BANDS", help=BANDS)] = "auto",
    form: Annotated[
        str | None, typer.Option("-f", "--format", metavar="FORMAT", help="png, jpg, webp, tiff or dcm. Default: the input's.")
    ] = None,
    quality: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="JPEG and WebP quality.")] = 95,
    metadata: Annotated[str, typer.Option(metavar="keep|strip", help="EXIF, XMP, text, and a patient's identity.")] = "keep",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Skip inputs whose output exists.")] = False,
    max_pixels: Annotated[int, typer.Option(metavar="N", min=1, help="Largest input, in pixels.")] = 64_000_000,
    max_output_pixels: Annotated[int, typer.Option(metavar="N", min=1, help="Largest output, in pixels.")] = 1_100_000_000,
    max_bytes: Annotated[int, typer.Option(metavar="N", min=1, help="Largest input file, in bytes.")] = 1_000_000_000,
    lenient: Annotated[bool, typer.Option("--lenient", help="Take what there is of a damaged image; exit code 1.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    failed_list: Annotated[Path | None, typer.Option(metavar="FILE", help="List failed inputs here, for @FILE.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(metavar="URL", help=ENDPOINT)] = None,
    requester_pays: Annotated[
        bool, typer.Option("--requester-pays", help="Pay for reading buckets of others (s3://, gs://).")
    ] = False,
    on: Annotated[str, ON] = HERE,
    share: Annotated[float, SHARE] = 1.0,
    workers: Annotated[int | None, WORKERS] = None,
    price: Annotated[float | None, PRICE] = None,
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Print sizes, tiles, memory and time; write nothing.")
    ] = False,
    codec: Annotated[str | None, typer.Option(metavar="NAME", help=CODEC)] = None,
    crf: Annotated[float | None, typer.Option(metavar="N", help="Video: quality of the encoder, smaller is better.")] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="Video: speed of the encoder, as it calls it.")] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Video: from here on, in seconds or as 1:02:03.")] = None,
    duration: Annotated[str | None, typer.Option(metavar="TIME", help="Video: only for so long.")] = None,
    sample: Annotated[float | None, typer.Option(metavar="SECONDS", help=SAMPLE)] = None,
    still_tolerance: Annotated[float, typer.Option(metavar="LEVELS", help=STILL)] = 0,
    steady: Annotated[float, typer.Option(metavar="0..1", help=STEADY)] = 0,
    keep_partial: Annotated[bool, typer.Option("--keep-partial", help=KEEP_PARTIAL)] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON; before them, a line for each second of a video.")
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print the model, device and tile size.")] = False,
) -> None:
    """Upscale images.

    \b
    superscale upscale photo.jpg                      write photo_x4.jpg
    superscale upscale photos/ -o upscaled/           a folder
    superscale upscale photo.png -s 3 -f webp         another scale and format
    superscale upscale photo.jpg -m srresnet-x4 -n    only say what would be done
    superscale upscale - < photo.png > upscaled.png
    superscale upscale s3://bucket/in/ -o s3://bucket/out/
    superscale upscale clip.mp4 --sample 5            a video: a sample first
    """
    _check(inputs, model, metadata, failed_list, overwrite and skip_existing)
    how: Any = {"device": device, "precision": precision, "backend": backend, "consistent": consistent, "tta": tta}
    how |= {"value_range": _value_range(values), "bands": _bands(bands), "scale": _scale(scale, width, height, long_side, fit)}
    clips = _clip_options(
        start, duration, codec=codec, crf=crf, preset=preset, sample=sample, still_tolerance=still_tolerance, steady=steady
    )
    options = UpscaleOptions(**how, tile=pixels("--tile", tile), overlap=pixels("--overlap", overlap))
    suffix = _suffix(form)
    cluster = cluster_of(on, share, workers)
    remote = remote_of(inputs, output, endpoint_url, requester_pays, cluster, price)
    found = [] if remote else _found(inputs, early=not as_json and failed_list is None)
    upscaler = _upscaler(model, fidelity, options, verbose, by_image=remote is None)
    jobs = [] if remote else _planned(found, output, upscaler, suffix, as_json and not dry_run, quiet)
    _check_effect(context, inputs, jobs, on, remote is not None)
    if cluster and not remote:
        _check_scenes(jobs)
    if sample is not None:
        jobs = [_sampled(job, output) for job in jobs]
    from superscale.image.formats import counted
    from superscale.inference.outcomes import Settings

    settings = Settings(
        scale=upscaler.scale,
        existing="overwrite" if overwrite else "skip" if skip_existing else "refuse",
        quality=quality,
        metadata=metadata,  # type: ignore[arg-type]
        max_pixels=max_pixels,
        max_output_pixels=max_output_pixels,
        max_bytes=max_bytes,
        fail_fast=fail_fast,
        lenient=lenient,
        limits_given=frozenset(name for name in LIMITS if _is_given(context, name)),
        measure=upscaler.measure,
    )
    if remote:
        report = Report(None, as_json, quiet, failed_list, verbose, model=upscaler.model.name, retry=_given(context))
        upscale_remote(remote, upscaler, settings, report, model, fidelity, suffix, no_progress, dry_run)
    elif dry_run:
        from superscale.cli.dry_run import dry_run as describe

        describe(jobs, upscaler, settings, as_json, clips)
    else:
        passed_over = counted(one.path for one in found if one.is_passed_over)
        report = Report([job.again for job in jobs], as_json, quiet, failed_list, verbose, passed_over)
        report = replace(report, model=upscaler.model.name, retry=_given(context))
        _run(jobs, upscaler, settings, report, no_progress, clips, keep_partial, cluster)


def _check(inputs: list[str], model: str | None, metadata: str, failed_list: Path | None, contradicts: bool) -> None:
    """Refuse what needs no reading to be refused, before anything heavy is loaded."""
    if contradicts:
        raise UsageError("--overwrite and --skip-existing exclude each other")
    if metadata not in ("keep", "strip"):
        raise UsageError(f"--metadata must be keep or strip, got {metadata!r}")
    if failed_list is not None:
        from superscale.files import require_writable

        if failed_list.exists() and str(failed_list) in inputs:
            raise UsageError(f"--failed-list {failed_list} is one of the inputs; name another file")
        require_writable(failed_list)
    if model is not None:
        from superscale.weights.store import AUTO, model_path

        if model != AUTO:
            model_path(model)


def _check_effect(context: typer.Context, inputs: list[str], jobs: list[Job], on: str, remote: bool) -> None:
    """Refuse options that would do nothing. A folder or a list may hold videos the next time: there they do no harm."""
    from superscale.video.jobs import is_video

    if on == HERE:
        refuse(context, CLUSTER, "for the workers of --on ray only")
    if not remote:
        refuse(context, STORE, "for pictures in an object store only (s3://, gs://, az://)")
    if not all(Path(given).is_file() for given in inputs):
        return
    if not any(is_video(job) for job in jobs):
        refuse(context, VIDEO, f"for videos only, got {inputs[0]}")
    if jobs and all(is_video(job) for job in jobs):
        refuse(context, PICTURE, f"for pictures only, got {inputs[0]}; a video has --codec, --crf and -o NAME.mkv")


def _upscaler(
    model: str | None, fidelity: float | None, options: UpscaleOptions, verbose: bool, by_image: bool = True
) -> Upscaler:
    """``by_image``: where no model is named, each image chooses one; else all of them get the default."""
    from superscale.inference.backends.choice import device_name
    from superscale.inference.sizes import label
    from superscale.inference.upscaler import Upscaler
    from superscale.weights.store import AUTO, DAMAGED_DEFAULT, default_model

    model = None if model == AUTO else model
    place = device_name(options.device).partition(":")[0]
    try:
        default = default_model(place)
    except ModelError as error:
        if model is None:
            raise ModelError(f"{error} with --model FILE") from error
    upscaler = Upscaler.with_options(model if by_image else model or default, options, fidelity)
    if verbose:
        engine = upscaler.engine
        chosen = f" (auto: {engine.free_bytes / 1e9:.1f} GB are free)" if engine.shrinks_tiles else ""
        others = f"; {DAMAGED_DEFAULT} for JPEG blocks, noise and videos" if upscaler.others is not None else ""
        why = "" if model else f" (the best-looking that is fast enough on {place}{others}; --model names another)"
        say(
            f"model {upscaler.model.name}{why}, device {engine.backend.device}, backend {engine.backend.name}"
            f"{' to begin with' if options.backend == 'auto' else ''}, size {label(upscaler.scale)}, "
            f"tile {engine.tile_px} px{chosen}, overlap {engine.overlap_px} px "
            f"(the network sees {upscaler.contract.receptive_field_px} px far)"
        )
    return upscaler


def _found(inputs: list[str], early: bool) -> list[Found]:
    """What the inputs are. ``early``: end here, before anything heavy is loaded, where none can be read."""
    from superscale.inference.inputs import MOST_LIST_BYTES, expand

    stdin: IO[bytes] | None = binary(sys.stdin)
    found = expand(inputs, read_list=None if stdin is None else lambda: stdin.read(MOST_LIST_BYTES + 1))
    if any(one.from_stdin for one in found) and ("@-" in inputs or stdin is None or sys.stdin.isatty()):
        raise UsageError("- expects a picture on standard input: superscale upscale - < photo.png > bigger.png")
    if early and found and all(one.is_failure for one in found):
        for one in found:
            say(f"failed: {shown(one.path)}: {one.unfit}")
        raise SystemExit(1)
    return found


def _planned(
    found: list[Found], output: str | None, upscaler: Upscaler, suffix: str | None, as_json: bool, quiet: bool
) -> list[Job]:
    from superscale.inference.plan import plan_jobs
    from superscale.weights.store import AUTO

    left: list[Path] = []
    model = upscaler.model.name if upscaler.others is None else AUTO  # which one it is, each image tells
    jobs = plan_jobs(found, output, scale=upscaler.scale, model=model, suffix=suffix, left_out=left)
    if left and not quiet:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        say(f"left out: {shown(left[0])}{more}, made by superscale of other inputs; to enlarge them too, name them")
    if any(job.output is None and job.verdict is None for job in jobs):
        if as_json:
            raise UsageError("the picture and --json cannot both go to standard output; name a file with -o")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal; send it to a file or a program, or name a file with -o")
    return jobs


def _check_scenes(jobs: list[Job]) -> None:
    """Refuse what workers do not share."""
    from superscale.image.formats import SUFFIXES

    for job in jobs:
        ends = {path.suffix.lower() for path in (job.input, job.output) if path is not None and job.verdict is None}
        if any(SUFFIXES.get(end) != "TIFF" for end in ends):
            raise UsageError(f"{job.name}: --on ray takes TIFFs that become TIFFs, and pictures in an object store (s3://)")


def _run(
    jobs: list[Job],
    upscaler: Upscaler,
    settings: Settings,
    report: Report,
    no_progress: bool,
    clips: ClipOptions,
    keep_partial: bool,
    cluster: Cluster | None,
) -> None:
    from superscale.inference.jobs import run_jobs
    from superscale.inference.scenes import Windows
    from superscale.video.jobs import Clips

    code = 0
    unsaid: list[Outcome] = []
    standard = binary(sys.stdin), binary(sys.stdout)
    with bar(len(jobs), report.quiet or no_progress, report.model) as shown_bar:
        if shown_bar is not None:
            settings = replace(settings, began=partial(_begin, shown_bar, upscaler))
        progress = None if shown_bar is None else shown_bar.tile
        windows = Windows(upscaler, progress, say if report.verbose else None, cluster)
        frames = FrameWatch(shown_bar, report.as_json and not report.quiet)
        windows_or_video = Clips(upscaler, clips, windows, frames, None if report.quiet else say, keep_partial)
        try:
            enlarge = partial(upscaler.enlarge, progress=progress)
            settings = replace(settings, settled=lambda page: partial(upscaler.settled(page).enlarge, progress=progress))
            with closing(run_jobs(jobs, enlarge, settings, *standard, windows_or_video, unsaid)) as outcomes:
                for outcome in outcomes:
                    report.add(outcome)
                    if shown_bar is not None:
                        shown_bar.next((outcome.width or 0) * (outcome.height or 0))
        except (KeyboardInterrupt, Cancelled):
            code = 130
        except SystemExit as stop:  # SIGTERM
            code = int(stop.code or 0)
        for outcome in unsaid:
            report.add(outcome)
    if code := report.end(code, upscaler.computed_by()):
        raise SystemExit(code)


def _begin(shown_bar: Bar, upscaler: Upscaler, job: Job, height: int, width: int) -> None:
    from superscale.inference.sizes import enlarged

    larger_height, larger_width = enlarged(height, width, upscaler.scale) if height else (0, 0)
    shown_bar.begin(job.name, f"{width}x{height} to {larger_width}x{larger_height}" if height else "by windows")


def _given(context: typer.Context) -> list[str]:
    """The options of this command line, but the list of failures."""
    given: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if parameter.param_type_name != "option" or name == "failed_list" or not _is_given(context, name):
            continue
        value = context.params[name]
        given += [parameter.opts[-1]] if value is True else [parameter.opts[-1], str(value)]
    return given


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _scale(scale: str | None, *sides: Any) -> Scale | None:
    """The factor, or the target size of which one option was given."""
    if sum(one is not None for one in (scale, *sides)) > 1:
        raise UsageError("--scale, --width, --height, --long-side and --fit exclude each other (--fit WxH bounds both sides)")
    if scale is None:
        return None if all(side is None for side in sides) else TargetSize(*sides)
    try:
        return float(scale.lower().strip("x"))
    except ValueError:
        raise UsageError(f"--scale must be a number such as 2 or 3.5, got {scale!r}") from None


def _clip_options(start: str | None, duration: str | None, **given: Any) -> ClipOptions:
    from superscale.video.options import ClipOptions, seconds

    times: dict[str, Any] = {
        name: seconds(text) for name, text in (("start", start), ("duration", duration)) if text is not None
    }
    return ClipOptions(**times, **given)


def _sampled(job: Job, named: str | None) -> Job:
    """A sample is not what the whole clip will be called, unless somebody said so."""
    from superscale.video.jobs import is_video

    if not is_video(job) or job.output is None:
        raise UsageError(f"--sample is for videos only, got {job.name}")
    if str(job.output) == named:
        return job
    return replace(job, output=job.output.with_stem(f"{job.output.stem}_sample"))


def _suffix(form: str | None) -> str | None:
    suffixes = {"png": ".png", "jpg": ".jpg", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff", "tif": ".tif", "dcm": ".dcm"}
    if form is not None and form.lower() not in suffixes:
        raise UsageError(f"--format must be png, jpg, webp, tiff or dcm, got {form!r}")
    return None if form is None else suffixes[form.lower()]


def _value_range(text: str) -> str | tuple[float, float]:
    if text in ("auto", "full") or text.startswith("p"):
        return text
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise UsageError(f"--range must be auto, full, LOW:HIGH or percentiles such as p1:p99, got {text!r}") from error
    return low, high


def _bands(text: str) -> Any:
    numbers = text.split(",")
    return tuple(map(int, numbers)) if all(map(is_count, numbers)) else text
