"""Every error that a client can get, as a problem document (RFC 9457): no traces, no paths."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

PROBLEM_JSON = "application/problem+json"
# kind -> (status, title); the kind is the last part of the document's type
KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not valid HTTP"),
    "token-needed": (401, "A token is needed"),
    "wrong-host": (403, "This server does not answer to that name"),
    "cross-site": (403, "Requests from other web sites are refused"),
    "not-found": (404, "There is nothing here"),
    "wrong-method": (405, "This address does not take that method"),
    "too-slow": (408, "The request came too slowly"),
    "not-ready": (409, "The job has no result"),
    "too-many-bytes": (413, "The file is too large"),
    "too-many-pixels": (413, "The picture has too many pixels"),
    "output-too-large": (413, "The enlarged picture would have too many pixels"),
    "out-of-memory": (413, "The picture is too large for the memory of this server"),
    "not-a-picture": (415, "Not a supported picture"),
    "not-multipart": (415, "The body is not multipart/form-data"),
    "bad-field": (422, "A field has a value that cannot be"),
    "damaged": (422, "The picture is damaged"),
    "key-reused": (422, "The Idempotency-Key belongs to another request"),
    "queue-full": (429, "The queue is full"),
    "failed": (500, "The server failed"),
    "worker-died": (500, "The process that computes ended on this picture"),
    "loading": (503, "The server is loading its model"),
    "draining": (503, "The server is about to stop"),
    "disk-full": (503, "There is no room for another picture"),
    "timed-out": (504, "The job took too long"),
    "cancelled": (409, "The job was cancelled"),
}


class Problem(Exception):
    """``kind``: one of `KINDS`; ``detail``: a sentence for the person who asked; ``more``: further members of the document.

    ``retry_after``: seconds after which the same request may succeed.
    """

    def __init__(self, kind: str, detail: str, more: dict[str, Any] | None = None, retry_after: int | None = None) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.more, self.retry_after = kind, detail, more, retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind][0]

    def document(self) -> dict[str, Any]:
        """The members of the problem document."""
        status, title = KINDS[self.kind]
        return {
            "type": f"urn:superscale:{self.kind}",
            "title": title,
            "status": status,
            "detail": self.detail,
            **(self.more or {}),
        }

    def response(self) -> JSONResponse:
        """The answer, with Retry-After and WWW-Authenticate where they belong."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Bearer realm="superscale"'
        return JSONResponse(self.document(), self.status, headers, PROBLEM_JSON)


def bad_field(field: str, detail: str) -> Problem:
    """A field of the form or a parameter that cannot be, with its name."""
    return Problem("bad-field", f"{field}: {detail}", {"errors": [{"field": field, "detail": detail}]})


def of_status(status: int) -> Problem:
    """The problem for an error that the framework found."""
    if status == HTTPStatus.NOT_FOUND:
        return Problem("not-found", "There is nothing at this address; /docs lists the addresses.")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem("wrong-method", "This address does not take that method; /docs lists the methods.")
    return Problem(
        "bad-request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed", "The request could not be answered."
    )
