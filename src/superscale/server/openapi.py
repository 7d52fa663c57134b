"""What the OpenAPI document says beyond what the routes' types do: the form, the pictures, the problem documents."""

from __future__ import annotations

from typing import Any

from superscale.server.problems import KINDS, PROBLEM_JSON

DESCRIPTION = "Enlarges pictures. Errors are problem documents (RFC 9457) with a sentence in `detail`."
Responses = dict[int | str, dict[str, Any]]
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "limit": {"type": "integer"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "The picture."},
        "model": {"type": "string", "description": "One of /v1/models; by default the first."},
        "scale": {"type": "number", "minimum": 0.0625, "maximum": 64, "description": "By default the model's."},
        "fidelity": {"type": "number", "minimum": 0, "maximum": 1, "description": "0: most detail, 1: most faithful."},
        "format": {"type": "string", "enum": ["png", "jpg", "webp", "tiff"], "description": "By default the picture's."},
        "quality": {"type": "integer", "minimum": 1, "maximum": 100, "default": 95, "description": "Of JPEG and WebP."},
        "metadata": {"type": "string", "enum": ["keep", "strip"], "default": "keep"},
    },
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 200},
    "description": "The same key with the same request gives the same job.",
}
UPLOAD = (400, 408, 413, 415, 422, 429, 503)


def errors(*statuses: int) -> Responses:
    """Problem documents for these statuses, and for what every request may get."""
    return {status: _problem(status) for status in (*statuses, 400, 403)}


def text(*statuses: int) -> Responses:
    """A plain text, or problem documents."""
    return {**errors(*statuses), 200: {"description": "Text", "content": {"text/plain": {"schema": {"type": "string"}}}}}


def picture(*, upload: bool) -> dict[str, Any]:
    """The arguments of a route that answers with a picture, after taking one or not."""
    binary = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
    found: Responses = {200: {"description": "The enlarged picture", "content": binary}}
    if upload:
        return {"responses": {**errors(401, 409, 500, 504, *UPLOAD), **found}, "openapi_extra": _body()}
    # Parts of a file may be asked for (RFC 9110, 14).
    found[206] = {"description": "A part of it", "content": binary}
    found[416] = {"description": "No such part"}
    return {"responses": {**errors(401, 404, 409), **found}}


def upload() -> dict[str, Any]:
    """The arguments of a route that takes a picture and answers with a job."""
    return {"responses": errors(401, *UPLOAD), "openapi_extra": {**_body(), "parameters": [KEY]}}


def _body() -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}


def _problem(status: int) -> dict[str, Any]:
    titles = [title for code, title in KINDS.values() if code == status]
    response: dict[str, Any] = {"description": "; ".join(titles), "content": {PROBLEM_JSON: {"schema": PROBLEM}}}
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return response
