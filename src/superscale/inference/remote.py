"""Pictures in an object store: which are to be done, and how a worker does one, from its object to the object of its output.

A worker does a picture as `run_jobs` does every picture, on a copy of its object, and writes the result by one conditional request.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from posixpath import splitext
from threading import Lock
from typing import Any

from superscale.errors import ModelError, StoreError, UsageError
from superscale.files import sweep, temporary_name
from superscale.image.animation import is_animated
from superscale.image.formats import READ_SUFFIXES, missing_extra
from superscale.image.io import Image
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Fault, Outcome, Settings, why
from superscale.inference.plan import Job, output_name, output_suffix
from superscale.inference.scenes import Windows
from superscale.inference.upscaler import Upscaler
from superscale.machine.pool import in_threads
from superscale.machine.ray_pool import Cluster, on_ray
from superscale.options import Scale, UpscaleOptions
from superscale.reading import read_file
from superscale.remote.manifest import Finished, Line, Manifest, failures, lines
from superscale.remote.names import LONGEST_KEY_BYTES, TREE_MARK, Address, is_remote, parsed, trouble
from superscale.remote.store import OWN, Access, Entry, LostRace, Store

# The facts that are written with an output.
SOURCE, SETTINGS, INPUT, RUN = "superscale-source-etag", "superscale-settings", "superscale-input", "superscale-run"
# How often an output is written anew that has gone or changed between two requests.
RACES = 3


@dataclass(frozen=True, kw_only=True)
class Order:
    """All that a worker has to know, wherever it runs; no secrets. ``model``: a name, or the name of the file whose bytes are
    ``weights``; ``digest``: the model's; ``settings``: without functions; ``scale``: of the outputs."""

    model: str
    digest: str
    scale: Scale
    options: UpscaleOptions
    settings: Settings
    access: Access
    output: Address
    run: str
    weights: bytes | None = field(default=None, repr=False)
    fidelity: float | None = None
    suffix: str | None = None

    @property
    def hash(self) -> str:
        """Of what makes an output's bits, as far as it is chosen: the device and the library that computes are not in it."""
        options = {key: value for key, value in asdict(self.options).items() if key not in ("device", "backend", "scale")}
        chosen = {name: getattr(self.settings, name) for name in ("quality", "metadata", "lenient")}
        size = asdict(self.scale) if not isinstance(self.scale, int | float) else float(self.scale)
        return sha256(json.dumps([self.digest, size, self.suffix, options, chosen], sort_keys=True).encode()).hexdigest()[:32]

    def places(self, name: str) -> list[Address]:
        """Where the output of a picture of this name goes; of a GIF also where that of an animation goes, which only the file tells."""
        own = splitext(name)[1]
        suffixes = dict.fromkeys(output_suffix(own, self.suffix, is_animation) for is_animation in (False, True))
        return [self.output.below(output_name(name, suffix, self.scale)) for suffix in suffixes]


@dataclass(frozen=True)
class Task:
    """One object to do. ``root``: the prefix whose tree is kept; ``exists``: something is at the place of its output; ``animated``: the
    place of its output if it turns out to be an animation."""

    entry: Entry
    root: Address
    output: Address
    animated: Address | None = None
    exists: bool = False

    @property
    def name(self) -> str:
        """As people know the input."""
        return str(self.entry.address)

    @property
    def again(self) -> str:
        """The name that leads the input to the same output when it is read from a list."""
        return f"{str(self.root)[:-1]}{TREE_MARK}{self.entry.address.key.removeprefix(self.root.key)}"

    def failed(self, fault: Fault) -> Outcome:
        """The outcome that it failed."""
        end = {"error": fault.text, "code": fault.code, "again": self.again, "settings": fault.settings}
        return Outcome(self.name, str(self.output), "failed", **end)  # type: ignore[arg-type]


