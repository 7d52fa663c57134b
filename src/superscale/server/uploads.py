"""A multipart form, read as it comes: the picture straight into the spool folder, never more of it than is allowed."""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from superscale.errors import ImageError
from superscale.image.formats import HEADER_BYTES, recognised
from superscale.server.jobs import Asked
from superscale.server.limits import FORM_OVERHEAD_BYTES, Settings, too_many_bytes
from superscale.server.problems import Problem, bad_field

FIELDS = ("model", "scale", "fidelity", "format", "quality", "metadata")
FORMATS = ("png", "jpg", "webp", "tiff")
LONGEST_FIELD_BYTES = 1000
LONGEST_NAME = 200
LARGEST_SCALE = 64.0


@dataclass
class Form:
    """What has come: the fields, the picture's name, size and checksum."""

    fields: dict[str, str] = field(default_factory=dict)
    name: str = ""
    bytes: int = 0
    sha256: str = ""


class _Parts:
    """The callbacks of the parser."""

    def __init__(self, picture: IO[bytes], limit: int) -> None:
        self.form = Form()
        self.has_picture = False
        self.is_whole = False
        self._picture, self._limit = picture, limit
        self._sum = hashlib.sha256()
        self._head, self._value, self._part = b"", b"", b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "headers_finished", "end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        self._headers, self._head, self._value, self._part = {}, b"", b"", b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._head += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._head.lower()] = self._value
        self._head = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"")
        if self._part == b"image":
            if self.has_picture:
                raise bad_field("image", "there must be one")
            self.has_picture = True
            self.form.name = shown_name(options.get(b"filename", b"").decode(errors="replace"))
        elif (name := self._part.decode(errors="replace")) not in FIELDS:
            raise bad_field(shown_name(name) or "a field", f"is not known; the fields are image, {', '.join(FIELDS)}")
        elif name in self.form.fields:
            raise bad_field(name, "must be given once")
        else:
            self.form.fields[name] = ""

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == b"image":
            self.form.bytes += end - start
            if self.form.bytes > self._limit:
                raise too_many_bytes(self._limit)
            self._picture.write(piece := data[start:end])
            self._sum.update(piece)
        else:
            self._value += data[start:end]
            if len(self._value) > LONGEST_FIELD_BYTES:
                raise bad_field(self._part.decode(), f"has more than {LONGEST_FIELD_BYTES} bytes")

    def part_end(self) -> None:
        if self._part != b"image":
            self.form.fields[self._part.decode()] = self._value.decode(errors="replace").strip()

    def end(self) -> None:
        self.form.sha256 = self._sum.hexdigest()
        self.is_whole = True


def declared_bytes(request: Request, settings: Settings) -> int:
    """What the request says of the length of its body; 0 for nothing. Raises Problem for more than is allowed."""
    text = request.headers.get("content-length", "")
    declared = int(text) if text.isdecimal() else 0
    if declared > settings.max_bytes + FORM_OVERHEAD_BYTES:
        raise too_many_bytes(settings.max_bytes)
    return declared


async def receive(request: Request, target: Path, settings: Settings) -> Form:
    """Read a form, its picture into ``target``. Raises Problem; ClientDisconnect when the client leaves."""
    for name in request.query_params:
        raise bad_field(shown_name(name) or "a field", "is a field of the form, and nothing is taken from the address")
    kind, options = parse_options_header(request.headers.get("content-type", "").encode("latin-1"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem("not-multipart", "Send the picture as the part 'image' of multipart/form-data.")
    try:
        with open(target, "xb") as picture:
            parts = _Parts(picture, settings.max_bytes)
            parser = MultipartParser(options[b"boundary"], parts.callbacks())
            await _fed(request, parser.write, settings)
    except FormParserError:
        raise Problem("bad-field", "The body is not a well-formed multipart form.") from None
    except OSError as error:
        raise Problem("disk-full", "The server has no room for the upload.", retry_after=60) from error
    if not parts.is_whole:
        raise Problem("bad-field", "The multipart form ends in the middle.")
    if not parts.has_picture or not parts.form.bytes:
        raise bad_field("image", "the form has no picture of that name" if not parts.has_picture else "the file is empty")
    with open(target, "rb") as stream, suppress(StopIteration):
        try:
            recognised(stream.read(HEADER_BYTES), "This file")
        except ImageError as error:
            raise Problem("not-a-picture", f"{error}.".replace("This file: not", "This file is not", 1)) from None
    return parts.form


async def _fed(request: Request, write: Callable[[bytes], int], settings: Settings) -> None:
    """Give the body to the parser. Raises Problem for too many bytes, or too few a second."""
    loop = asyncio.get_running_loop()
    began, received = loop.time(), 0
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(began + settings.body_seconds + received / settings.least_rate):
                chunk = await anext(chunks, None)
        except TimeoutError:
            rate = f"{settings.least_rate // 1024} kB a second"
            raise Problem("too-slow", f"The upload came too slowly; the server expects at least {rate}.") from None
        if chunk is None:
            return
        received += len(chunk)
        if received > settings.max_bytes + FORM_OVERHEAD_BYTES:
            raise too_many_bytes(settings.max_bytes)
        write(chunk)


def shown_name(text: str) -> str:
    """The last part of an uploaded file's name, to be shown and never to be opened: printable and short."""
    name = PureWindowsPath(text).name
    return "".join(one for one in name if unicodedata.category(one)[0] != "C")[-LONGEST_NAME:]


def asked(fields: dict[str, str], models: list[dict[str, Any]]) -> Asked:
    """The fields as values, for one of these models, by default the first. Raises Problem with the field's name."""
    given = {name: text for name, text in fields.items() if text}
    model = next((one for one in models if given.get("model", "") in (one["name"], "")), None)
    if model is None:
        raise bad_field("model", f"must be one of {', '.join(one['name'] for one in models)}")
    if "fidelity" in given and not model["fidelity"]:
        raise bad_field("fidelity", f"is for the models {', '.join(one['name'] for one in models if one['fidelity'])}")
    return Asked(
        model=model["name"],
        scale=_number(given, "scale", 0.0625, LARGEST_SCALE),
        fidelity=_number(given, "fidelity", 0.0, 1.0),
        format=_one_of(given, "format", FORMATS),
        quality=int(_number(given, "quality", 1, 100, whole=True) or 95),
        metadata=_one_of(given, "metadata", ("keep", "strip")) or "keep",
    )


def _number(given: dict[str, str], name: str, least: float, most: float, whole: bool = False) -> float | None:
    if name not in given:
        return None
    try:
        value = float(given[name])
    except ValueError:
        value = float("nan")
    if not least <= value <= most or (whole and not value.is_integer()) or "_" in given[name]:
        raise bad_field(name, f"must be a {'whole ' if whole else ''}number from {least:g} to {most:g}")
    return value


def _one_of(given: dict[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = given.get(name, "").lower().replace("jpeg", "jpg").replace("tif", "tiff").replace("tifff", "tiff") or None
    if value is not None and value not in known:
        raise bad_field(name, f"must be one of {', '.join(known)}")
    return value
