"""Models on folders of pictures, shared among the processes of torchrun: every process ends with the same whole table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from superscale.data.pairs import Array, Pair, PairFolder, within_peak
from superscale.errors import DataError, SuperscaleError, UsageError
from superscale.evaluation.benchmark import Seen, Upscale, bits_of, measure_outputs
from superscale.evaluation.cost import Cost, peak_memory
from superscale.evaluation.outputs import OutputFolder
from superscale.evaluation.table import Convention, Row, Table
from superscale.image.io import image_size
from superscale.image.resize import Rounding, imresize
from superscale.inference.upscaler import Upscaler
from superscale.machine import processes
from superscale.machine.ray_pool import Cluster
from superscale.metrics.catalog import Learned
from superscale.metrics.dists import Dists
from superscale.metrics.features import FeatureNetwork
from superscale.metrics.lpips import Lpips
from superscale.metrics.niqe import NaturalModel, blocks_in, read_model
from superscale.metrics.notation import OVER_TIME, require_metrics
from superscale.metrics.planes import Color
from superscale.weights.features import feature_network
from superscale.weights.metric_networks import METRIC_NETWORKS, load_metric_network

# Whose features the metric of that name compares.
FEATURES = "vgg19-distilled"
BASELINES = ("bicubic", "bilinear")
PSNR_SSIM = ("psnr", "ssim")
# A bundled model, a model file, a baseline, or anything that upscales.
Upscales = str | Path | Upscale
# model, data set, pictures done, pictures there are; of this process
Progress = Callable[[str, str, int, int], None]
# data set, model, what was just measured; at this process
Observe = Callable[[str, str, Seen], None]
# rows, costs, the depths of the pictures that were seen, and what went wrong
Facts = dict[str, Any]


@dataclass(frozen=True)
class _Task:
    """One model on one data set; ``device``: where its memory counts, None for outputs that were made elsewhere."""

    model: str
    folder: PairFolder
    output_of: Callable[[Pair], Array]
    device: str | None


@dataclass(frozen=True)
class Order:
    """What is measured, and how: `evaluate`'s arguments. ``device``: for networks; ``metrics`` and ``models``: by their names."""

    models: Mapping[str, Upscales]
    outputs: Sequence[str | Path]
    folders: Sequence[PairFolder]
    metrics: Sequence[str]
    scale: int
    color: Color
    border: int
    peak: int | None
    device: str
    lpips_weights: str | Path | None = None
    niqe_model: Path | None = None


class Measuring:
    """Measures as an order says; networks and metrics are loaded. Raises UsageError, DataError or ModelError."""

    def __init__(self, order: Order) -> None:
        self._tasks = _tasks(order.models, order.outputs, order.folders, order.scale, order.device, order.peak)
        learned = _learned(order.metrics, order.lpips_weights, order.niqe_model)
        how: Any = {"metrics": order.metrics, "border": order.border, "color": order.color, "learned": learned}
        self._measure = partial(measure_outputs, **how)

    def facts(
        self, share: Callable[[PairFolder], Sequence[int] | None], progress: Progress | None, observe: Observe | None
    ) -> Facts:
        """Rows, costs and depths, JSON-able. ``share``: which pictures of a folder are measured here; None: it is not opened."""
        found: Facts = {"rows": [], "costs": [], "bits": [], "failure": None}
        for task in self._tasks:
            if (numbers := share(task.folder)) is not None:
                rows, cost, bits = _own_share(task, numbers, self._measure, progress, observe)
                found["rows"] += map(asdict, rows)
                found["costs"].append(asdict(cost))
                found["bits"] += bits
        return found


