"""Standard output and standard error, of the command alone: what cannot be written to the first is a failure, to the second is not."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from superscale.errors import OutputError

STDIN, STDOUT, STDERR = 0, 1, 2


class _Forgiving(io.TextIOWrapper):
    """A stream for messages: when nobody can read them, the work goes on, and the exit code tells."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


class _Checked(io.TextIOWrapper):
    """A stream for results: what cannot be written is an OutputError, which no library on the way takes for something else."""

    def write(self, text: str) -> int:
        with _told(self):
            return super().write(text)

    def flush(self) -> None:
        with _told(self):
            super().flush()


@contextmanager
def _told(stream: _Checked) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):  # so that the interpreter's own end does not fail on it once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise OutputError(f"standard output: not all was written ({getattr(error, 'strerror', None) or error})") from error


@contextmanager
def repaired() -> Iterator[None]:
    """Give closed descriptors a place, so that no file of ours takes theirs, and let messages fail in silence, results not.

    When the block ends, what waits for standard output is written. Raises OutputError when that cannot be done.
    """
    _fill(STDIN, os.O_WRONLY)
    closed_out, closed_err = _fill(STDOUT, os.O_RDONLY), _fill(STDERR, os.O_WRONLY)  # writing to the former fails, as before
    if (buffer := _buffer(sys.stdout, STDOUT, closed_out)) is not None:
        # A file's name need not be text.
        lines = getattr(sys.stdout, "line_buffering", False)
        sys.stdout = _Checked(buffer, _encoding(sys.stdout), "backslashreplace", line_buffering=lines)
    if (buffer := _buffer(sys.stderr, STDERR, closed_err)) is not None:
        sys.stderr = _Forgiving(buffer, _encoding(sys.stderr), "backslashreplace", line_buffering=True)
    try:
        yield
    finally:
        sys.stdout.flush()


def _buffer(stream: Any, descriptor: int, closed: bool) -> Any:
    """What lies below a standard stream of the system; None below one that somebody else has put in its place."""
    plain = type(stream) is io.TextIOWrapper and isinstance(stream.buffer, io.BufferedWriter | io.FileIO)
    if not (closed or stream is None or (plain and stream.fileno() == descriptor)):
        return None
    if plain and not closed:
        stream.flush()
    # Not the stream's own buffer, which goes with the stream.
    return io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))


def _encoding(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _fill(descriptor: int, flags: int) -> bool:
    """Whether the descriptor was closed; it then leads nowhere."""
    try:
        os.fstat(descriptor)
        return False
    except OSError:
        nowhere = os.open(os.devnull, flags)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        return True


def binary(stream: Any) -> Any:
    """The bytes of a standard stream; None where it was closed."""
    return getattr(stream, "buffer", None)
