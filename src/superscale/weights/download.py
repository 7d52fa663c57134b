"""Fetch a published file into the cache: resumed, checked by its sha256 before it has its name, one process at a time."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from io import BufferedWriter
from pathlib import Path

from superscale.errors import ModelError
from superscale.weights.published import PublishedModel
from superscale.weights.store import sha256_of

# Set to anything but 0, it forbids downloads.
OFFLINE = "SUPERSCALE_OFFLINE"
CHUNK_BYTES = 1 << 18
TRIES = 4
TIMEOUT_SECONDS = 30.0
# More than this is never a model's file, where its size is not published.
MOST_BYTES = 4 << 30
# bytes here, bytes in all (0: unknown)
Progress = Callable[[int, int], None]


def is_offline() -> bool:
    """Whether the environment forbids downloads."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


def download(name: str, model: PublishedModel, folder: Path, progress: Progress | None = None, offline: bool = False) -> Path:
    """Fetch a model's file into ``folder`` and return its path; a file that is there and whole is not fetched again.

    A transfer that was cut goes on where it ended, in this call or the next. Proxies are taken from the environment. ``offline``, or
    SUPERSCALE_OFFLINE in the environment: fetch nothing. Raises ModelError.
    """
    path = folder / model.file
    if is_whole(path, model):
        return path
    if offline or is_offline():
        raise ModelError(f"{name} is not downloaded, and downloads are forbidden; fetch {model.url} and put it at {path}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{model.file}.partial"
        with _only_process(partial) as stream:
            if not is_whole(path, model):  # another process may have been quicker
                _fetch(stream.fileno(), model, progress)
                _check(partial, model)
                os.replace(partial, path)
    except OSError as error:
        raise ModelError(f"{folder}: {model.file} could not be written ({error.strerror or error})") from error
    return path


def is_whole(path: Path, model: PublishedModel) -> bool:
    """Whether a file is there and is the published one."""
    return path.is_file() and sha256_of(path).startswith(model.sha256)


@contextmanager
def _only_process(partial: Path) -> Iterator[BufferedWriter]:
    """The partial file, opened to be written further; other processes wait for it."""
    while True:
        stream = open(partial, "ab")  # noqa: SIM115 - closed below, or when it is not the file of that name any more
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        if partial.exists() and os.path.samestat(os.fstat(stream.fileno()), partial.stat()):
            break
        stream.close()  # the process before has renamed it
    with stream:
        yield stream
        if stream.tell() == 0 and partial.exists() and partial.stat().st_size == 0:
            partial.unlink()


def _fetch(file: int, model: PublishedModel, progress: Progress | None) -> None:
    """Append to the partial file until all is there; a cut connection is tried again as long as bytes still come."""
    failures = 0
    furthest = os.fstat(file).st_size
    while True:
        here = os.fstat(file).st_size
        try:
            if _receive(file, here, model, progress):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code == 416 and here:  # the partial file is longer than the published one
                os.ftruncate(file, 0)
            elif error.code < 500 and error.code != 429:
                raise ModelError(f"{model.url}: the server answered {error.code} {error.reason}") from error
            reason = f"the server answered {error.code}"
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error))
        size = os.fstat(file).st_size
        failures = 0 if size > furthest else failures + 1
        furthest = max(furthest, size)
        if failures >= TRIES:
            raise ModelError(f"{model.url}: {reason}; run the same command again to continue")


def _receive(file: int, here: int, model: PublishedModel, progress: Progress | None) -> bool:
    """One request, for what is not here yet; whether the file has then all its bytes."""
    headers = {"User-Agent": "superscale", "Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    request = urllib.request.Request(model.url, headers=headers)
    if request.type not in ("http", "https"):
        raise ModelError(f"{model.url}: expected an http or https address")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if here and answer.status != 206:  # the server sends all of it
            os.ftruncate(file, 0)
            here = 0
        length = answer.headers["Content-Length"]
        total = model.size or (here + int(length) if length else 0)
        for chunk in _chunks(answer):
            here += len(chunk)
            if here > (total or MOST_BYTES):
                raise ModelError(f"{model.url}: sends more than the {total or MOST_BYTES} bytes of the published file")
            _write_all(file, chunk)
            if progress is not None:
                progress(here, total)
    return here >= total


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK_BYTES):
        yield chunk


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _check(partial: Path, model: PublishedModel) -> None:
    """Raise ModelError and delete the file unless it is the published one."""
    found = sha256_of(partial)
    if not found.startswith(model.sha256):
        partial.unlink()
        raise ModelError(
            f"{model.url}: not the published file: expected the sha256 {model.sha256}, got {found}; it was deleted"
        )
    with open(partial, "rb") as stream:
        os.fsync(stream.fileno())
