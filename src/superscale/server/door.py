"""What every request passes: who may ask, the headers of every answer, the end of unread bodies, the access log."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

from superscale.server.limits import LOOPBACK, Settings, headers_of
from superscale.server.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
OPEN_TO_ALL = ("/healthz", "/readyz", "/openapi.json", "/docs", "/")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# What is read of a body that nobody wants, so that the client sees the answer before the connection closes.
LINGER_BYTES = 500_000
LINGER_SECONDS = 5.0
RESET_SECONDS = 0.1
RANGES = re.compile(rb"bytes=(\s*(\d{1,18}-\d{0,18}|-\d{1,18})\s*(,(?!$)|$))+")
# A job's id opens its result: the log has only the beginning of it.
LOGGED_PATH = 24
log = logging.getLogger("superscale.access")


class Counts(Protocol):
    """Where requests are counted."""

    def request(self, method: str, route: str, status: int) -> None:
        """One that was answered."""

    def rejected(self, reason: str) -> None:
        """One that was refused, by the kind of problem."""


class Door:
    """The outermost ASGI application."""

    def __init__(self, app: App, settings: Settings, metrics: Counts) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request; the events of the server's life go through."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"range" or _is_range(header[1])]
        visit = _Visit(scope, receive, send)
        try:
            if (problem := self._refusal(scope)) is not None:
                self._metrics.rejected(problem.kind)
                await problem.response()(scope, visit.receive, visit.send)
            else:
                await self._app(scope, visit.receive, visit.send)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(scope["method"], route, visit.status)
            self._log(scope, visit)

    def _refusal(self, scope: Message) -> Problem | None:
        headers = headers_of(scope)
        try:
            host, origin = urlsplit(f"//{headers.get('host', '')}"), urlsplit(headers.get("origin", "")).netloc
        except ValueError:  # half an IPv6 address
            return Problem("bad-request", "The header Host or Origin is no address.")
        known = (*LOOPBACK, *self._settings.allow_hosts)
        if (self._settings.token is None or self._settings.allow_hosts) and (host.hostname or "") not in known:
            return Problem(
                "wrong-host", "This server does not answer to this name; who runs it can allow it with --allow-host."
            )
        if scope["method"] not in ("GET", "HEAD") and not _same_site(headers, origin, host.netloc):
            return Problem(
                "cross-site", "This server takes pictures from its own page and from programs, not from other web sites."
            )
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._settings.token is None or path in OPEN_TO_ALL or path.startswith("/static/"):
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._settings.token.encode()):
            return None
        return Problem("token-needed", "Send the header 'Authorization: Bearer TOKEN' with the token of this server.")

    def _log(self, scope: Message, visit: _Visit) -> None:
        facts = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": (scope.get("client") or ("-",))[0],
            "method": scope["method"],
            "path": scope["path"][:LOGGED_PATH],
            "status": visit.status,
            "milliseconds": round(1000 * (time.monotonic() - visit.began)),
            "received": visit.received,
            "sent": visit.sent,
        }
        if self._settings.log_format == "json":
            log.info("%s", json.dumps(facts))
        else:
            log.info("%s", " ".join(ascii(value)[1:-1] if isinstance(value, str) else str(value) for value in facts.values()))


def _is_range(value: bytes) -> bool:
    """Whether a header Range is one; others are ignored, since they may be of units that are not known (RFC 9110, 14.2)."""
    if RANGES.fullmatch(value) is None:
        return False
    ends = [one.strip().split(b"-") for one in value.partition(b"=")[2].split(b",")]
    return all(not start or not end or int(start) <= int(end) for start, end in ends)


def _same_site(headers: dict[str, str], origin: str, host: str) -> bool:
    """Whether a request comes from the own page, or from no web page at all."""
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none") and (
        "origin" not in headers or (bool(origin) and origin.lower() == host.lower())
    )


class _Visit:
    """One request: what was received and sent, and how its connection ends."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        self.began = time.monotonic()
        self.received = self.sent = 0
        # No answer at all: the client was gone.
        self.status = 499
        self._receive, self._send = receive, send
        self._is_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._closes = False

    async def receive(self) -> Message:
        """What comes from the client."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self._is_read = self._is_read or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send on, with our headers; where the body was not read, close the connection, and let the client see the answer first."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._closes = not self._is_read
            message["headers"] = [*message["headers"], *((name.encode(), value.encode()) for name, value in HEADERS.items())]
            if self._closes:
                message["headers"].append((b"connection", b"close"))
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            if self._closes and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        limit = self.received + LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_read and self.received < limit:
                    if (await self.receive())["type"] == "http.disconnect":
                        return
                # The answer must be there before the reset of the connection is.
                await asyncio.sleep(RESET_SECONDS)
