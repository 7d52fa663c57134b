"""`superscale evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superscale.cli.measuring import BASELINES, Wanted, kept_crops, measured, upscale_of
from superscale.errors import DataError, SuperscaleError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from superscale.data.pairs import PairFolder
    from superscale.evaluation.benchmark import Convention, Row
    from superscale.evaluation.cost import Cost


def evaluate(
    data: Annotated[list[Path], typer.Option(help="High-resolution pictures, or HR/ with LR_x4/; repeatable.")],
    model: Annotated[list[str] | None, typer.Option(help="Name, file, bicubic or bilinear; repeatable.")] = None,
    outputs: Annotated[list[Path] | None, typer.Option(help="Ready-made outputs of another tool; repeatable.")] = None,
    scale: Annotated[int, typer.Option(min=1)] = 4,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: psnr, ssim, ms-ssim, lr-psnr, delta-e, grid, lpips-alex, lpips-vgg, lpips-squeeze, dists, niqe; "
            "default: psnr,ssim, with -o also niqe where the pictures are large enough."
        ),
    ] = None,
    color: Annotated[str, typer.Option(help="y (the papers') or rgb.")] = "y",
    border: Annotated[int | None, typer.Option(min=0, help="Pixels cut off each side; default: the scale.")] = None,
    lr_convention: Annotated[str, typer.Option(help="double or uint8: rounding of the bicubic reduction.")] = "double",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for results.csv, .json, .md, .tex and report.html, baselines included."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="One model under all usual conventions, side by side.")] = False,
    against_papers: Annotated[
        bool, typer.Option("--against-papers", help="Add published rows of the same convention.")
    ] = False,
    fail_below: Annotated[list[str] | None, typer.Option(help="metric=value: exit 1 when a mean is worse; repeatable.")] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(help="Folder of the published weights of LPIPS and DISTS; default: the cache.")
    ] = None,
    niqe_model: Annotated[Path | None, typer.Option(help="A file of fit-niqe; default: the model that is shipped.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Measure models against high-resolution pictures; every number is printed with its convention."""
    from superscale.evaluation.benchmark import Convention
    from superscale.machine.processes import together

    with together(device) as own_device, _first_speaks():
        _choice("--color", color, ("y", "rgb"))
        _choice("--lr-convention", lr_convention, ("double", "uint8"))
        named = _metrics(metric) if metric is not None else None
        folders = _folders(data, scale, lr_convention)
        if explain:
            alone = not (outputs or as_json or output is not None or against_papers or fail_below)
            _explain(model or ["bicubic"], folders, scale, device, alone)
            return
        cut = scale if border is None else border
        metrics = named or _usual_metrics(folders, cut, report=output is not None)
        limits = _limits(fail_below or [], metrics)
        sources = " / ".join(dict.fromkeys(folder.low_res_source for folder in folders))
        wanted = Wanted(
            models=_models(model, outputs, report=output is not None),
            outputs=outputs or [],
            folders=folders,
            metrics=metrics,
            convention=Convention(scale=scale, color=color, border=cut, low_res=sources),  # type: ignore[arg-type]
            device=str(own_device),
            lpips_weights=lpips_weights,
            niqe_model=niqe_model,
        )
        rows = _measure_and_write(wanted, output, as_json, against_papers)
        _check(rows, limits)


@contextmanager
def _first_speaks() -> Iterator[None]:
    """An error that all processes have found alike is told by the first of them."""
    from superscale.machine.processes import rank

    try:
        yield
    except SuperscaleError:
        if rank() > 0:
            raise typer.Exit(1) from None
        raise


def _measure_and_write(wanted: Wanted, output: Path | None, as_json: bool, against_papers: bool) -> list[Row]:
    from superscale.evaluation.crops import Crops
    from superscale.evaluation.page import MOST_CROPS, worst_first
    from superscale.evaluation.report import to_json, to_text
    from superscale.machine.processes import rank

    if output is not None and output.exists() and not output.is_dir():
        raise DataError(f"{output}: expected a folder for the results, got a file")
    crops = Crops() if output is not None else None
    rows, costs = measured(wanted, crops)
    kept = kept_crops(crops, worst_first(rows)[:MOST_CROPS]) if crops is not None else {}
    if rank() > 0:
        return rows
    print(json.dumps(to_json(rows, wanted.convention, costs)) if as_json else to_text(rows, wanted.convention))
    if against_papers:
        print(_beside_papers(rows, wanted.convention, wanted.folders), file=sys.stderr if as_json else sys.stdout)
    if output is not None:
        _write(output, rows, wanted.convention, costs, kept)
    return rows


