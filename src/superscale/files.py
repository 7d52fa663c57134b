"""Atomic writing of files and folders: a temporary name in the same folder, fsync, rename.

A temporary name contains its process's id, which tells the leftovers of a killed process from files being written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Literal
from uuid import uuid4

if sys.platform != "win32":
    import fcntl

TEMPORARY = re.compile(r"\.superscale-(?:(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-)?[^-]+\.part")
# Claims are of this name, without a process's id: they are found by the output's name.
CLAIM = ".superscale-claim"
# A sweep holds a claim for less than this.
SWEPT_SECONDS = 0.01
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
    require_place_for_file(path)
    _sweep_once(path.parent)
    temporary = temporary_name(path.parent)
    try:
        with naming(path), open(temporary, "x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_replaceable(path: Path) -> None:
    """Raise OSError for a pipe, a device or a socket: renaming a file to its name would take it from everybody (``/dev/null``)."""
    kinds = {"pipe": path.is_fifo(), "device": path.is_char_device() or path.is_block_device(), "socket": path.is_socket()}
    if (kind := next((kind for kind, fits in kinds.items() if fits), None)) is not None:
        raise FileExistsError(errno.EEXIST, f"expected a file, got a {kind}", str(path))


def require_place_for_file(path: Path) -> None:
    """Raise OSError for a folder too, whose own error would name the temporary file."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected a file, got a folder", str(path))
    require_replaceable(path)


@cache
def _sweep_once(folder: Path) -> None:
    """Delete what killed processes left in a folder, when this process first writes there."""
    sweep([folder])


def write_text(path: Path | str, text: str) -> None:
    """Write a text in UTF-8 as `write_bytes` does. A file's name that is not UTF-8 has its bytes escaped: ``\\udcff``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write several texts, by their names, into a folder that is made if need be: all of them or none. Raises OSError."""
    written: dict[str, Path] = {}
    try:
        for name, text in texts.items():
            require_place_for_file(folder / name)
            written[name] = temporary_name(folder)
            write_text(written[name], text)
        for name, path in written.items():
            with naming(folder / name):
                os.replace(path, folder / name)
    finally:
        for path in written.values():
            path.unlink(missing_ok=True)


def write_stream(stream: IO[bytes], data: bytes) -> None:
    """Write all bytes to a stream, however few it takes at a time. Raises OSError, BrokenPipeError when its reader went away."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # it is in memory
        stream.write(data)
        return
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # a pipe that does not wait for its reader
            select.select((), (descriptor,), ())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give errors that name no file, such as that of a full disk, this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def require_writable(path: Path, kind: Literal["file", "folder"] = "file") -> None:
    """Raise OSError, with its name, unless a file or a folder could be written here: asked before long work, nothing is left."""
    folder = path if kind == "folder" else path.parent
    if kind == "file":
        require_place_for_file(path)
    require_replaceable(path)
    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), folder)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, got a file", str(there))
    with naming(path):
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``path`` when the block ends, or deleted after an error.

    An existing folder ``path`` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    require_replaceable(path)
    _sweep_once(path.parent)
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
            if path.name.startswith(CLAIM):
                swept += [path] * _swept_claim(path)
            elif sole_user or _is_abandoned(path):
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    swept.append(path)
    return swept


class Claims:
    """Which outputs this process is at work on, told to others by locked files beside them, which die with the process.

    Where nothing can be locked (Windows, some network file systems), every claim is granted.
    """

    def __init__(self) -> None:
        self._held: dict[Path, IO[bytes]] = {}
        self._made: set[Path] = set()

    def take(self, output: Path) -> bool:
        """Whether no other process is at work on it; from then on others are refused."""
        if sys.platform == "win32":
            return True
        folder = output.parent
        place = folder / f"{CLAIM}{hashlib.sha256(os.fsencode(output.name)).hexdigest()[:12]}.part"
        while True:
            try:
                if not folder.exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    self._made.add(folder)
                stream = open(place, "ab")  # noqa: SIM115
            except OSError:
                return True  # nor can the output be written, which is told then
            locked = _lock(stream)
            if not locked:
                time.sleep(SWEPT_SECONDS)
            if _is_still(stream, place):
                if locked:
                    self._held[output] = stream
                else:
                    stream.close()
                return locked
            stream.close()  # its holder has just dropped it, or it was a dead process's, and is swept

    def drop(self, output: Path | None) -> None:
        """Let others have it; a folder that was made for it and is empty goes too."""
        if output is None or output not in self._held:
            return
        stream = self._held.pop(output)
        with suppress(OSError):
            os.unlink(stream.name)
        stream.close()
        if output.parent in self._made:
            with suppress(OSError):
                output.parent.rmdir()

    def drop_all(self) -> None:
        """Let others have all."""
        for output in list(self._held):
            self.drop(output)


def _lock(stream: IO[bytes]) -> bool:
    """False when another process has locked it; True also where nothing can be locked."""
    if sys.platform != "win32":
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def _is_still(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except OSError:
        return False


def _swept_claim(path: Path) -> bool:
    """Delete a claim that nobody holds, holding it: whoever takes it meanwhile finds that it is another file (`_is_still`)."""
    try:
        with open(path, "r+b") as stream:
            if abandoned := _lock(stream):
                path.unlink()
            return abandoned
    except OSError:
        return False


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
