"""The process: it listens, and ends well when it is told to."""

from __future__ import annotations

import asyncio
import logging
from types import FrameType

import uvicorn

from superscale.errors import SuperscaleError
from superscale.server.app import build_app
from superscale.server.door import Door
from superscale.server.limits import Settings, patient_protocol
from superscale.server.service import Service

# For answers that are under way when the jobs are over.
LAST_ANSWERS_SECONDS = 5


class _Server(uvicorn.Server):
    """uvicorn that drains first: a second signal stops at once. Its exit code is then 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._draining: asyncio.Task[None] | None = None
        service.on_unfit = self._stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it
        """On SIGTERM and SIGINT."""
        if self._service.draining or not self.started:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        asyncio.get_event_loop().call_soon_threadsafe(self._drain)

    def _stop(self) -> None:
        self.should_exit = True

    def _drain(self) -> None:
        async def drain() -> None:
            await self._service.drain()
            self._stop()

        self._draining = asyncio.ensure_future(drain())


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises UsageError, SuperscaleError when the port is taken or no worker can work."""
    _log_to_stderr()
    service = Service(settings)
    config = uvicorn.Config(
        Door(build_app(service), settings, service.metrics),
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        http=patient_protocol(settings),
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
    server = _Server(config, service)
    try:
        server.run()
    except SystemExit as stop:
        raise SuperscaleError(f"cannot listen on {settings.host}:{settings.port}; is another server there?") from stop
    if service.unfit is not None:
        raise SuperscaleError(service.unfit)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("superscale.server", "superscale.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING if name.startswith("uvicorn") else logging.INFO)
