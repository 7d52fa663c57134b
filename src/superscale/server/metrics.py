"""What the service counts, for Prometheus."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from superscale.server.service import Service

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600)


class Metrics:
    """The counters of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("superscale_requests", "Requests.", ("method", "route", "status"), registry=registry)
        self._wait = Histogram("superscale_wait_seconds", "From upload to start.", buckets=SECONDS, registry=registry)
        self._compute = Histogram("superscale_compute_seconds", "From start to end.", buckets=SECONDS, registry=registry)
        self._pixels = Counter("superscale_input_megapixels", "Enlarged, in input megapixels.", registry=registry)
        self._rejections = Counter("superscale_rejections", "Refused or failed, by reason.", ("reason",), registry=registry)
        self._queue = Gauge("superscale_queue_length", "Jobs that wait.", registry=registry)
        self._deaths = Gauge("superscale_worker_deaths", "Worker processes that were replaced.", registry=registry)
        self._memory = Gauge("superscale_memory_bytes", "Resident memory.", ("process",), registry=registry)

    def request(self, method: str, route: str, status: int) -> None:
        """Count an answered request."""
        self._requests.labels(method, route, str(status)).inc()

    def waited(self, seconds: float) -> None:
        """Record how long a job waited."""
        self._wait.observe(seconds)

    def computed(self, seconds: float, pixels: int) -> None:
        """Record how long a job of so many input pixels took."""
        self._compute.observe(seconds)
        self._pixels.inc(pixels / 1e6)

    def rejected(self, reason: str) -> None:
        """Count a job that was refused, or failed."""
        self._rejections.labels(reason).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        service = self._service
        self._queue.set(service.spool.waiting())
        self._deaths.set(sum(child.deaths for child in service.workers))
        self._memory.labels("server").set(_resident("self"))
        for number, child in enumerate(service.workers):
            self._memory.labels(f"worker-{number}").set(_resident(child.pid))
        return generate_latest(self._registry)


def _resident(process: int | str | None) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0
