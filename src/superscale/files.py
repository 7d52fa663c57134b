"""Atomic writing of files and folders: a temporary name in the same folder, fsync, rename.

A temporary name contains its process's id, which tells the leftovers of a killed process from files being written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO
from uuid import uuid4

TEMPORARY = re.compile(r"\.superscale-(?:(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-)?[^-]+\.part")
# For a process on another machine or in another container, which cannot be checked: nothing takes this long to write.
STALE_SECONDS = 24 * 3600.0


@cache
def _machine() -> str:
    """Return eight hex digits that are equal for processes which see one another's ids."""
    name = socket.gethostname()
    with suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def temporary_name(folder: Path) -> Path:
    """Return an unused path in ``folder``."""
    return folder / f".superscale-{_machine()}-{os.getpid()}-{uuid4().hex[:12]}.part"


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a file atomically and create its folder if needed: a reader sees the old file or the new one. Raises OSError."""
    with new_file(Path(path)) as stream:
        stream.write(data)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream to write and read, whose file is renamed to ``path`` when the block ends, or deleted after an error.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path.parent)
    try:
        with open(temporary, "x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write a text in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``path`` when the block ends, or deleted after an error.

    An existing folder ``path`` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = temporary_name(path.parent)
    building.mkdir()
    try:
        yield building
        if path.exists():
            replaced = temporary_name(path.parent)
            os.replace(path, replaced)  # a reader never sees half a folder
            os.replace(building, path)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(building, path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """Delete a folder, under a temporary name so that a kill leaves no half of it under its own."""
    hidden = temporary_name(path.parent)
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def sweep(folders: Iterable[Path], *, sole_user: bool = False) -> list[Path]:
    """Delete temporary files in these folders (not below them) that no living process writes, and return them.

    ``sole_user``: nobody else writes there, so delete every temporary file.
    """
    swept: list[Path] = []
    for folder in dict.fromkeys(folders):
        for path in _temporaries(folder):
            if sole_user or _is_abandoned(path):
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    swept.append(path)
    return swept


def _temporaries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name))
    except OSError:
        return []


def _is_abandoned(path: Path) -> bool:
    name = TEMPORARY.fullmatch(path.name)
    if name and name["machine"] == _machine() and sys.platform != "win32":
        return not _is_alive(int(name["process"]))
    try:
        return time.time() - path.lstat().st_mtime > STALE_SECONDS
    except OSError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user
        return True
    return True