def evaluate(
    models: Mapping[str, Upscales] | Sequence[str | Path],
    data: Sequence[str | Path | PairFolder],
    *,
    outputs: Sequence[str | Path] = (),
    metrics: Sequence[str] = PSNR_SSIM,
    scale: int = 4,
    color: Color = "y",
    border: int | None = None,
    rounding: Rounding = "double",
    device: str = "auto",
    lpips_weights: str | Path | None = None,
    niqe_model: Path | None = None,
    peak: int | None = None,
    progress: Progress | None = None,
    observe: Observe | None = None,
    cluster: Cluster | None = None,
) -> Table:
    """Every model on every folder of pictures by every metric; what `superscale evaluate` prints.

    ``models``: bundled names, model files, "bicubic" or "bilinear"; given by name, also callables, RGB (h, w, 3) -> RGB
    (h*scale, w*scale, 3) of the same type, uint8 or uint16. ``data``: folders of high-resolution pictures, or of HR/ and LR_x4/,
    measured at the depth of their files. ``outputs``: folders of another tool's pictures, measured as a model of the folder's name.
    ``border``: pixels cut off each side, by default the scale. ``rounding``: of the bicubic reduction. ``lpips_weights``: the folder of
    the published weights of LPIPS and DISTS, by default the cache; ``niqe_model``: a file that fit-niqe wrote. ``peak``: the value that
    is white, such as 4095 for 12 bits in uint16; by default the largest of each file's type. What models and baselines compute is
    clipped to it; a file or a callable's output that exceeds it is an error. Under torchrun the processes share the pictures;
    ``cluster``: workers of Ray do, which see the same folders.

    Raises UsageError, DataError or ModelError, at every process what went wrong at any.
    """
    require_metrics(metrics)
    alone = processes.world_size() == 1 and cluster is None
    if not alone and (ordered := set(metrics) & set(OVER_TIME)):
        raise UsageError(f"{min(ordered)} needs the frames in their order; use one process, or leave it out of the metrics")
    with processes.together(device if cluster is None else "cpu") as place:
        folders = pair_folders(data, scale, rounding, peak)
        sources = " / ".join(dict.fromkeys(folder.low_res_source for folder in folders))
        border = scale if border is None else border
        convention = Convention(scale=scale, color=color, border=border, low_res=sources, peak=peak)
        order = Order(
            models=models if isinstance(models, Mapping) else {str(model): model for model in models},
            outputs=outputs,
            folders=folders,
            metrics=metrics,
            scale=scale,
            color=color,
            border=border,
            peak=peak,
            device=str(place) if cluster is None else device,
            lpips_weights=lpips_weights,
            niqe_model=niqe_model,
        )
        if cluster is not None:
            from superscale.evaluation.on_ray import facts_of_workers

            whole = facts_of_workers(order, cluster, progress, observe)
        else:
            whole = joined(_of_all_processes(lambda: _own_facts(order, progress, observe)), folders)
    bits = tuple(sorted(set(whole["bits"]))) or convention.bits
    return Table([Row(**row) for row in whole["rows"]], replace(convention, bits=bits), [Cost(**c) for c in whole["costs"]])


def upscale_of(model: Upscales, scale: int, device: str, peak: int | None = None) -> Upscale:
    """(h, w, C) -> (h*scale, w*scale, C) of the same type, of a baseline, a bundled model or a file, whose white is ``peak`` (None: the
    type's own); a callable is one. Raises ModelError.
    """
    if callable(model):
        return model
    if model in BASELINES:
        return lambda low_res: within_peak(imresize(low_res, scale, model), peak)  # type: ignore[arg-type]
    if peak is None:
        return Upscaler(model, scale=scale, device=device)
    upscaler = Upscaler(model, scale=scale, device=device, value_range=(0.0, float(peak)))
    return lambda low_res: within_peak(upscaler(low_res), peak)


def pair_folders(
    data: Sequence[str | Path | PairFolder], scale: int, rounding: Rounding, peak: int | None = None
) -> list[PairFolder]:
    """The folders as pairs. Raises UsageError for none, another scale or peak and two of one name, DataError for two pictures of one name."""
    folders = [folder if isinstance(folder, PairFolder) else PairFolder(folder, scale, rounding, peak) for folder in data]
    if not folders:
        raise UsageError("expected at least one folder of pictures to measure on")
    labels = [folder.label for folder in folders]
    for folder in folders:
        if folder.scale != scale:
            raise UsageError(f"{folder.folder}: paired for scale {folder.scale}, expected {scale}")
        if folder.peak != peak:
            raise UsageError(f"{folder.folder}: paired with the peak {folder.peak}, expected {peak}")
        if labels.count(folder.label) > 1:
            raise UsageError(f"two data folders are both called {folder.label}; rename one")
        names = [path.stem for path in folder.high_res]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{folder.folder}: two pictures are called {doubled[0]}; rename one, since values are kept by name")
    return folders


def report_metrics(folders: Sequence[PairFolder], border: int) -> tuple[str, ...]:
    """PSNR and SSIM; for a report's plane of perception and distortion also NIQE, if every picture is large enough."""
    sizes = (image_size(path) for folder in folders for path in folder.high_res)
    fits = all(blocks_in(height - 2 * border, width - 2 * border) > 1 for width, height in sizes)
    return (*PSNR_SSIM, "niqe") if fits else PSNR_SSIM


def _tasks(
    models: Mapping[str, Upscales],
    outputs: Sequence[str | Path],
    folders: Sequence[PairFolder],
    scale: int,
    device: str,
    peak: int | None,
) -> list[_Task]:
    """In the order in which they are measured. Ready-made outputs are all looked for before the first picture."""
    upscales = {name: upscale_of(model, scale, device, peak) for name, model in models.items()}
    made: dict[str, Path] = {}
    for path in map(Path, outputs):
        name = path.resolve().name
        if name in upscales or name in made:
            raise UsageError(f"two models are both called {name}; rename the folder {path}")
        made[name] = path
    tasks = []
    for folder in folders:
        for name, upscale in upscales.items():
            where = "cpu" if models[name] in BASELINES else device
            tasks.append(_Task(name, folder, partial(_upscaled, upscale), where))
        stems = [path.stem for path in folder.high_res]
        tasks += [_Task(name, folder, OutputFolder(path, folder.label, stems, scale), None) for name, path in made.items()]
    return tasks


