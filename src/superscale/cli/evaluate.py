"""`superscale evaluate`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superscale.cli.completion import measured_names
from superscale.cli.effect import CLUSTER, refuse
from superscale.cli.remote import HERE, ON, SHARE, WORKERS, cluster_of
from superscale.errors import DataError, ModelError, SuperscaleError, UsageError

if TYPE_CHECKING:
    from superscale.data.pairs import PairFolder
    from superscale.evaluation.table import Table

NAMED = typer.Option(
    "-m", "--model", metavar="NAME|FILE", help="A model, bicubic or bilinear; repeatable.", autocompletion=measured_names
)


def evaluate(
    context: typer.Context,
    data: Annotated[
        list[Path], typer.Option(metavar="DIR", help="High-resolution images, HR/ with LR_x4/, or a video; repeatable.")
    ],
    model: Annotated[list[str] | None, NAMED] = None,
    outputs: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Finished outputs of another tool; repeatable.")
    ] = None,
    scale: Annotated[int, typer.Option("-s", "--scale", metavar="N", min=1, help="Reduction of the images.")] = 4,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: psnr, ssim, ms-ssim, lr-psnr, delta-e, grid, grain, mesh, features, lpips-alex, lpips-vgg, lpips-squeeze, "
            "dists, niqe, and of the frames of a clip warping, flicker; default: psnr,ssim, of clips also the last two, with -o also niqe "
            "where the pictures are large enough.",
        ),
    ] = None,
    color: Annotated[str, typer.Option(metavar="y|rgb", help="Measured on luma, as the papers do, or on RGB.")] = "y",
    border: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Pixels cut off each side. Default: the scale.")
    ] = None,
    lr_convention: Annotated[str, typer.Option(metavar="double|uint8", help="Rounding of the bicubic reduction.")] = "double",
    peak: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The value of white, e.g. 4095 for 12 bits in 16. Default: the largest of each file's type.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or mps.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder for results.csv, .json, .md, .tex and report.html, baselines included.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report that is in that folder.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="One model under all usual conventions, side by side.")] = False,
    against_papers: Annotated[
        bool, typer.Option("--against-papers", help="Add published rows of the same convention.")
    ] = False,
    fail_below: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=X", help="Exit 1 when a mean is worse; repeatable.")
    ] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the published weights of LPIPS and DISTS. Default: the cache.")
    ] = None,
    niqe_model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file made by fit-niqe. Default: the bundled one.")
    ] = None,
    on: Annotated[str, ON] = HERE,
    share: Annotated[float, SHARE] = 1.0,
    workers: Annotated[int | None, WORKERS] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Measure models on high-resolution images, with the convention of every number.

    \b
    superscale evaluate --data Set5 -m srgan-x4 -m bicubic
    superscale evaluate --data Set5 -m srgan-x4 -o report   write report.html
    superscale evaluate --data Set5 --outputs other/        of another tool
    superscale evaluate --data clip.mp4 -m srgan-x4         is it steady?
    """
    from superscale.evaluation.clips import frames_folder, is_clip
    from superscale.evaluation.measuring import PSNR_SSIM, pair_folders, report_metrics
    from superscale.evaluation.page import write_report
    from superscale.files import require_writable
    from superscale.machine import processes
    from superscale.metrics.notation import OVER_TIME

    if on == HERE:
        refuse(context, CLUSTER, "for the workers of --on ray only")
    cluster = cluster_of(on, share, workers)
    if cluster and (explain or processes.launched() or any(map(is_clip, data))):
        raise UsageError("--on ray goes with folders of pictures, and neither with torchrun nor with --explain")
    with processes.together("cpu" if cluster else device), _first_speaks(), TemporaryDirectory(prefix="superscale-") as frames:
        _choice("--color", color, ("y", "rgb"))
        _choice("--lr-convention", lr_convention, ("double", "uint8"))
        named = _metrics(metric) if metric is not None else None
        clips = [path for path in data if is_clip(path)]
        data = [frames_folder(path, Path(frames)) if path in clips else path for path in data]
        folders = pair_folders(data, scale, lr_convention, peak)  # type: ignore[arg-type]
        if explain:
            alone = not (outputs or as_json or output is not None or against_papers or fail_below or peak)
            _explain(model or ["bicubic"], folders, scale, device, alone)
            return
        metrics = named or (PSNR_SSIM if output is None else report_metrics(folders, scale if border is None else border))
        metrics = metrics if named or not clips else (*metrics, *OVER_TIME)
        limits = _limits(fail_below or [], metrics)
        if output is not None:
            _check_output(output, overwrite)
            require_writable(output, "folder")
        options: dict[str, Any] = {"outputs": outputs or [], "metrics": metrics, "scale": scale, "device": device}
        options |= {"color": color, "border": border, "lpips_weights": lpips_weights, "niqe_model": niqe_model, "peak": peak}
        options |= {"cluster": cluster}
        models = _models(model, outputs, report=output is not None)
        table, crops = _measured(models, folders, output is not None, options)
        if processes.rank() == 0:
            _print(table, folders, as_json, against_papers)
            if not (model or outputs):
                print(f"no model was named: measured {' and '.join(models)} (--model NAME)", file=sys.stderr)
        if processes.rank() == 0 and output is not None:
            print(
                f"wrote {', '.join(write_report(output, table, crops, _made(None if cluster else device)))} in {output}",
                file=sys.stderr,
            )
        if processes.rank() == 0:
            _say_left_out([*data, *(outputs or ())])
            _say_unmatched(folders, outputs or [], scale)
        _check(table, limits)


