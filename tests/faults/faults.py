"""Faults of the world, brought about inside a command's own process: ``python -c`` of `armed` runs `superscale` with one of them.

Each fault is a function that changes what the process may do; they are given by name, since the process is another one.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fnmatch
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CAPABILITY_VERSION = 0x20080522


def without_privileges() -> None:
    """Let permissions count for root, as for everybody (Linux)."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header, nothing = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
        if libc.capset(header, nothing):
            raise OSError(ctypes.get_errno(), "capset")


def closed(descriptor: str) -> None:
    """A standard stream that was closed before the command began (``>&-``)."""
    os.close(int(descriptor))
    setattr(sys, ("stdin", "stdout", "stderr")[int(descriptor)], None)


def unbuffered() -> None:
    """What ``PYTHONUNBUFFERED=1`` makes of standard output."""
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)


def failing_reads(pattern: str, times: str = "1", after: str = "0") -> None:
    """So many reads of files of this pattern end in EIO, after so many that do not, from wherever they are opened."""
    left, good = [int(times)], [int(after)]

    class Failing(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            if good[0]:
                good[0] -= 1
            elif left[0]:
                left[0] -= 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    opened, opened_os = builtins.open, os.open
    names: dict[int, str] = {}

    def os_open(path: Any, *arguments: Any, **options: Any) -> int:
        descriptor = opened_os(path, *arguments, **options)
        names[descriptor] = str(path)
        return descriptor

    def failing(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        stream = opened(file, mode, *arguments, **options)
        name = names.pop(file, "") if isinstance(file, int) else str(file)
        return Failing(stream.detach()) if mode == "rb" and fnmatch.fnmatch(name, pattern) else stream

    builtins.open, io.open, os.open = failing, failing, os_open  # type: ignore[assignment]


def full_disk(pattern: str = "*") -> None:
    """Writing to files of this pattern ends in ENOSPC, with no file's name, as write(2) does."""
    opened = builtins.open

    class Full(io.FileIO):
        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wxa") or not fnmatch.fnmatch(str(file), pattern):
            return opened(file, mode, *arguments, **options)
        raw = Full(file, mode.replace("b", "").replace("+", "").replace("t", ""))
        stream = io.BufferedWriter(raw)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding="utf-8")

    builtins.open = io.open = full  # type: ignore[assignment]


def clock_back(seconds: str) -> None:
    """The clock of the wall is set back by so many seconds at every look."""
    now, looks = time.time, [0]

    def earlier() -> float:
        looks[0] += 1
        return now() - int(seconds) * looks[0]

    time.time = earlier


def signalled(name: str, seconds: str) -> None:
    """A signal arrives after so many seconds."""
    timer = threading.Timer(float(seconds), lambda: os.kill(os.getpid(), getattr(signal, name)))
    timer.daemon = True
    timer.start()


def vanishing(path: str) -> None:
    """A file goes the moment it is about to be opened."""
    opened = builtins.open

    def gone(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file) == path:
            Path(path).unlink(missing_ok=True)
        return opened(file, *arguments, **options)

    builtins.open = io.open = gone  # type: ignore[assignment]


def masked(mask: str) -> None:
    """The mask of permissions of new files, in octal digits."""
    os.umask(int(mask, 8))


FAULTS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        without_privileges,
        closed,
        unbuffered,
        failing_reads,
        full_disk,
        clock_back,
        signalled,
        vanishing,
        masked,
    )
}


def armed(*faults: tuple[str, ...]) -> str:
    """The program for ``python -c`` that brings these faults about, each (name, arguments...), and runs the command of its arguments."""
    return (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import faults\n"
        f"sys.argv[0] = 'superscale'\n"
        f"for name, *arguments in {list(faults)!r}: faults.FAULTS[name](*arguments)\n"
        "from superscale.cli.main import main\nmain()\n"
    )
