"""What `superscale evaluate` measures, shared among the processes of torchrun: every process ends with the same whole table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscale.errors import DataError, SuperscaleError, UsageError

if TYPE_CHECKING:
    from superscale.data.pairs import Pair, PairFolder
    from superscale.evaluation.benchmark import Convention, Row, Seen
    from superscale.evaluation.cost import Cost
    from superscale.evaluation.crops import Crops
    from superscale.metrics.catalog import Learned
    from superscale.metrics.niqe import NaturalModel

BASELINES = ("bicubic", "bilinear")
Maker = Callable[["Pair"], Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for, checked."""

    models: Sequence[str]
    outputs: Sequence[Path]
    folders: Sequence[PairFolder]
    metrics: Sequence[str]
    convention: Convention
    device: str
    lpips_weights: Path | None
    niqe_model: Path | None


def upscale_of(name: str, scale: int, device: str) -> Callable[[Any], Any]:
    """uint8 (h, w, 3) -> uint8 (h*scale, w*scale, 3), of a baseline, a bundled model or a model file. Raises ModelError."""
    if name in BASELINES:
        from superscale.image.resize import imresize

        return lambda low_res: imresize(low_res, scale, name)  # type: ignore[arg-type]
    from superscale.inference.upscaler import Upscaler

    return Upscaler(name, scale=scale, device=device)


def measured(wanted: Wanted, crops: Crops | None) -> tuple[list[Row], list[Cost]]:
    """Every model on every data set; this process adds the crops of its share to ``crops``.

    Raises at every process what went wrong at any.
    """
    from superscale.machine.processes import gather

    failure: SuperscaleError | None = None
    facts: dict[str, Any] = {"rows": [], "costs": [], "failure": None}
    try:
        rows, costs = _own_share(wanted, crops)
        facts |= {"rows": [asdict(row) for row in rows], "costs": [asdict(cost) for cost in costs]}
    except SuperscaleError as error:
        failure = error
        facts["failure"] = [isinstance(error, UsageError), str(error)]
    parts = gather(facts)
    for is_usage, text in (part["failure"] for part in parts if part["failure"]):
        raise failure or (UsageError if is_usage else DataError)(text)
    return _whole_rows(parts, wanted.folders), _whole_costs(parts)


def kept_crops(crops: Crops, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    """The named pictures' crops of all processes, as `Crops.keep` gives them, in the order of ``keys``."""
    from superscale.machine.processes import gather

    own = crops.keep(key for key in keys if key in crops.pieces)
    parts = gather([[*key, pieces] for key, pieces in own.items()])
    found = {(data, name): pieces for part in parts for data, name, pieces in part}
    return {key: found[key] for key in keys if key in found}


def _own_share(wanted: Wanted, crops: Crops | None) -> tuple[list[Row], list[Cost]]:
    from rich.console import Console
    from rich.progress import Progress

    from superscale.machine.processes import rank, share

    makers = _makers(wanted)
    learned = _learned(wanted)
    rows: list[Row] = []
    costs: list[Cost] = []
    silent = rank() > 0 or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=silent) as bar:
        for folder in wanted.folders:
            for model, by_data in makers.items():
                task = bar.add_task(f"{model} on {folder.label}", total=len(share(len(folder))))

                def progress(done: int, task: Any = task) -> None:
                    bar.update(task, completed=done)

                own_rows, cost = _one(wanted, model, folder, by_data[folder.label], learned, crops, progress)
                rows += own_rows
                costs.append(cost)
    return rows, costs