def _upscaled(upscale: Upscale, pair: Pair) -> Array:
    return upscale(pair.low_res)


def _learned(metrics: Sequence[str], lpips_weights: str | Path | None, niqe_model: Path | None) -> Learned:
    learned: dict[str, NaturalModel | Lpips | Dists | FeatureNetwork] = {}
    for metric in metrics:
        if metric in METRIC_NETWORKS:
            network = Dists() if metric == "dists" else Lpips(metric.removeprefix("lpips-"))
            load_metric_network(network, metric, lpips_weights)
            learned[metric] = network
    if "features" in metrics:
        learned["features"] = feature_network(FEATURES, "conv5_1")
    if niqe_model is not None:
        learned["niqe"] = read_model(niqe_model)
    return learned


def _own_share(
    task: _Task, numbers: Sequence[int], measure: Callable[..., list[Row]], progress: Progress | None, observe: Observe | None
) -> tuple[list[Row], Cost, set[int]]:
    """A task on some of the pictures, and their depths."""
    data = task.folder.label
    seen_all: list[tuple[float, int]] = []
    bits: set[int] = set()

    def told(done: int) -> None:
        if progress is not None:
            progress(task.model, data, done, len(numbers))

    def watch(seen: Seen) -> None:
        bits.add(bits_of(seen.pair))
        seen_all.append((seen.seconds, seen.super_res.shape[0] * seen.super_res.shape[1]))
        if observe is not None:
            observe(data, task.model, seen)

    told(0)
    pairs = (task.folder[number] for number in numbers)
    with peak_memory(task.device or "cpu") as peak:
        rows = measure(task.output_of, pairs, model=task.model, data=data, progress=told, observe=watch)
    megapixels = sum(pixels for _, pixels in seen_all) / 1e6
    if task.device is None:
        return rows, Cost(task.model, data, None, megapixels, None), bits
    return rows, Cost(task.model, data, sum(seconds for seconds, _ in seen_all), megapixels, peak.bytes), bits


def _own_facts(order: Order, progress: Progress | None, observe: Observe | None) -> Facts:
    """Those of this process's share of the pictures."""
    return Measuring(order).facts(lambda folder: processes.share(len(folder)), progress, observe)


def _of_all_processes(own: Callable[[], Facts]) -> list[Facts]:
    """The facts of every process's share; raises at every process what went wrong at any."""
    failure: SuperscaleError | None = None
    try:
        facts = own()
    except SuperscaleError as error:
        failure, facts = error, failed(error)
    parts = processes.gather(facts)
    if any(part["failure"] for part in parts):
        raise failure or error_of(parts)
    return parts


def failed(error: SuperscaleError) -> Facts:
    """That a share could not be measured."""
    return {"rows": [], "costs": [], "bits": [], "failure": [isinstance(error, UsageError), str(error)]}


def error_of(parts: Sequence[Facts]) -> SuperscaleError:
    """The first thing that went wrong."""
    is_usage, text = next(part["failure"] for part in parts if part["failure"])
    return (UsageError if is_usage else DataError)(text)


def joined(parts: Sequence[Facts], folders: Sequence[PairFolder]) -> Facts:
    """The facts of shares as those of the whole."""
    bits = [depth for part in parts for depth in part["bits"]]
    return {"rows": _whole_rows(parts, folders), "costs": _whole_costs(parts), "bits": bits, "failure": None}


def _whole_rows(parts: Sequence[Facts], folders: Sequence[PairFolder]) -> list[Facts]:
    """The rows of all shares, pictures in their folder's order, so that sums are the same to the last digit."""
    names = {folder.label: [path.stem for path in folder.high_res] for folder in folders}
    rows = []
    for same in zip(*(part["rows"] for part in parts), strict=True):
        found = {name: value for row in same for name, value in row["images"].items()}
        rows.append(same[0] | {"images": {name: found[name] for name in names[same[0]["data"]] if name in found}})
    return rows


def _whole_costs(parts: Sequence[Facts]) -> list[Facts]:
    """Seconds and megapixels summed over shares; of memory, the most that any held."""
    costs = []
    for same in zip(*(part["costs"] for part in parts), strict=True):
        seconds, held = ([cost[name] for cost in same if cost[name] is not None] for name in ("seconds", "peak_bytes"))
        total = {"seconds": sum(seconds) if seconds else None, "megapixels": round(sum(cost["megapixels"] for cost in same), 6)}
        costs.append(same[0] | total | {"peak_bytes": max(held, default=None)})
    return costs
