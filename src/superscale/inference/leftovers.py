"""Temporary files of processes that were killed while they wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

PATTERN = ".superscale-*.part"
PROCESSES = Path("/proc")
# Without /proc nobody can tell who has a file open; no picture takes so long to write.
STALE_SECONDS = 3600.0
# Between its closing and its renaming a temporary is held by nobody, for microseconds.
RENAMING_SECONDS = 0.05


def sweep(folders: Iterable[Path]) -> list[Path]:
    """Delete the temporaries in these folders (not below them) that no living process writes; returns them."""
    parts = [path for folder in dict.fromkeys(folders) for path in _parts(folder)]
    if not parts:
        return []
    held = _held()
    if held is None:
        stale = [path for path in parts if _age(path) > STALE_SECONDS]
    else:
        stale = [path for path in parts if os.path.realpath(path) not in held]
        time.sleep(RENAMING_SECONDS)
    swept: list[Path] = []
    for path in stale:
        with suppress(OSError):
            path.unlink()
            swept.append(path)
    return swept


def _parts(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if fnmatchcase(entry.name, PATTERN) and entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return []


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _held() -> set[str] | None:
    """The real paths of all files that a process has open, as far as we may see; None where that cannot be asked."""
    if not (PROCESSES / "self" / "fd").is_dir():
        return None
    held: set[str] = set()
    for process in PROCESSES.iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                for descriptor in (process / "fd").iterdir():
                    with suppress(OSError):
                        held.add(os.readlink(descriptor))
    return held