def _one(
    wanted: Wanted,
    model: str,
    folder: PairFolder,
    maker: Maker,
    learned: Learned,
    crops: Crops | None,
    progress: Callable[[int], None],
) -> tuple[list[Row], Cost]:
    """One model on this process's share of one data set."""
    from superscale.evaluation.benchmark import measure_outputs
    from superscale.evaluation.cost import Cost, peak_memory
    from superscale.evaluation.outputs import OutputFolder
    from superscale.machine.processes import share

    seconds: list[float] = []
    pixels: list[int] = []

    def observe(seen: Seen) -> None:
        seconds.append(seen.seconds)
        pixels.append(seen.super_res.shape[0] * seen.super_res.shape[1])
        if crops is not None:
            crops.add(folder.label, model, seen)

    def own() -> Iterator[Pair]:
        return (folder[index] for index in share(len(folder)))

    with peak_memory() as peak:
        rows = measure_outputs(
            maker,
            own(),
            model=model,
            data=folder.label,
            metrics=wanted.metrics,
            border=wanted.convention.border,
            color=wanted.convention.color,
            progress=progress,
            observe=observe,
            learned=learned,
        )
    spent, held = (None, None) if isinstance(maker, OutputFolder) else (sum(seconds), peak.bytes)
    return rows, Cost(model, folder.label, spent, sum(pixels) / 1e6, held)


def _makers(wanted: Wanted) -> dict[str, dict[str, Maker]]:
    """Model -> data set -> what makes an output of a pair. Ready-made outputs are all looked for before the first picture."""
    from superscale.evaluation.outputs import OutputFolder

    scale = wanted.convention.scale
    makers: dict[str, dict[str, Maker]] = {}
    for name in wanted.models:
        upscale = upscale_of(name, scale, wanted.device)
        makers[name] = {folder.label: lambda pair, upscale=upscale: upscale(pair.low_res) for folder in wanted.folders}  # type: ignore[misc]
    for path in wanted.outputs:
        name = path.resolve().name
        if name in makers:
            raise UsageError(f"two models are both called {name}; rename the folder {path}")
        stems = {folder.label: [high_res.stem for high_res in folder.high_res] for folder in wanted.folders}
        makers[name] = {label: OutputFolder(path, label, known, scale) for label, known in stems.items()}
    return makers


def _learned(wanted: Wanted) -> Learned:
    from superscale.metrics.dists import Dists
    from superscale.metrics.lpips import Lpips
    from superscale.metrics.niqe import read_model
    from superscale.weights.metric_networks import JUDGES, load_judge

    learned: dict[str, NaturalModel | Lpips | Dists] = {}
    for metric in wanted.metrics:
        if metric in JUDGES:
            network = Dists() if metric == "dists" else Lpips(metric.removeprefix("lpips-"))
            load_judge(network, metric, wanted.lpips_weights)
            learned[metric] = network
    if wanted.niqe_model is not None:
        learned["niqe"] = read_model(wanted.niqe_model)
    return learned


def _whole_rows(parts: Sequence[Mapping[str, Any]], folders: Sequence[PairFolder]) -> list[Row]:
    """The rows of all processes, pictures in their folder's order, so that sums are the same to the last digit."""
    from superscale.evaluation.benchmark import Row

    names = {folder.label: [path.stem for path in folder.high_res] for folder in folders}
    rows = []
    for same in zip(*(part["rows"] for part in parts), strict=True):
        found = {name: value for row in same for name, value in row["images"].items()}
        row = same[0]
        rows.append(Row(row["model"], row["data"], row["metric"], {name: found[name] for name in names[row["data"]]}))
    return rows


def _whole_costs(parts: Sequence[Mapping[str, Any]]) -> list[Cost]:
    """Seconds and megapixels summed over processes; of memory, the most that any held."""
    from superscale.evaluation.cost import Cost

    costs = []
    for same in zip(*(part["costs"] for part in parts), strict=True):
        seconds, held = ([cost[name] for cost in same if cost[name] is not None] for name in ("seconds", "peak_bytes"))
        megapixels = sum(cost["megapixels"] for cost in same)
        total = sum(seconds) if seconds else None
        costs.append(Cost(same[0]["model"], same[0]["data"], total, megapixels, max(held, default=None)))
    return costs
