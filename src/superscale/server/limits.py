"""What the service allows, and the protocol that cuts clients which are slow on purpose."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from superscale.errors import UsageError
from superscale.server.problems import PROBLEM_JSON, Problem

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Bytes of a form besides its file: fields, boundaries, headers.
FORM_OVERHEAD_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the service behaves. Times in seconds, sizes in bytes and pixels.

    ``queue``: how many jobs wait. ``timeout``: the longest time of computing. ``keep``: how long results stay. ``quota``: the
    largest size of the spool folder. ``memory``: what a job may take, None for what is free when the worker starts.
    ``allow_hosts``: names, besides those of the own machine, by which clients may call a server without a token.
    ``header_seconds``: for a request's headers; ``stall_seconds``: for a client that takes no bytes; a body must arrive with
    ``least_rate`` bytes a second after ``body_seconds``. Raises UsageError for a server without a token that others could reach.
    """

    spool: Path
    host: str = "127.0.0.1"
    port: int = 8000
    devices: tuple[str, ...] = ("auto",)
    model: str | None = None
    backend: str = "auto"
    tile: str | int = "auto"
    queue: int = 16
    timeout: float = 600.0
    keep: float = 3600.0
    quota: int = 10_000_000_000
    max_bytes: int = 100_000_000
    max_pixels: int = 16_000_000
    max_output_pixels: int = 256_000_000
    memory: int | None = None
    grace: float = 30.0
    token: str | None = None
    allow_hosts: tuple[str, ...] = ()
    root_path: str = ""
    log_format: str = "text"
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    stall_seconds: float = 30.0
    least_rate: int = 16_384

    def __post_init__(self) -> None:
        if self.token is None and self.host not in LOOPBACK:
            raise UsageError(
                f"{self.host} can be reached by others, and there is no token; set SUPERSCALE_TOKEN (or --token), "
                "or leave --host at 127.0.0.1"
            )
        if self.token is not None and (not self.token.isascii() or not self.token.strip()):
            raise UsageError("the token must be visible ASCII characters")
        if self.root_path and not self.root_path.startswith("/"):
            raise UsageError(f"--root-path must begin with /, got {self.root_path!r}")
        if self.log_format not in ("text", "json"):
            raise UsageError(f"--log-format must be text or json, got {self.log_format!r}")


def patient_protocol(settings: Settings) -> type[H11Protocol]:
    """uvicorn's protocol with deadlines: for the headers of a request, and for a client that does not read its answer."""

    class Patient(H11Protocol):
        _headers_due: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            if self._headers_due is None and (self.cycle is None or self.cycle.response_complete):
                self._expect_headers()
            super().data_received(data)

        def handle_events(self) -> None:
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                _stop(self._headers_due)
                self._headers_due = None

        def pause_writing(self) -> None:
            self._stalled = self.loop.call_later(settings.stall_seconds, self.transport.abort)
            super().pause_writing()

        def resume_writing(self) -> None:
            _stop(self._stalled)
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            _stop(self._headers_due)
            _stop(self._stalled)
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours is a problem document
            self.transport.write(_raw(Problem("bad-request", "This is not a valid HTTP request.")))
            self.transport.close()

        def _expect_headers(self) -> None:
            self._headers_due = self.loop.call_later(settings.header_seconds, self._too_slow)

        def _too_slow(self) -> None:
            seconds = f"{settings.header_seconds:g} seconds"
            self.transport.write(_raw(Problem("too-slow", f"The headers of a request must arrive within {seconds}.")))
            self.transport.close()

    return Patient


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _raw(problem: Problem) -> bytes:
    body = json.dumps(problem.document()).encode()
    head = f"HTTP/1.1 {problem.status} {problem.document()['title']}\r\ncontent-type: {PROBLEM_JSON}\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


def too_many_bytes(limit: int) -> Problem:
    """A file beyond the limit."""
    return Problem(
        "too-many-bytes", f"The file has more than {limit:,} bytes, the most that this server takes.", {"limit": limit}
    )


def check_output(width: int, height: int, scale: float, limit: int) -> None:
    """Raises Problem when the enlarged picture would have more than ``limit`` pixels."""
    if (pixels := round(width * scale) * round(height * scale)) > limit:
        detail = f"The enlarged picture would have {pixels:,} pixels, more than {limit:,}; choose a smaller scale."
        raise Problem("output-too-large", detail, {"limit": limit})


def headers_of(scope: Any) -> dict[str, str]:
    """The headers of a request by their names in small letters; the last of several equal ones."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