def _models(named: list[str] | None, outputs: list[Path] | None, report: bool) -> list[str]:
    """The models to measure; a report has both baselines, first."""
    models = list(dict.fromkeys(named if named is not None else [] if outputs else ["bicubic"]))
    return [*(baseline for baseline in BASELINES if baseline not in models), *models] if report else models


def _usual_metrics(folders: Sequence[PairFolder], border: int, report: bool) -> list[str]:
    """PSNR and SSIM; for a report's plane of perception and distortion also NIQE, if every picture is large enough."""
    from superscale.image.io import image_size
    from superscale.metrics.niqe import blocks_in

    if not report:
        return ["psnr", "ssim"]
    sizes = (image_size(path) for folder in folders for path in folder.high_res)
    fits = all(blocks_in(height - 2 * border, width - 2 * border) > 1 for width, height in sizes)
    return ["psnr", "ssim", "niqe"] if fits else ["psnr", "ssim"]


def _choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} must be {' or '.join(known)}, got {value!r}")


def _metrics(text: str) -> list[str]:
    from superscale.metrics.catalog import METRICS

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)
    if not names:
        raise UsageError(f"--metric names no metric; there is: {', '.join(METRICS)}")
    return names


def _limits(texts: list[str], metrics: list[str]) -> dict[str, float]:
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in metrics:
            raise UsageError(f"--fail-below {text}: {name} is not measured; add it to --metric")
        try:
            limits[name] = float(value)
        except ValueError:
            raise UsageError(f"--fail-below expects metric=number, e.g. psnr=28, got {text!r}") from None
    return limits


def _folders(data: list[Path], scale: int, lr_convention: str) -> list[PairFolder]:
    from superscale.data.pairs import PairFolder

    folders = [PairFolder(folder, scale, lr_convention) for folder in data]  # type: ignore[arg-type]
    labels = [folder.label for folder in folders]
    for folder in folders:
        if labels.count(folder.label) > 1:
            raise UsageError(f"two --data folders are both called {folder.label}; rename one")
        names = [path.stem for path in folder.high_res]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{folder.folder}: two pictures are called {doubled[0]}; rename one, since values are kept by name")
    return folders


def _write(
    output: Path,
    rows: list[Row],
    convention: Convention,
    costs: list[Cost],
    crops: dict[tuple[str, str], dict[str, str]],
) -> None:
    from superscale.evaluation.page import to_html
    from superscale.evaluation.report import to_json
    from superscale.evaluation.tables import to_csv, to_latex, to_markdown
    from superscale.files import write_text

    texts = {
        "results.csv": to_csv(rows, convention),
        "results.json": json.dumps(to_json(rows, convention, costs), indent=1, ensure_ascii=False) + "\n",
        "results.md": to_markdown(rows, convention, costs),
        "results.tex": to_latex(rows, convention),
        "report.html": to_html(rows, convention, costs, crops),
    }
    for name, text in texts.items():
        write_text(output / name, text)
    print(f"wrote {', '.join(texts)} in {output}", file=sys.stderr)


def _check(rows: list[Row], limits: dict[str, float]) -> None:
    """Exit 1 when a mean is worse than its limit; the baselines are judged only when they stand alone."""
    from superscale.machine.processes import rank
    from superscale.metrics.catalog import METRICS, is_worse, number

    judged = [row for row in rows if row.model not in BASELINES] or rows
    fallen = [row for row in judged if row.metric in limits and is_worse(row.metric, row.mean, limits[row.metric])]
    for row in fallen if rank() == 0 else ():
        side = "below" if METRICS[row.metric].higher_is_better else "above"
        limit = limits[row.metric]
        print(
            f"superscale: {row.model} on {row.data}: {row.metric} {number(row.metric, row.mean)} is {side} {limit:g}",
            file=sys.stderr,
        )
    if fallen:
        raise typer.Exit(1)


def _explain(models: list[str], folders: list[PairFolder], scale: int, device: str, alone: bool) -> None:
    """One table a model and data set, by the first process. ``alone``: no option was given that goes with another output."""
    from superscale.evaluation.explain import explain, to_text
    from superscale.machine.processes import rank

    if not alone:
        raise UsageError("--explain makes its own low-resolution pictures and prints one table; it takes --model and --data")
    for folder in folders if rank() == 0 else ():
        for name in models:
            print(to_text(name, folder.label, explain(upscale_of(name, scale, device), folder, scale), scale))


def _beside_papers(rows: list[Row], convention: Convention, folders: Sequence[PairFolder]) -> str:
    from superscale.evaluation.papers import beside_papers, low_res_of

    return beside_papers(rows, convention, {folder.label: low_res_of(folder) for folder in folders})