def _check_output(folder: Path, overwrite: bool) -> None:
    from superscale.evaluation.page import FILES
    from superscale.files import require_place_for_file

    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: expected a folder for the results, got a file")
    if not overwrite and (there := [name for name in FILES if (folder / name).exists()]):
        raise DataError(f"{folder / there[0]}: exists; choose another folder or add --overwrite")
    for name in FILES:
        require_place_for_file(folder / name)


def _made(device: str | None) -> dict[str, str]:
    """When and with what the report was made. ``device``: None for workers on Ray."""
    from superscale import __version__
    from superscale.machine.device import describe, pick_device

    return {
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": f"superscale {__version__}",
        "device": "workers on Ray" if device is None else describe(pick_device(device)),
        "command": shlex.join(["superscale", *sys.argv[1:]]),
    }


def _say_left_out(folders: Sequence[Path]) -> None:
    from superscale.image.io import left_out

    for folder in dict.fromkeys(folders):
        if others := left_out(folder):
            print(f"{folder}: skipped: {others}", file=sys.stderr)


def _say_unmatched(folders: Sequence[PairFolder], outputs: Sequence[Path], scale: int) -> None:
    from superscale.data.matching import named
    from superscale.evaluation.outputs import of_no_picture

    unmatched = {folder.folder: folder.unpaired for folder in folders}
    unmatched |= {path: of_no_picture(path, folders, scale) for path in outputs}
    for folder, files in unmatched.items():
        if files:
            print(
                f"{folder}: not measured, of no high-resolution picture: {named([path.name for path in files])}",
                file=sys.stderr,
            )


@contextmanager
def _first_speaks() -> Iterator[None]:
    """An error that all processes have found alike is told by the first of them."""
    from superscale.machine import processes

    try:
        yield
    except SuperscaleError:
        if processes.rank() > 0:
            raise typer.Exit(1) from None
        raise