class Plan:
    """What is to be done of the inputs, as a stream. ``finished``: how many need not be; ``passed_over``: objects that are no pictures
    by their name; ``seen``: pictures that were listed so far."""

    def __init__(self, inputs: Sequence[str], order: Order, store: Store) -> None:
        self.inputs, self.order, self.store = inputs, order, store
        self.finished = self.passed_over = self.seen = 0

    def __iter__(self) -> Iterator[Task | Outcome]:
        finished = Finished(self.store, self.order.output, self.order.hash)
        for entry, root in self._entries():
            name = entry.address.key.removeprefix(root.key)
            places = self.order.places(name)
            self.seen += 1
            task = Task(entry, root, places[0], places[1] if len(places) > 1 else None)
            if (reason := _unfit(task, name, self.order.settings)) is not None:
                yield task.failed(reason)
                continue
            if not entry.etag:
                yield task.failed(Fault("unreadable", "no such object"))
                continue
            states = {finished.state(entry.address, entry.etag, place) for place in places}
            if "finished" in states:
                self.finished += 1
            else:
                yield replace(task, exists="exists" in states)

    def count(self) -> int:
        """How many pictures there are, by listings of its own."""
        return sum(1 for _ in Plan(self.inputs, self.order, self.store)._entries())

    def _entries(self) -> Iterator[tuple[Entry, Address]]:
        for given in self.inputs:
            if given.startswith("@"):
                yield from self._listed_in(given)
            else:
                yield from self._named(given)

    def _listed_in(self, given: str) -> Iterator[tuple[Entry, Address]]:
        """The names of a list, or what failed by a manifest."""
        if not is_remote([given]):
            try:
                names = read_file(Path(given[1:])).decode().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{given}: no list can be read ({getattr(error, 'strerror', None) or error})") from error
            for name in names:
                if name.strip() and not name.startswith("#"):
                    yield from self._named(name)
            return
        for name, root in failures(lines(self.store, parsed(given[1:]))).items():
            yield self._one(parsed(name)), parsed(root)

    def _named(self, given: str) -> Iterator[tuple[Entry, Address]]:
        before, mark, name = given.partition(TREE_MARK)
        address = parsed(f"{before}/{name}" if mark else given)
        root = parsed(before + "/") if mark else _folder(address)
        if address.scheme != self.order.output.scheme:
            raise UsageError(f"{given}: expected {self.order.output.scheme}://, as the output has it")
        if not address.is_prefix and ((entry := self.store.entry(address)) is not None or mark):
            yield entry or self._one(address), root
        else:
            yield from self._below(address if address.is_prefix else address.below("/"))

    def _one(self, address: Address) -> Entry:
        # Without an etag: what is not there is told as a failure of its own.
        return self.store.entry(address) or Entry(address, "", 0)

    def _below(self, prefix: Address) -> Iterator[tuple[Entry, Address]]:
        output, empty = self.order.output, True
        for entry in self.store.listed(prefix):
            key = entry.address.key
            is_own = output.bucket == prefix.bucket and key.startswith(output.key) and output.key != ""
            if is_own or key.endswith("/") or OWN in key.removeprefix(prefix.key):
                continue
            empty = False
            if _is_picture(key):
                yield entry, prefix
            else:
                self.passed_over += 1
        if empty:
            raise StoreError(f"{prefix}: no objects below this prefix")


def _folder(address: Address) -> Address:
    return address.at(address.key[: address.key.rfind("/") + 1])


def _is_picture(key: str) -> bool:
    suffix = splitext(key)[1].lower()
    return suffix in READ_SUFFIXES and not key.rpartition("/")[2].startswith("._") and missing_extra(suffix) is None


def _unfit(task: Task, name: str, settings: Settings) -> Fault | None:
    """Why a task is not even begun."""
    if (reason := trouble(name)) is not None:
        return Fault("unreadable", reason)
    if len(task.output.key.encode()) > LONGEST_KEY_BYTES:
        return Fault("unwritable", f"the key of its output would be longer than {LONGEST_KEY_BYTES} bytes")
    if settings.max_bytes is not None and task.entry.size > settings.max_bytes:
        return Fault("too-large", f"{task.entry.size} bytes, more than {settings.max_bytes}", ("max_bytes",))
    return None


