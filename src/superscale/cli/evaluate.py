"""`superscale evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superscale.errors import DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from superscale.data.pairs import Pair, PairFolder
    from superscale.evaluation.benchmark import Convention, Learned, Row
    from superscale.evaluation.cost import Cost
    from superscale.evaluation.crops import Crops

BASELINES = ("bicubic", "bilinear")
Maker = Callable[[Any], Any]


def evaluate(
    data: Annotated[list[Path], typer.Option(help="High-resolution pictures, or HR/ with LR_x4/; repeatable.")],
    model: Annotated[list[str] | None, typer.Option(help="Name, file, bicubic or bilinear; repeatable.")] = None,
    outputs: Annotated[list[Path] | None, typer.Option(help="Ready-made outputs of another tool; repeatable.")] = None,
    scale: Annotated[int, typer.Option(min=1)] = 4,
    metric: Annotated[
        str,
        typer.Option(
            help="Comma-separated: psnr, ssim, ms-ssim, lr-psnr, delta-e, grid, lpips-alex, lpips-vgg, lpips-squeeze."
        ),
    ] = "psnr,ssim",
    color: Annotated[str, typer.Option(help="y (the papers') or rgb.")] = "y",
    border: Annotated[int | None, typer.Option(min=0, help="Pixels cut off each side; default: the scale.")] = None,
    lr_convention: Annotated[str, typer.Option(help="double or uint8: rounding of the bicubic reduction.")] = "double",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for results.csv, .json, .md, .tex and report.html.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="One model under all usual conventions, side by side.")] = False,
    against_papers: Annotated[
        bool, typer.Option("--against-papers", help="Add published rows of the same convention.")
    ] = False,
    fail_below: Annotated[list[str] | None, typer.Option(help="metric=value: exit 1 when a mean is worse; repeatable.")] = None,
    lpips_weights: Annotated[Path | None, typer.Option(help="Folder of LPIPS's published weights; default: the cache.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Measure models against high-resolution pictures; every number is printed with its convention."""
    from superscale.evaluation.benchmark import Convention
    from superscale.evaluation.crops import Crops
    from superscale.evaluation.report import to_json, to_text

    metrics = _metrics(metric)
    limits = _limits(fail_below or [], metrics)
    _choice("--color", color, ("y", "rgb"))
    _choice("--lr-convention", lr_convention, ("double", "uint8"))
    folders = _folders(data, scale, lr_convention)
    if explain:
        if outputs or as_json or output is not None or against_papers or limits:
            raise UsageError(
                "--explain makes its own low-resolution pictures and prints one table; it takes --model and --data"
            )
        _explain(model or ["bicubic"], folders, scale, device)
        return
    makers = _makers(model, outputs, folders, scale, device)
    networks = _networks(metrics, lpips_weights)
    cut = scale if border is None else border
    crops = Crops() if output is not None else None
    rows, costs = _measure(folders, makers, metrics, cut, color, networks, crops)
    sources = " / ".join(dict.fromkeys(folder.low_res_source for folder in folders))
    convention = Convention(scale=scale, color=color, border=cut, low_res=sources)  # type: ignore[arg-type]
    print(json.dumps(to_json(rows, convention, costs)) if as_json else to_text(rows, convention))
    if against_papers:
        print(_beside_papers(rows, convention, folders), file=sys.stderr if as_json else sys.stdout)
    if output is not None:
        _write(output, rows, convention, costs, crops)
    _check(rows, limits)


def _choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{option} must be {' or '.join(known)}, got {value!r}")


def _metrics(text: str) -> list[str]:
    from superscale.evaluation.metrics import METRICS

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
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two --data folders are both called {label}; rename one")
    return folders


def _makers(
    models: list[str] | None, outputs: list[Path] | None, folders: list[PairFolder], scale: int, device: str
) -> dict[str, dict[str, Callable[[Pair], Any]]]:
    """Model -> data set -> what makes an output of a pair. Ready-made outputs are all looked for before the first picture."""
    from superscale.evaluation.outputs import OutputFolder

    names = models if models is not None else [] if outputs else ["bicubic"]
    makers: dict[str, dict[str, Callable[[Pair], Any]]] = {}
    for name in dict.fromkeys(names):
        upscale = _upscale(name, scale, device)
        makers[name] = {folder.label: lambda pair, upscale=upscale: upscale(pair.low_res) for folder in folders}  # type: ignore[misc]
    for path in outputs or []:
        name = path.resolve().name
        if name in makers:
            raise UsageError(f"two models are both called {name}; rename the folder {path}")
        stems = {folder.label: [high_res.stem for high_res in folder.high_res] for folder in folders}
        makers[name] = {label: OutputFolder(path, label, known, scale) for label, known in stems.items()}
    return makers