def _measured(
    models: list[str], folders: list[PairFolder], report: bool, options: dict[str, Any]
) -> tuple[Table, dict[tuple[str, str], dict[str, str]]]:
    """The table and, for a report, the crops that it shows; a bar where somebody can see it move."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from superscale.evaluation.crops import Crops
    from superscale.evaluation.measuring import evaluate as measure
    from superscale.evaluation.page import MOST_CROPS, worst_first
    from superscale.machine import processes
    from superscale.weights.metric_networks import WAY_OUT

    crops = Crops()
    tasks: dict[tuple[str, str], TaskID] = {}
    silent = processes.rank() > 0 or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=silent) as bar:

        def progress(model: str, data: str, done: int, total: int) -> None:
            if done == 0:
                tasks[model, data] = bar.add_task(f"{model} on {data}", total=total)
            bar.update(tasks[model, data], completed=done)

        try:
            table = measure(models, folders, progress=progress, observe=crops.add if report else None, **options)
        except ModelError as error:
            if not str(error).endswith(WAY_OUT):
                raise
            raise ModelError(f"{error}: --lpips-weights DIR") from error
    return table, crops.keep(worst_first(table)[:MOST_CROPS]) if report else {}


def _print(table: Table, folders: Sequence[PairFolder], as_json: bool, against_papers: bool) -> None:
    from superscale.evaluation.report import to_json

    print(json.dumps(to_json(table)) if as_json else table)
    if against_papers:
        from superscale.evaluation.low_res import low_res_of
        from superscale.evaluation.papers import beside_papers

        text = beside_papers(table, {folder.label: low_res_of(folder) for folder in folders})
        print(text, file=sys.stderr if as_json else sys.stdout)


def _models(named: list[str] | None, outputs: list[Path] | None, report: bool) -> list[str]:
    """The models to measure; a report has both baselines, first."""
    from superscale.evaluation.measuring import BASELINES

    models = list(dict.fromkeys(named if named is not None else [] if outputs else ["bicubic"]))
    return [*(baseline for baseline in BASELINES if baseline not in models), *models] if report else models


def _choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} must be {' or '.join(known)}, got {value!r}")


def _metrics(text: str) -> list[str]:
    from superscale.metrics.notation import METRICS, require_metrics

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    require_metrics(names)
    if not names:
        raise UsageError(f"--metric names no metric; there is: {', '.join(METRICS)}")
    return names


def _limits(texts: list[str], metrics: Sequence[str]) -> dict[str, float]:
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in metrics:
            raise UsageError(f"--fail-below {text}: {name} is not measured; add it to --metric")
        try:
            limits[name] = float(value)
            if not isfinite(limits[name]):
                raise ValueError(value)
        except ValueError:
            raise UsageError(f"--fail-below expects metric=number, e.g. psnr=28, got {text!r}") from None
    return limits


def _check(table: Table, limits: dict[str, float]) -> None:
    """Exit 1 when a mean is worse than its limit; the baselines are judged only when they stand alone."""
    from superscale.evaluation.measuring import BASELINES
    from superscale.machine import processes
    from superscale.metrics.notation import METRICS, is_worse

    judged = [row for row in table if row.model not in BASELINES] or table
    fallen = [row for row in judged if row.metric in limits and is_worse(row.metric, row.mean, limits[row.metric])]
    for row in fallen if processes.rank() == 0 else ():
        side = "below" if METRICS[row.metric].higher_is_better else "above"
        limit = f"{side} {limits[row.metric]:g}"
        print(f"superscale: {row.model} on {row.data}: {row.metric} {row.printed} is {limit}", file=sys.stderr)
    if fallen:
        raise typer.Exit(1)


def _explain(models: list[str], folders: list[PairFolder], scale: int, device: str, alone: bool) -> None:
    """One table a model and data set, by the first process. ``alone``: no option was given that goes with another output."""
    from superscale.evaluation.explain import explain, to_text
    from superscale.evaluation.measuring import upscale_of
    from superscale.machine import processes

    if not alone:
        raise UsageError("--explain makes its own low-resolution pictures and prints one table; it takes --model and --data")
    for folder in folders if processes.rank() == 0 else ():
        for name in models:
            print(to_text(name, folder.label, explain(upscale_of(name, scale, device), folder, scale), scale))
