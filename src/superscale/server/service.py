"""Jobs from their upload to their end: who may wait, whose turn it is, how long it will take, and what happens at a stop."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from superscale.errors import Unsupported
from superscale.image.formats import HEADER_BYTES, SUFFIXES, check_sides, suffix_of
from superscale.server.children import Child, Unfit
from superscale.server.jobs import Asked, Job, Spool
from superscale.server.limits import Settings, check_output
from superscale.server.metrics import Metrics
from superscale.server.problems import Problem

log = logging.getLogger("superscale.server")
INSPECTION_SECONDS = 10.0
SWEEP_SECONDS = 5.0
# How much of the newest measurement goes into the rate of a model.
NEWNESS = 0.3
# For a small picture, whatever the rate: to be read, sent and written.
LEAST_SECONDS = 0.1
CANCELLED = Problem("cancelled", "The job was cancelled.")


class Service:
    """The jobs of one spool folder and the workers that do them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool)
        self.metrics = Metrics(self)
        self.draining = self._is_over_time = False
        self.unfit: str | None = None
        self.on_unfit: Callable[[], None] = lambda: None
        # seconds of computing for one input pixel, by model; None: the default model, measured when a worker starts
        self.rates: dict[str | None, float] = {}
        self.progress: dict[str, float] = {}
        self._used_bytes = self.spool.used_bytes()
        self._changes: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._work = asyncio.Event()
        self._inspecting = asyncio.Lock()
        self._cancelled: set[str] = set()
        self._left: set[str] = set()
        limits = {"max_pixels": settings.max_pixels, "timeout": settings.timeout, "memory": settings.memory}
        how = {"model": settings.model, "backend": settings.backend, "tile": settings.tile}
        self.inspector = Child({"role": "inspector", **limits})
        self.workers = [
            Child({"role": "worker", "device": device, **limits, **how}, self._worker_ready) for device in settings.devices
        ]
        self._running: dict[str, Child] = {}

    # -- what there is -------------------------------------------------------------------------------------------------------

    @property
    def models(self) -> list[dict[str, Any]]:
        """The models that a worker knows, the default first; empty while loading."""
        return next((child.about["models"] for child in self.workers if child.about), [])

    @property
    def is_ready(self) -> bool:
        """Whether jobs are taken and done at once."""
        return not self.draining and bool(self.models) and self.inspector.about is not None

    def seconds(self, job: Job) -> float:
        """How long computing a job takes, by what was measured."""
        rate = self.rates.get(job.asked.model) or self.rates.get(None) or 0.0
        return LEAST_SECONDS + rate * job.pixels

    def seconds_left(self, job: Job) -> float:
        """Until a job that runs, or waits, is done."""
        if job.state == "running":
            done = self.progress.get(job.id, 0.0)
            elapsed = time.time() - (job.started or time.time())
            return elapsed * (1 - done) / done if done > 0 else max(0.0, self.seconds(job) - elapsed)
        ahead = self._ahead(job)
        before = sum(self.seconds_left(one) for one in self.spool.listed("running")) + sum(map(self.seconds, ahead))
        return before / len(self.workers) + self.seconds(job)

    def place(self, job: Job) -> int:
        """In the queue, from 1."""
        return len(self._ahead(job)) + 1

    def _ahead(self, job: Job) -> list[Job]:
        queue = [one for one in self.spool.listed("waiting") if one.is_preview == job.is_preview]
        return queue[: next((number for number, one in enumerate(queue) if one.id == job.id), len(queue))]

    def document(self, job: Job) -> dict[str, Any]:
        """What ``GET /v1/jobs/{id}`` says."""
        facts: dict[str, Any] = {"id": job.id, "state": job.state, "name": job.name, **asdict(job.asked)}
        facts["input"] = {"width": job.width, "height": job.height, "bytes": job.bytes}
        if job.state == "waiting":
            facts["place"] = self.place(job)
        if not job.is_over:
            facts["seconds_left"] = round(self.seconds_left(job), 1)
        facts["progress"] = 100 if job.state == "done" else math.floor(100 * self.progress.get(job.id, 0.0))
        facts |= {"created": job.created, "started": job.started, "ended": job.ended}
        if job.ended is not None:
            facts["expires"] = job.ended + self.settings.keep
        if job.result is not None:
            facts["output"] = {name: value for name, value in job.result.items() if name != "suffix"}
        return facts | ({} if job.error is None else {"error": job.error})

    def job(self, job_id: str) -> Job:
        """A job by its id. Raises Problem."""
        if (job := self.spool.get(job_id)) is None:
            raise Problem("not-found", "There is no such job; results are deleted some time after they are done.")
        return job

    # -- accepting -----------------------------------------------------------------------------------------------------------

    def admit(self, size: int = 0) -> None:
        """Raises Problem when no further job can be taken now. ``size``: bytes of its upload, if known."""
        if self.draining:
            raise self._refused("draining", "The server is about to stop; try again in a moment.", self.settings.grace)
        if not self.is_ready:
            raise self._refused("loading", "The server is loading its model; try again in a moment.", 3)
        if self.spool.waiting() >= self.settings.queue:
            left = self.seconds_until_place()
            detail = f"{self.settings.queue} pictures wait already; there is a place in about {left:.0f} seconds."
            raise self._refused("queue-full", detail, left)
        if self._used_bytes + size > self.settings.quota:
            first = self.spool.first_to_expire()
            left = self.seconds_until_place() if first is None else first + self.settings.keep - time.time()
            raise self._refused("disk-full", "The server keeps as many pictures as it has room for; try again later.", left)

    def seconds_until_place(self) -> float:
        """Until a running job ends, so that a waiting one leaves the queue."""
        running = [self.seconds_left(one) for one in self.spool.listed("running") if not one.is_preview]
        return max(1.0, min(running, default=1.0))

    def _refused(self, kind: str, detail: str, seconds: float) -> Problem:
        self.metrics.rejected(kind)
        return Problem(kind, detail, retry_after=max(1, math.ceil(seconds)))

    async def inspect(self, upload: Path, asked: Asked) -> tuple[int, int]:
        """Width and height of an upload. Raises Problem for what is no picture, damaged, or beyond the limits."""
        async with self._inspecting:  # one that takes its time takes none of the others'
            said = await self._inspected(upload)
        width, height = said["ended"]["width"], said["ended"]["height"]
        scale = asked.scale_of(self.models)
        check_output(width, height, scale, self.settings.max_output_pixels)
        _check_sides(upload, asked, round(width * scale), round(height * scale))
        return width, height

    async def _inspected(self, upload: Path) -> dict[str, Any]:
        message = {"path": str(upload)}
        for _ in range(2):  # that the inspector died may not be this picture's fault
            try:
                return await self.inspector.do(upload.parent.name, message, INSPECTION_SECONDS, lambda _: None)
            except Problem as problem:
                if problem.kind not in ("worker-died", "timed-out", "out-of-memory"):
                    raise
        raise Problem("damaged", "The header of this picture could not be read.")

    def accept(self, job: Job, upload: Path) -> None:
        """Put a job into the queue. Raises Problem as `admit` does."""
        self.admit(job.bytes)
        self.spool.add(job, upload)
        self._used_bytes += job.bytes
        self._work.set()

    # -- doing ---------------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the processes; at the end kill them."""
        jobs: list[Coroutine[Any, Any, None]] = [self.inspector.run(), self._sweep()]
        for child in self.workers:
            jobs += [self._kept(child), self._lane(child, previews=False), self._lane(child, previews=True)]
        tasks = [asyncio.create_task(one) for one in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.spool.close()

    async def _kept(self, child: Child) -> None:
        try:
            await child.run()
        except Unfit as error:
            self.unfit = str(error)
            self.on_unfit()

    def _worker_ready(self, about: dict[str, Any]) -> None:
        self.rates.setdefault(None, about["pixel_seconds"])
        log.info("ready on %s", about["device"])

    async def _lane(self, child: Child, previews: bool) -> None:
        """Do jobs on one worker, one after the other: previews, or the others."""
        while True:
            await child.ready()
            if (job := self._next(previews)) is None or self.draining:
                await self._until_work()
                continue
            try:
                await self._do(job, child)
            except sqlite3.OperationalError as error:  # the job still waits
                log.error("the table of jobs: %s", error)
                await asyncio.sleep(SWEEP_SECONDS)

    def _next(self, previews: bool) -> Job | None:
        return next((one for one in self.spool.listed("waiting") if one.is_preview == previews), None)

    async def _until_work(self) -> None:
        self._work.clear()
        await self._work.wait()

    async def _do(self, job: Job, child: Child) -> None:
        started = time.time()
        self.spool.update(job.id, state="running", started=started)
        self.metrics.waited(started - job.created)
        self._running[job.id] = child
        self._changed_queue()
        room = max(0, self.settings.quota - self._used_bytes)
        message = {
            "asked": asdict(job.asked),
            "folder": str(self.spool.folder_of(job.id)),
            "preview": job.is_preview,
            "room": room,
        }
        try:
            said = await child.do(job.id, message, self.settings.timeout, lambda done: self._progressed(job.id, done))
            self._learn(job, said["seconds"])
            self._used_bytes += said["ended"]["bytes"]
            self.metrics.computed(said["seconds"], job.pixels)
            await self._written(job, state="done", ended=time.time(), result=said["ended"])
        except Problem as problem:
            # A worker that did not answer a cancel was killed.
            was_cancelled = job.id in self._cancelled
            await self._written(job, **self._end_by(CANCELLED if was_cancelled else problem))
        finally:
            del self._running[job.id]
            self._cancelled.discard(job.id)
            self.progress.pop(job.id, None)
            self._changed_queue()
            self._changed(job.id)
            if job.id in self._left:
                self._left.discard(job.id)
                self._forget(job.id)

    async def _written(self, job: Job, **changes: Any) -> None:
        """Write what became of a job, as soon as the disk has room for it; after the time for a stop, the next start finds it out."""
        while True:
            try:
                return self.spool.update(job.id, **changes)
            except sqlite3.OperationalError as error:
                log.error("the table of jobs: %s", error)
                if self._is_over_time:
                    return None
                await asyncio.sleep(SWEEP_SECONDS)

    def _end_by(self, problem: Problem) -> dict[str, Any]:
        if self._is_over_time and problem.kind in ("cancelled", "worker-died"):  # this one is for the next start
            return {"state": "waiting", "started": None}
        self.metrics.rejected(problem.kind)
        state = "cancelled" if problem.kind == "cancelled" else "failed"
        return {"state": state, "ended": time.time(), "error": problem.document()}

    def _learn(self, job: Job, seconds: float) -> None:
        rate = seconds / job.pixels
        before = self.rates.get(job.asked.model, rate)
        self.rates[job.asked.model] = before + NEWNESS * (rate - before)

    def _progressed(self, job_id: str, done: float) -> None:
        self.progress[job_id] = max(self.progress.get(job_id, 0.0), done)
        self._changed(job_id)

    def cancel(self, job: Job) -> None:
        """End a job that waits, at once, or that runs, within a tile; delete one that is over."""
        if job.is_over:
            self._forget(job.id)
        elif (child := self._running.get(job.id)) is not None:
            self._cancelled.add(job.id)
            child.cancel(job.id)
        else:
            self.spool.update(job.id, **self._end_by(CANCELLED))
            self._changed_queue()
        self._changed(job.id)

    def leave(self, job: Job) -> None:
        """End a job whose client left, and keep nothing of it: nobody else knows of it."""
        self.cancel(job)
        if job.id in self._running:
            self._left.add(job.id)
        else:
            self._forget(job.id)

    def _forget(self, job_id: str) -> None:
        self.spool.delete(job_id)
        self._used_bytes = self.spool.used_bytes()

    async def _sweep(self) -> None:
        while True:
            try:
                self.spool.expire(time.time() - self.settings.keep)
            except sqlite3.OperationalError as error:  # a full disk, which may have room the next time
                log.error("the table of jobs: %s", error)
            self._used_bytes = await asyncio.to_thread(self.spool.used_bytes)
            await asyncio.sleep(SWEEP_SECONDS)

    # -- watching ------------------------------------------------------------------------------------------------------------

    def _changed(self, job_id: str) -> None:
        if (event := self._changes.pop(job_id, None)) is not None:
            event.set()

    def _changed_queue(self) -> None:
        for job_id in list(self._changes):
            self._changed(job_id)
        self._work.set()

    async def change(self, job_id: str, seconds: float) -> None:
        """Wait until something about a job may have changed, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changes[job_id].wait()

    async def end(self, job_id: str) -> Job:
        """A job when it is over. Raises Problem when it is deleted, or when the server stops before."""
        while not (job := self.job(job_id)).is_over:
            if self.draining and job.state == "waiting":
                raise self._refused("draining", "The server is about to stop; send the picture again.", self.settings.grace)
            await self.change(job_id, 10)
        return job

    async def drain(self) -> None:
        """Take no more jobs, let the running ones end within the time for that, and keep those that wait for the next start."""
        self.draining = True
        self._changed_queue()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.grace):
                while self._running:
                    await asyncio.sleep(0.05)
        self._is_over_time = True
        for job_id, child in list(self._running.items()):
            child.cancel(job_id)
        while self._running:
            await asyncio.sleep(0.05)
        self._changed_queue()


def _check_sides(upload: Path, asked: Asked, width: int, height: int) -> None:
    """Raises Problem when the format that is asked for, or the upload's own, holds no sides so long."""
    with open(upload, "rb") as stream:
        own = suffix_of(stream.read(HEADER_BYTES)) or ".png"
    suffix = f".{asked.format}" if asked.format else own
    try:
        check_sides(SUFFIXES[suffix], width, height)
    except Unsupported as error:
        raise Problem("output-too-large", f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
