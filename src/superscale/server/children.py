"""The server's side of a worker process: it starts it, talks to it, and kills and replaces it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from superscale.server.problems import Problem

Message = dict[str, Any]
# A picture's facts in one line; models in another.
LONGEST_LINE = 1 << 20
# How long a cancelled task may take to end by itself.
PATIENCE = 5.0
SECONDS_BEFORE_RESTART = 1.0
log = logging.getLogger("superscale.server")


class Unfit(Exception):
    """A worker says that it cannot work, and another one could not either."""


class Child:
    """A worker process that is replaced when it ends. ``about``: what it said when it was ready, None while it is not."""

    def __init__(self, facts: Message, on_ready: Callable[[Message], None] = lambda _: None) -> None:
        self.facts = facts
        self.about: Message | None = None
        self.deaths = 0
        self._on_ready = on_ready
        self._process: Process | None = None
        self._tasks: dict[str, tuple[asyncio.Future[Message], Callable[[float], None]]] = {}
        self._begun: set[str] = set()
        self._cancelled: set[str] = set()
        self._overdue: dict[str, asyncio.TimerHandle] = {}
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Keep a process alive until this is cancelled. Raises Unfit."""
        while True:
            try:
                await self._live()
            finally:
                self._bury()
            self.deaths += 1
            log.warning("a worker process (%s) ended and is replaced", self.facts["role"])
            await asyncio.sleep(SECONDS_BEFORE_RESTART if self.deaths > 1 else 0)

    async def _live(self) -> None:
        command = (sys.executable, "-m", "superscale.server.worker", json.dumps(self.facts))
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LONGEST_LINE, start_new_session=True
        )
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._hear(json.loads(line))
        await self._process.wait()

    def _hear(self, message: Message) -> None:
        if "unfit" in message:
            raise Unfit(message["unfit"])
        if "ready" in message:
            self.about = message["ready"]
            self._on_ready(message["ready"])
            self._ready.set()
        elif (task := self._tasks.get(message["task"])) is not None:
            reply, on_progress = task
            if "begun" in message:
                self._begun.add(message["task"])
            elif "progress" in message:
                on_progress(message["progress"])
            elif not reply.done():
                reply.set_result(message)

    def _bury(self) -> None:
        self.about = None
        self._ready.clear()
        self.kill()
        self._process = None
        for reply, _ in self._tasks.values():
            if not reply.done():
                reply.set_exception(Problem("worker-died", "The process that computes ended on this picture; others go on."))

    async def ready(self) -> None:
        """Wait until the process can work."""
        await self._ready.wait()

    async def do(self, task: str, message: Message, timeout: float, on_progress: Callable[[float], None]) -> Message:
        """What a task ended with. Raises Problem: what the worker says, that it died, or that the time is over."""
        await self.ready()
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._tasks[task] = reply, on_progress
        try:
            self._send({"task": task, **message})
            async with asyncio.timeout(timeout):
                heard = await asyncio.shield(reply)
        except TimeoutError:
            await self._stopped(task, reply)
            raise Problem("timed-out", f"The job took more than {timeout:g} seconds.") from None
        finally:
            del self._tasks[task]
            self._begun.discard(task)
            self._cancelled.discard(task)
            if (timer := self._overdue.pop(task, None)) is not None:
                timer.cancel()
        if "failed" in heard:
            raise Problem(heard["failed"], heard["detail"], {"limit": heard["limit"]} if heard["limit"] else None)
        return heard

    def cancel(self, task: str) -> None:
        """End a task within a tile; kill the process if that takes too long, unless it is another task that it is busy with."""
        if task not in self._tasks or task in self._cancelled:
            return
        self._cancelled.add(task)
        self._send({"cancel": task})
        if task in self._begun and len(self._tasks) == 1:
            self._overdue[task] = asyncio.get_running_loop().call_later(PATIENCE, self.kill)

    async def _stopped(self, task: str, reply: asyncio.Future[Message]) -> None:
        self.cancel(task)
        with suppress(Problem):
            await reply

    def kill(self) -> None:
        """Kill the process; `run` replaces it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def _send(self, message: Message) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