def _upscale(name: str, scale: int, device: str) -> Maker:
    if name in BASELINES:
        from superscale.image.resize import imresize

        return lambda low_res: imresize(low_res, scale, name)  # type: ignore[arg-type]
    from superscale.inference.upscaler import Upscaler

    return Upscaler(name, scale=scale, device=device)


def _networks(metrics: list[str], folder: Path | None) -> Learned:
    from superscale.evaluation.lpips import Lpips
    from superscale.weights.lpips import load_lpips

    networks = {metric: Lpips(metric.removeprefix("lpips-")) for metric in metrics if metric.startswith("lpips-")}
    for metric, network in networks.items():
        load_lpips(network, metric.removeprefix("lpips-"), folder)
    return networks


def _measure(
    folders: list[PairFolder],
    makers: dict[str, dict[str, Callable[[Pair], Any]]],
    metrics: list[str],
    border: int,
    color: str,
    networks: Learned,
    crops: Crops | None,
) -> tuple[list[Row], list[Cost]]:
    from rich.console import Console
    from rich.progress import Progress

    from superscale.evaluation.benchmark import Seen, measure_outputs
    from superscale.evaluation.cost import Cost, peak_memory
    from superscale.evaluation.outputs import OutputFolder

    rows: list[Row] = []
    costs: list[Cost] = []
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        for folder in folders:
            for name, by_data in makers.items():
                task = bar.add_task(f"{name} on {folder.label}", total=len(folder))
                seconds: list[float] = []
                pixels: list[int] = []

                def observe(seen: Seen, name: str = name, label: str = folder.label) -> None:
                    seconds.append(seen.seconds)  # noqa: B023 (called before the next round)
                    pixels.append(seen.super_res.shape[0] * seen.super_res.shape[1])  # noqa: B023
                    if crops is not None:
                        crops.add(label, name, seen)

                with peak_memory() as peak:
                    rows += measure_outputs(
                        by_data[folder.label],
                        folder,
                        model=name,
                        data=folder.label,
                        metrics=metrics,
                        border=border,
                        color=color,  # type: ignore[arg-type]
                        progress=lambda done, task=task: bar.update(task, completed=done),  # type: ignore[misc]
                        observe=observe,
                        learned=networks,
                    )
                ready = isinstance(by_data[folder.label], OutputFolder)
                spent, held = (None, None) if ready else (sum(seconds), peak.bytes)
                costs.append(Cost(name, folder.label, spent, sum(pixels) / 1e6, held))
    return rows, costs


def _write(output: Path, rows: list[Row], convention: Convention, costs: list[Cost], crops: Crops | None) -> None:
    from superscale.evaluation.page import to_html
    from superscale.evaluation.report import to_json
    from superscale.evaluation.tables import to_csv, to_latex, to_markdown
    from superscale.image.io import write_bytes

    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: expected a folder for the results, got a file")
    texts = {
        "results.csv": to_csv(rows, convention),
        "results.json": json.dumps(to_json(rows, convention, costs), indent=1, ensure_ascii=False) + "\n",
        "results.md": to_markdown(rows, convention, costs),
        "results.tex": to_latex(rows, convention),
        "report.html": to_html(rows, convention, costs, crops),
    }
    for name, text in texts.items():
        write_bytes(output / name, text.encode())
    print(f"wrote {', '.join(texts)} in {output}", file=sys.stderr)


def _check(rows: list[Row], limits: dict[str, float]) -> None:
    """Exit 1 when a mean is worse than its limit; the baselines are judged only when they stand alone."""
    from superscale.evaluation.metrics import METRICS, is_worse, number

    judged = [row for row in rows if row.model not in BASELINES] or rows
    fallen = [row for row in judged if row.metric in limits and is_worse(row.metric, row.mean, limits[row.metric])]
    for row in fallen:
        side = "below" if METRICS[row.metric].higher_is_better else "above"
        limit = limits[row.metric]
        print(
            f"superscale: {row.model} on {row.data}: {row.metric} {number(row.metric, row.mean)} is {side} {limit:g}",
            file=sys.stderr,
        )
    if fallen:
        raise typer.Exit(1)


def _explain(models: list[str], folders: list[PairFolder], scale: int, device: str) -> None:
    from superscale.evaluation.explain import explain, to_text

    for folder in folders:
        for name in models:
            print(to_text(name, folder.label, explain(_upscale(name, scale, device), folder, scale), scale))


def _beside_papers(rows: list[Row], convention: Convention, folders: list[PairFolder]) -> str:
    from superscale.evaluation.papers import beside_papers, low_res_of

    return beside_papers(rows, convention, {folder.label: low_res_of(folder) for folder in folders})