class Worker:
    """Does one picture after another, two of them at a time: one is read or written while the network works on the other.

    ``upscaler``: None for one as ``order`` says. Raises ModelError where that is not the model that the order speaks of.
    """

    def __init__(self, order: Order, name: str, upscaler: Upscaler | None = None) -> None:
        self.order, self.store, self._hash = order, Store(order.access), order.hash
        self.manifest = Manifest(self.store, order.output, order.run, name)
        sweep([Path(tempfile.gettempdir())])
        self._folder = temporary_name(Path(tempfile.gettempdir()))
        self._folder.mkdir(mode=0o700)
        self.upscaler = upscaler or self._loaded()
        self._computing = Lock()
        self._settings = replace(order.settings, existing="overwrite", measure=self.upscaler.measure)

    def _loaded(self) -> Upscaler:
        order, model = self.order, self.order.model
        if order.weights is not None:
            path = self._folder / Path(model).name
            path.write_bytes(order.weights)
            model = str(path)
        upscaler = Upscaler.with_options(model, order.options, order.fidelity)
        if (got := upscaler.model.digest()) != order.digest:
            raise ModelError(
                f"{order.model} is another model on this machine ({got[:12]}, expected {order.digest[:12]}); "
                "install the same version of superscale everywhere, or give --model a file"
            )
        return upscaler

    def commit(self) -> None:
        """Write what is kept of the manifest."""
        self.manifest.commit()

    def close(self) -> None:
        """Write the rest of the manifest, and leave no file."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.manifest.commit()

    def do(self, task: Task | Outcome) -> Outcome:
        """Do one picture; whatever goes wrong with it is its outcome. An outcome is returned as it is."""
        if isinstance(task, Outcome):
            return task
        try:
            with self._place() as folder:
                return self._done(task, folder)
        except Exception as error:
            return self.noted(task, task.failed(why(error)))

    @contextmanager
    def _place(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _done(self, task: Task, folder: Path) -> Outcome:
        # The names of objects are never those of files.
        source = folder / f"input{PurePosixPath(task.entry.address.key).suffix.lower()}"
        if task.animated is not None:
            self.store.fetch(task.entry, source)
            task = replace(task, output=task.animated if is_animated(source) else task.output)
        told = self._there(task) if task.exists else None
        if isinstance(told, Outcome):
            return told
        if task.animated is None:
            self.store.fetch(task.entry, source)
        target = folder / f"output{PurePosixPath(task.output.key).suffix}"
        job = Job(source, target, suffix=target.suffix)
        outcome = next(run_jobs([job], self._enlarge, self._settings, windows=Windows(self.upscaler)))
        error = outcome.error and outcome.error.replace(str(source), task.name).replace(str(target), str(task.output))
        outcome = replace(outcome, input=task.name, output=str(task.output), again=task.again, error=error)
        if outcome.status != "done":
            return self.noted(task, outcome)
        return self._put(task, target, outcome, told)

    def _enlarge(self, image: Image, **how: Any) -> Image:
        with self._computing:
            return self.upscaler.enlarge(image, **how)

    def _put(self, task: Task, path: Path, outcome: Outcome, replaces: str | None) -> Outcome:
        facts = {**self._facts(task), RUN: self.order.run}
        for _ in range(RACES):
            try:
                etag = self.store.put(task.output, path, facts, replaces)
            except LostRace:
                told = self._there(task, outcome)
                if isinstance(told, Outcome):
                    return told
                replaces = told
            else:
                return self.noted(task, outcome, etag, path.stat().st_size)
        raise StoreError(f"{task.output}: it was changed {RACES} times while it was written")

    def _facts(self, task: Task) -> dict[str, str]:
        return {SOURCE: task.entry.etag, SETTINGS: self._hash, INPUT: sha256(task.name.encode()).hexdigest()[:32]}

    def _there(self, task: Task, made: Outcome | None = None) -> Outcome | str | None:
        """Of what is at the place of the output: the task's outcome, or the etag of what is to be replaced; None if nothing is there.

        ``made``: the outcome of a picture that is computed, whose place was taken meanwhile."""
        if (found := self.store.facts(task.output)) is None:
            return None
        entry, facts = found
        existing, by_us = self.order.settings.existing, facts.get(RUN) == self.order.run
        skipped = Outcome(task.name, str(task.output), "skipped")
        if all(facts.get(key) == value for key, value in self._facts(task).items()):
            if made is not None and not by_us:
                made = replace(skipped, error="another process has made it since this one began", code="elsewhere")
            # By us: the store's answer was lost, or the worker that wrote it was.
            return self.noted(task, made or skipped, entry.etag, entry.size)
        if by_us:
            text = f"{task.output} is the output of another input of this run, too; give one of them another prefix"
            return self.noted(task, task.failed(Fault("exists", text)))
        if existing == "skip":
            return skipped
        if existing == "overwrite":
            return entry.etag
        text = f"{task.output} exists, made of something else or with other settings; choose to overwrite or to skip it"
        return self.noted(task, task.failed(Fault("exists", text, ("overwrite", "skip_existing"))))

    def noted(self, task: Task, outcome: Outcome, etag: str | None = None, size: int | None = None) -> Outcome:
        """The outcome, with its line in the manifest."""
        self.manifest.add(line_of(task, outcome, self.order, self._hash, etag, size))
        return outcome


def line_of(
    task: Task, outcome: Outcome, order: Order, settings: str, etag: str | None = None, size: int | None = None
) -> Line:
    """The line of a task in the manifest. ``etag`` and ``size``: of its output."""
    return Line(
        input=task.name,
        root=str(task.root),
        etag=task.entry.etag,
        size=task.entry.size,
        output=str(task.output),
        status="failed" if outcome.status == "failed" else "done",
        model=order.digest[:32],
        settings=settings,
        output_etag=etag,
        output_size=size,
        seconds=outcome.seconds,
        code=outcome.code,
        error=outcome.error if outcome.code != "elsewhere" else None,
    )


def upscale_objects(plan: Plan, upscaler: Upscaler, threads: int = 2) -> Generator[Outcome, None, None]:
    """Do what is planned on this machine and yield what became of each; interrupted, it ends what is begun."""
    plan.store.require_conditions(plan.order.output)
    plan.store.sweep(plan.order.output)
    worker = Worker(plan.order, "local", upscaler)
    try:
        yield from in_threads(worker.do, plan, threads)
    finally:
        worker.close()
        plan.store.sweep(plan.order.output)


def upscale_objects_on(plan: Plan, cluster: Cluster) -> Generator[Outcome, None, None]:
    """As `upscale_objects`, on a Ray cluster."""
    plan.store.require_conditions(plan.order.output)
    plan.store.sweep(plan.order.output)
    order = plan.order
    notes = Manifest(plan.store, order.output, order.run, "driver")

    def lost(task: Task | Outcome, text: str) -> Outcome:
        if isinstance(task, Outcome):
            return task
        outcome = task.failed(Fault("worker-died", text))
        notes.add(line_of(task, outcome, order, order.hash))
        return outcome

    try:
        yield from on_ray(partial(Worker, order), plan, lost, cluster)
    finally:
        notes.commit()
        plan.store.sweep(order.output)
