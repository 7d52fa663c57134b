"""Files that a user names: read within a limit and never waited for; and what lies below a folder, all of it or an error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import threading
import tomllib
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")
# Recipes, lists, manifests, models of NIQE, states' facts: the largest of them, a manifest, has some hundred bytes a sub-image.
MOST_TEXT_BYTES = 1_000_000_000
SEEN_BYTES = 65536
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# tomllib takes time and memory by the square of a key's parts.
MOST_PARTS = 50
# From the start of a word only: from everywhere in it, a long one would be searched by the square of its length.
LONG_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){{{MOST_PARTS}}}")
# What a second attempt may not meet again: a network file system that was away for a moment, a sector that is read at last.
TRANSIENT = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


def kind_of(mode: int) -> str | None:
    """What a file that is no regular one is, as ``st_mode`` says; None for a regular one."""
    return next((kind for is_kind, kind in KINDS if is_kind(mode)), None)


def read_file(path: Path | str, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """The bytes of a regular file. Raises OSError, whose text says why, for anything else, and for more than ``most_bytes``."""
    return twice(lambda: _read(Path(path), most_bytes))


def _read(path: Path, most_bytes: int) -> bytes:
    with opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"{size:,} bytes, more than the {most_bytes:,} that are read", str(path))
        try:
            return stream.read()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


def opened(path: Path) -> BufferedReader:
    """A stream of a regular file. Raises OSError, whose text says why, for anything else."""
    # Without waiting: a pipe that nobody writes into would be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if (kind := kind_of(os.fstat(descriptor).st_mode)) is not None:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"expected a file, got {kind}", str(path))
    return open(descriptor, "rb")


def twice(work: Callable[[], Value]) -> Value:
    """What ``work`` returns, tried once more after an error of the system that may have gone, or another that it caused."""
    try:
        return work()
    except Exception as error:
        if not any(isinstance(one, OSError) and one.errno in TRANSIENT for one in (error, error.__cause__)):
            raise
        return work()


def read_text(path: Path | str, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a regular file in UTF-8. Raises OSError as `read_file`, for other bytes too."""
    try:
        return read_file(path, most_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"not UTF-8 (byte {error.start})", str(path)) from error


def read_json(path: Path | str, most_bytes: int = MOST_TEXT_BYTES) -> Any:
    """What a regular file of JSON holds. Raises OSError as `read_text`, for other text too."""
    text = read_text(path, most_bytes)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OSError(errno.EILSEQ, f"not JSON ({error})", str(path)) from error


def read_toml(text: str) -> dict[str, Any]:
    """TOML as tables. Raises ValueError for what is none, and for what would take the parser minutes or its whole stack."""
    if LONG_KEY.search(text):
        raise ValueError(f"a key of more than {MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("tables or lists too deep in one another") from error


def fingerprint(source: Path | bytes) -> str:
    """What tells files apart without reading them whole: a hash of the size, the first and the last 64 KiB. Raises OSError."""
    if isinstance(source, bytes):
        return _hashed(len(source), source[:SEEN_BYTES], source[-SEEN_BYTES:])
    return twice(partial(_fingerprint, source))


def _fingerprint(path: Path) -> str:
    with opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        first = stream.read(SEEN_BYTES)
        stream.seek(max(size - SEEN_BYTES, 0))
        return _hashed(size, first, stream.read(SEEN_BYTES))


def _hashed(size: int, first: bytes, last: bytes) -> str:
    return hashlib.sha256(b"%d\n%b%b" % (size, first, last)).hexdigest()[:32]


_reading = threading.Lock()


def read_at(descriptor: int, count: int, start: int) -> bytes:
    """At most ``count`` bytes of a file from ``start`` on; none at its end."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, start)
    with _reading:  # Windows: the place belongs to all threads
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, count)


def reason(error: OSError) -> str:
    """Why, without the path, which callers name in their own way."""
    return error.strerror or str(error)


def files_below(folder: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    """Every regular file that is ``wanted`` by its name in a folder and below it, links to folders followed, each folder once, and never up.

    Raises OSError when a folder cannot be listed, a file's kind cannot be told, or a link to what may be a file or a folder of them leads
    nowhere: without it there would be fewer files, and nobody knew.
    """
    seen = {identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    todo = deque([folder])
    while todo:
        current = todo.popleft()
        if (key := identity(current)) in seen:
            continue
        if key is not None:  # a folder that is gone meanwhile cannot be listed, and that is said
            seen.add(key)
        for path in (current / name for name in sorted(os.listdir(current))):
            if not os.path.isdir(path):
                if _is_file(path, wanted):
                    yield path
            elif path.is_symlink():
                todo.append(path)  # later, so that a folder is met by its own name first
            else:
                todo.appendleft(path)


def identity(folder: Path) -> tuple[int, int] | None:
    """What two names of one folder have in common; None where that cannot be told."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_file(path: Path, wanted: Callable[[Path], bool]) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and wanted(path)
    except OSError as error:
        is_gone, is_link = error.errno in (errno.ENOENT, errno.ELOOP), path.is_symlink()
        # Without a suffix it may be a folder; hidden links that lead nowhere are locks of editors.
        if not (wanted(path) or not path.suffix) or (is_gone and (not is_link or path.name.startswith("."))):
            return False
        raise OSError(error.errno, "a link that leads nowhere" if is_gone else error.strerror, str(path)) from error
