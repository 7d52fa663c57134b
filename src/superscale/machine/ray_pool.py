"""Many tasks on a Ray cluster: plain actors with one worker each, and tries of our own, as one task may kill whoever does it.

Only names travel: a worker reads and writes what they name itself.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from superscale import __version__
from superscale.errors import MissingExtraError, SuperscaleError

Task = TypeVar("Task")
Result = TypeVar("Result")
IN_FLIGHT = 2
# A task that has killed its worker so often has failed; nodes may go so often while they are at it, for whatever reason.
DEATHS, NODES_LOST = 3, 10
# Workers that die before they have done anything, one after another: the order cannot be carried out.
USELESS_STARTS = 3
LOOK_SECONDS = 5.0
CLOSE_SECONDS = 60.0
# The bounds of the dashboard's histogram.
SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]
# What Ray's head starts for a driver elsewhere sometimes dies of its fork (2.60: "Other threads are currently calling into gRPC").
CLIENT_SERVER_DIED, CLIENT_SERVER_TRIES = "Starting Ray client server failed", 4
NODE_DIED = "node has died", "node was terminated", "node is dead", "preempted"


class Works(Protocol):
    """What an actor holds; by default it keeps nothing."""

    def do(self, task: Any) -> Any:
        """Do one task, whatever goes wrong with it being in its result."""

    def commit(self) -> None:
        """Write what is kept: what comes next may be the end."""
        return

    def close(self) -> None:
        """Write what is kept, and leave nothing."""
        return


class WorkTime:
    """How long workers have been at hand, all together: what a cluster is paid for."""

    def __init__(self) -> None:
        self._seconds, self._workers, self._last = 0.0, 0, time.monotonic()

    def change(self, workers: int) -> None:
        """So many more workers from now on, or fewer."""
        self._seconds, self._workers, self._last = self.seconds, self._workers + workers, time.monotonic()

    @property
    def seconds(self) -> float:
        """Up to now."""
        return self._seconds + self._workers * (time.monotonic() - self._last)


@dataclass(frozen=True)
class Cluster:
    """``address``: of the head, "" for the cluster of this machine; ``share``: GPUs of a worker, or CPUs where there are no GPUs;
    ``workers``: how many, None for as many as fit. ``takes_gpus``: where there are some. ``time``: counted while they work."""

    address: str = ""
    share: float = 1.0
    workers: int | None = None
    takes_gpus: bool = True
    time: WorkTime = field(default_factory=WorkTime)


@dataclass
class _Try(Generic[Task]):
    """A task and what it has gone through."""

    task: Task
    deaths: int = 0
    nodes_lost: int = 0


@dataclass
class _Actor(Generic[Task]):
    handle: Any
    starting: Any
    at_work: dict[Any, _Try[Task]] = field(default_factory=dict)
    alone: bool = False

    @property
    def is_ready(self) -> bool:
        return self.starting is None


class _Host:
    """An actor: one worker, and two threads that hand it tasks."""

    def __init__(self, make: Callable[[str], Works], name: str, version: str, home: str) -> None:
        with suppress(OSError):  # another machine may have no such folder
            os.chdir(home)
        if version != __version__:
            raise SuperscaleError(f"this node has superscale {__version__}, expected the driver's, {version}")
        from ray.util.metrics import Histogram

        self.seconds = Histogram("superscale_task_seconds", "What a task took.", boundaries=SECONDS)
        self.worker = make(name)

    def ready(self) -> bool:
        return True

    def do(self, task: Any, is_alone: bool) -> Any:
        if is_alone:
            self.worker.commit()
        began = time.monotonic()
        result = self.worker.do(task)
        self.seconds.observe(time.monotonic() - began)
        return result

    def close(self) -> None:
        self.worker.close()


def on_ray(
    make: Callable[[str], Works],
    tasks: Iterable[Task],
    lost: Callable[[Task, str], Result],
    cluster: Cluster,
    may_begin: Callable[[], bool] = lambda: True,
) -> Generator[Result, None, None]:
    """Do the tasks on a cluster and yield each result when it is there. ``make``: a worker of this name, made on its node.

    ``lost``: the result of a task that killed its worker each time. ``may_begin``: whether another may be begun now; one that was
    begun is not held up. KeyboardInterrupt and SystemExit end the taking of tasks, and are
    raised when what is begun has ended; a second one is raised at once. Raises SuperscaleError where no worker can be made.
    """
    ray = _connected(cluster)
    pool = _Pool(ray, make, tasks, lost, cluster, may_begin)
    try:
        yield from pool.results()
    finally:
        pool.close()
        ray.shutdown()


def _connected(cluster: Cluster) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--on ray", "ray") from error
    tries = 0
    while not ray.is_initialized():
        tries += 1
        try:
            ray.init(address=cluster.address or None, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            if CLIENT_SERVER_DIED in str(error) and tries < CLIENT_SERVER_TRIES:
                continue
            where = cluster.address or "on this machine"
            raise SuperscaleError(f"no Ray cluster {where}: {' '.join(str(error).split())[:300]}") from error
    return ray


class _Pool(Generic[Task, Result]):
    """The actors, what they are at, and what is to be tried again."""

    def __init__(
        self,
        ray: Any,
        make: Callable[[str], Works],
        tasks: Iterable[Task],
        lost: Callable[[Task, str], Result],
        cluster: Cluster,
        may_begin: Callable[[], bool],
    ) -> None:
        self._ray, self._make, self._lost, self._cluster, self._may_begin = ray, make, lost, cluster, may_begin
        self._tasks: Iterator[Task] = iter(tasks)
        self._actors: list[_Actor[Task]] = []
        self._suspects: deque[_Try[Task]] = deque()
        self._started = self._useless = 0
        self._looked = -LOOK_SECONDS
        self._stop: BaseException | None = None
        self._is_empty = False
        kind = "GPU" if cluster.takes_gpus and ray.cluster_resources().get("GPU") else "CPU"
        self._kind = kind
        resources: dict[str, float] = {"num_gpus": cluster.share} if kind == "GPU" else {"num_cpus": cluster.share}
        self._host = ray.remote(max_concurrency=IN_FLIGHT, max_restarts=0, max_task_retries=0, **resources)(_Host)

    def results(self) -> Iterator[Result]:
        """One after another, until all tasks are done."""
        while True:
            ready: list[Result] = []
            try:
                self._grow()
                self._hand_out()
                if not any(actor.at_work for actor in self._actors) and self._has_no_more():
                    break
                ready = self._waited()
            except (KeyboardInterrupt, SystemExit) as signal:
                if self._stop is not None:
                    raise
                self._stop = signal
            yield from ready
        if self._stop is not None:
            raise self._stop

    def _has_no_more(self) -> bool:
        return self._stop is not None or (self._is_empty and not self._suspects)

    def _grow(self) -> None:
        """Start workers where there is room for more, now and then: nodes come and go."""
        if time.monotonic() - self._looked < LOOK_SECONDS or self._stop is not None:
            return
        self._looked = time.monotonic()
        room = int(self._ray.cluster_resources().get(self._kind, 0) / self._cluster.share)
        wanted = self._cluster.workers or max(room, 1)
        while len(self._actors) < wanted:
            self._started += 1
            handle = self._host.remote(self._make, f"worker-{self._started:05d}", __version__, os.getcwd())
            self._actors.append(_Actor(handle, handle.ready.remote()))

    def _hand_out(self) -> None:
        """Two names for each actor; but what may have killed one is tried alone, so that no other task dies with it."""
        is_kept_free = False
        for actor in self._actors:
            if not actor.is_ready or actor.alone or self._stop is not None:
                continue
            if self._suspects and not is_kept_free:
                if actor.at_work:
                    is_kept_free = True
                else:
                    actor.alone = True
                    self._give(actor, self._suspects.popleft())
                continue
            while len(actor.at_work) < IN_FLIGHT and not self._is_empty and self._may_begin():
                task = next(self._tasks, None)
                if task is None:
                    self._is_empty = True
                else:
                    self._give(actor, _Try(task))

    def _give(self, actor: _Actor[Task], one: _Try[Task]) -> None:
        actor.at_work[actor.handle.do.remote(one.task, actor.alone)] = one

    def _waited(self) -> list[Result]:
        by_ref = {ref: actor for actor in self._actors for ref in actor.at_work}
        by_ref |= {actor.starting: actor for actor in self._actors if not actor.is_ready}
        if not by_ref:
            return []
        refs = list(by_ref)
        done, rest = self._ray.wait(refs, num_returns=1, timeout=1.0)
        more = self._ray.wait(rest, num_returns=len(rest), timeout=0)[0] if done and rest else []
        results: list[Result] = []
        for ref in (*done, *more):
            # An actor that died had all its tasks taken from it with the first of them.
            if (actor := by_ref[ref]) in self._actors:
                results += self._ended(actor, ref)
        return results

    def _ended(self, actor: _Actor[Task], ref: Any) -> list[Result]:
        try:
            value = self._ray.get(ref)
        except self._ray.exceptions.RayActorError as error:
            return self._died(actor, error)
        if ref == actor.starting:
            actor.starting = None
            self._cluster.time.change(1)
            return []
        self._useless = 0
        del actor.at_work[ref]
        actor.alone = False
        return [value]

    def _died(self, actor: _Actor[Task], error: Exception) -> list[Result]:
        """Take its tasks from an actor: each is tried again, alone, or has been the death of too many."""
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
        self._looked = -LOOK_SECONDS
        text = " ".join(str(error).split())
        if actor.is_ready:
            self._cluster.time.change(-1)
        else:
            self._useless += 1
            if self._useless >= USELESS_STARTS:
                raise SuperscaleError(f"no worker could be started on Ray: {text[-500:]}") from error
        results: list[Result] = []
        lost_node = any(sign in text for sign in NODE_DIED)
        for one in actor.at_work.values():
            one.deaths, one.nodes_lost = one.deaths + (not lost_node), one.nodes_lost + lost_node
            if one.deaths >= DEATHS or one.nodes_lost >= NODES_LOST:
                results.append(self._lost(one.task, f"it killed its worker {one.deaths + one.nodes_lost} times"))
            else:
                self._suspects.append(one)
        return results

    def close(self) -> None:
        """Let the workers write what they keep, and end them."""
        closing = [actor.handle.close.remote() for actor in self._actors if actor.is_ready]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._cluster.time.change(-len(closing))
        self._actors = []
