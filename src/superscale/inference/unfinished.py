"""`Unfinished`: the folder beside an output in which it is made part by part, and which a later run of the same command goes on with."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import ImageError
from superscale.files import remove_folder, require_replaceable, write_bytes, write_text
from superscale.image.cog import Canvas
from superscale.image.picture import Image
from superscale.image.region import Region

Array = NDArray[Any]

SUFFIX = ".unfinished"
# Of what lies in the folder.
FORMAT = 1
# Names without a suffix: nothing in the folder is taken for a picture.
SAMPLES, ORDER, DONE, LOCK, RESULT = "samples", "order.json", "done", "lock", "result"
# At most so much work is lost when the process is killed.
SYNC_SECONDS = 5.0
# What is noted of the two files in the order.
SIZES = "sizes"


def check_place(target: Path, overwrite: bool) -> None:
    """Raise ImageError where nothing may be written; to be asked before and after all the work, as another process may have written."""
    try:
        require_replaceable(target)
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error.strerror}") from error
    if not overwrite and os.path.lexists(target):
        raise ImageError(f"{target} exists; choose to overwrite it")


class Begun:
    """A folder ``target`` + ".unfinished", which one process has. ``order``: what is being made, in JSON; only a run with the same order goes
    on with a folder. ``found``: the order that was begun here, with what was added to it; None for a new one.

    ``replaces``: whether another order gives way. Raises ImageError where it does not, or where a running process has the folder.
    """

    def __init__(self, target: Path, order: dict[str, Any], replaces: bool) -> None:
        self.target, self.order = target, order
        self.folder = target.with_name(target.name + SUFFIX)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder)
        except OSError as error:
            raise ImageError(
                f"{self.folder}: expected a folder to make {target} in, and it cannot be had ({error.strerror}); "
                "make room, or move away what lies there"
            ) from error
        self.found = self._found(replaces)

    def _found(self, replaces: bool) -> dict[str, Any] | None:
        """The order that was begun here, if it can be gone on with."""
        found: dict[str, Any] | None = None
        with suppress(OSError, ValueError):
            found = _object(json.loads((self.folder / ORDER).read_text()))
        differing = [key for key in self.order if found is None or found.get(key) != self.order[key]]
        if found is None or (differing and replaces):
            (self.folder / ORDER).unlink(missing_ok=True)
            return None
        if differing:
            self._lock.close()
            raise ImageError(
                f"{self.folder} holds what another command has begun ({', '.join(differing)} differ); "
                "run that one again, or delete the folder, or choose to overwrite"
            )
        return found

    def note(self, facts: dict[str, Any]) -> None:
        """Write the order down, from when on a later run goes on with the folder, which then has these ``facts`` in ``found``."""
        write_text(self.folder / ORDER, json.dumps({**self.order, **facts}))

    def discard(self) -> None:
        """Delete the folder."""
        self.close()
        remove_folder(self.folder)

    def close(self) -> None:
        """Give the folder free."""
        self._lock.close()


class Unfinished(Begun):
    """A picture that is made part by part. ``done``: which parts are there.

    To be used in a ``with`` statement, which says on the disk what is done even after an error. Raises ImageError as `Begun` does, and where
    the disk has no room.
    """

    def __init__(self, target: Path, order: dict[str, Any], replaces: bool) -> None:
        super().__init__(target, order, replaces)
        self._canvas: Canvas | None = None
        self._synced = 0.0
        self._is_gone = False

    def begin(self, header: Image, parts: int, facts: dict[str, Any]) -> None:
        """Open the samples of the picture; ``facts`` are kept in ``found`` for a later run."""
        begun = self.found is not None
        if begun:
            self._check_parts(parts)
        try:
            self._canvas = Canvas(self.folder / SAMPLES, header, begun)
        except OSError as error:
            if not begun:
                self.discard()
            raise ImageError(f"{self.target} cannot be written: no room for its samples ({error.strerror or error})") from error
        self.done = np.zeros(parts, np.uint8)
        if begun:
            self.done[:] = np.frombuffer((self.folder / DONE).read_bytes(), np.uint8)
            return
        self._canvas.sync()
        write_bytes(self.folder / DONE, self.done.tobytes())
        self.note(facts)

    def note(self, facts: dict[str, Any]) -> None:
        """As `Begun.note`, with the sizes of what has begun."""
        super().note({**facts, SIZES: self._sizes()})

    def _sizes(self) -> list[int]:
        return [os.path.getsize(self.folder / name) for name in (SAMPLES, DONE)]

    def _check_parts(self, parts: int) -> None:
        """Raise ImageError where what was begun is not whole any more: what is missing of its samples would be black."""
        try:
            sizes = self._sizes()
        except OSError:
            sizes = []
        if self.found is None or sizes != self.found.get(SIZES, sizes) or sizes[1:] != [parts]:
            raise ImageError(f"{self.folder} is damaged: {SAMPLES} or {DONE} do not have their sizes; delete it to begin anew")

    def put(self, number: int, target: Region, samples: Array, mask: Array | None) -> None:
        """Write a part."""
        assert self._canvas is not None
        self._canvas.put(target, samples, mask)
        self.done[number] = 1
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Return when all parts are on the disk, and it is written down that they are. Raises OSError, also where they are deleted."""
        if self._canvas is not None:
            os.stat(self.folder / SAMPLES)  # a file that was deleted takes all parts without an error
            self._canvas.sync()
            write_bytes(self.folder / DONE, self.done.tobytes())
        self._synced = time.monotonic()

    def discard(self) -> None:
        """Delete the folder."""
        super().discard()
        self._is_gone = True

    def close(self) -> None:
        """Give the folder free."""
        if self._canvas is not None:
            self._canvas.close()
        self._canvas = None
        super().close()

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_gone:
            return
        if self._canvas is None and self.found is None:
            self.discard()
            return
        try:
            # On a full disk; what was done before is written down already.
            with suppress(OSError):
                self.sync()
        finally:
            self.close()


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    return value


def _locked(folder: Path) -> Any:
    """A file that is locked as long as it is open, by one process at a time. Raises ImageError for a folder that no run has begun."""
    if not (folder / LOCK).exists() and any(folder.iterdir()):
        raise ImageError(f"{folder}: expected a folder that this program has begun, and other files lie there; move it away")
    lock = open(folder / LOCK, "ab")  # noqa: SIM115
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows: two processes at one picture are not told apart
        pass
    except OSError as error:
        lock.close()
        raise ImageError(f"{folder} is in use by another process, which makes the same output") from error
    return lock
