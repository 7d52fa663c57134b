"""Files and folders that appear whole or not at all: a temporary name in the same folder, fsync, rename.

A temporary's name says which process writes it, so that what a killed process left can be told from what is being written.
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
from uuid import uuid4

TEMPORARY = re.compile(r"\.superscale-(?:(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-)?[^-]+\.part")
# Of a process that cannot be asked after, on another machine or in another container: nothing takes so long to write.
STALE_SECONDS = 24 * 3600.0


@cache
def _machine() -> str:
    """Eight digits that processes share if they see one another's ids."""
    name = socket.gethostname()
    with suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def temporary_name(folder: Path) -> Path:
    """A name in ``folder`` that nothing has yet."""
    return folder / f".superscale-{_machine()}-{os.getpid()}-{uuid4().hex[:12]}.part"


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a whole file or nothing, its folder too if need be. Another reader sees the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path.parent)
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """`write_bytes` of a text in UTF-8."""
    write_bytes(path, text.encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which takes the name ``path`` when the block ends; after an error nothing is left of it.

    A folder that has the name already is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = temporary_name(path.parent)
    building.mkdir()
    try:
        yield building
        if path.exists():
            replaced = temporary_name(path.parent)
            os.replace(path, replaced)  # never half a folder under its name
            os.replace(building, path)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.replace(building, path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """Delete a folder; killed meanwhile, nobody takes half of it for the whole."""
    hidden = temporary_name(path.parent)
    os.replace(path, hidden)
    shutil.rmtree(hidden)


def sweep(folders: Iterable[Path], *, sole_user: bool = False) -> list[Path]:
    """Delete the temporaries in these folders (not below them) that no living process writes; returns them.

    ``sole_user``: the caller knows that nobody else writes there, and every temporary goes.
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
    except (OSError, OverflowError):  # somebody else's, which is alive
        return True
    return True
