"""`evaluate` on a Ray cluster: a worker measures one picture after another, by all models, and the driver joins what comes.

Files are read by the workers, under the same paths as by the driver; what another node sees there otherwise is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from superscale.errors import DataError, SuperscaleError
from superscale.evaluation.benchmark import Seen
from superscale.evaluation.measuring import (
    BASELINES,
    Facts,
    Measuring,
    Observe,
    Order,
    Progress,
    error_of,
    failed,
    joined,
)
from superscale.evaluation.outputs import OutputFolder
from superscale.machine.device import pick_device
from superscale.machine.ray_pool import Cluster, Works, on_ray
from superscale.reading import fingerprint
from superscale.weights.store import model_path, sha256_of


@dataclass(frozen=True)
class _Task:
    """A picture: its number in the folder of that number, and the fingerprints of its files."""

    folder: int
    number: int
    prints: Mapping[Path, str]


# what was done, its facts, and where pictures travel back, too, what `Observe` is told
Result = tuple[_Task, Facts, list[tuple[str, str, Seen]]]


@dataclass(frozen=True)
class _Worker(Works):
    """What an actor holds. ``watched``: pictures travel back, too."""

    order: Order
    watched: bool
    measuring: Measuring

    def do(self, task: _Task) -> Result:
        """Measure a picture."""
        seen: list[tuple[str, str, Seen]] = []
        folder = self.order.folders[task.folder]
        try:
            _require(task.prints, fingerprint)
            watch = (lambda data, model, one: seen.append((data, model, one))) if self.watched else None
            facts = self.measuring.facts(lambda one: [task.number] if one is folder else None, None, watch)
        except SuperscaleError as error:
            facts = failed(error)
        return task, facts, seen


def _worker(order: Order, prints: Mapping[str, str], watched: bool, _name: str) -> _Worker:
    _require(prints, _models(order).__getitem__)
    return _Worker(order, watched, Measuring(replace(order, device=str(pick_device(order.device)))))


def _models(order: Order) -> dict[str, str]:
    """The digests of files that all pictures need, by their names."""
    files = {name: model_path(model) for name, model in order.models.items() if not callable(model) and model not in BASELINES}
    files |= {} if order.niqe_model is None else {str(order.niqe_model): order.niqe_model}
    return {name: sha256_of(path) for name, path in files.items()}


def _require(expected: Mapping[Any, str], digest: Callable[[Any], str]) -> None:
    for name, one in expected.items():
        try:
            is_same = digest(name) == one
        except (OSError, KeyError):
            is_same = False
        if not is_same:
            raise DataError(
                f"{name}: a worker sees no such file or another; with --on ray all machines must see the same folders"
            )


def _tasks(order: Order) -> Iterator[_Task]:
    for index, folder in enumerate(order.folders):
        names = [path.stem for path in folder.high_res]
        outputs = [OutputFolder(path, folder.label, names, order.scale) for path in order.outputs]
        for number, (name, path) in enumerate(zip(names, folder.high_res, strict=True)):
            files = [path, *(folder.low_res or ())[number : number + 1], *(one.paths[name] for one in outputs)]
            yield _Task(index, number, {file: fingerprint(file) for file in files})


def facts_of_workers(order: Order, cluster: Cluster, progress: Progress | None, observe: Observe | None) -> Facts:
    """The facts of all pictures, as one process has them. Raises the first error of a worker, and SuperscaleError where none starts."""

    def lost(task: _Task, text: str) -> Result:
        return task, failed(DataError(f"{order.folders[task.folder].high_res[task.number]}: {text}")), []

    make = partial(_worker, order, _models(order), observe is not None)
    parts: list[list[Facts]] = [[] for _ in order.folders]
    with closing(on_ray(make, _tasks(order), lost, cluster)) as results:
        for task, facts, seen in results:
            if facts["failure"]:
                raise error_of([facts])
            of_folder = parts[task.folder]
            of_folder.append(facts)
            if observe is not None:
                for one in seen:
                    observe(*one)
            if progress is not None:
                _tell(progress, facts, len(of_folder), len(order.folders[task.folder]))
    whole = [joined(of_folder, order.folders) for of_folder in parts]
    return {key: [one for part in whole for one in part[key]] for key in ("rows", "costs", "bits")}


def _tell(progress: Progress, facts: Facts, done: int, total: int) -> None:
    for cost in facts["costs"]:
        if done == 1:
            progress(cost["model"], cost["data"], 0, total)
        progress(cost["model"], cost["data"], done, total)
