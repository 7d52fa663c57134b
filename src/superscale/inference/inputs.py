"""What the user named, as single files: folders and globs looked through, lists read, everything that is no file said so."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from superscale.errors import UsageError
from superscale.image.formats import UNREAD_SUFFIXES, is_taken
from superscale.reading import identity, kind_of, read_file

STDIN = "-"
MOST_LIST_BYTES = 100_000_000
# As in rsync: what comes behind this is the tree that is kept below the output folder.
TREE_MARK = f"{os.sep}.{os.sep}"
WILD = frozenset("*?[")
# What begins so is a failure wherever it is met: pictures may be missing because of it.
UNREADABLE, UNLISTED = "cannot be read", "this folder cannot be listed"
# What lies in a folder and is no picture by its name: it is counted, and no job of its own.
PASSED_OVER = "not a picture by its name"


@dataclass(frozen=True)
class Found:
    """One input. ``root``: the folder whose tree is kept, None if there is none; ``named``: by the user, not come upon.

    ``unfit``: why it cannot be read, None if it can; ``from_stdin``: ``path`` is only a name for what standard input brings.
    """

    path: Path
    root: Path | None = None
    named: bool = True
    unfit: str | None = None
    from_stdin: bool = False

    @property
    def is_passed_over(self) -> bool:
        """Come upon in a folder, and no picture by its name."""
        return self.unfit == PASSED_OVER

    @property
    def is_failure(self) -> bool:
        """Unfit, and not merely something else that lies among pictures."""
        return self.unfit is not None and (self.named or self.unfit.startswith((UNREADABLE, UNLISTED)))


def expand(inputs: Iterable[str], read_list: Callable[[], bytes] | None = None) -> list[Found]:
    """Files, folders (with all below them), globs, ``@list`` and ``-`` -> files, each once, in the order they were named.

    ``read_list`` reads the list ``@-``. Raises UsageError when a list cannot be read.
    """
    found: dict[str, Found] = {}
    for given in inputs:
        for one in _given(given, read_list):
            found.setdefault(STDIN if one.from_stdin else os.path.abspath(one.path), one)
    return list(found.values())


def _given(given: str, read_list: Callable[[], bytes] | None) -> Iterator[Found]:
    if given == STDIN:
        yield Found(Path("stdin"), from_stdin=True)
    elif given.startswith("@") and len(given) > 1:
        for line in _lines(given, read_list):
            yield from _named(line)
    else:
        yield from _named(given)


def _lines(given: str, read_list: Callable[[], bytes] | None) -> list[str]:
    """The paths of a list: one a line, or ended by NUL bytes where one holds a line end (``find -print0``). A line that begins with # is
    a comment; a file of such a name is given as ./#name."""
    try:
        data = read_list() if given == "@-" and read_list else read_file(given[1:], MOST_LIST_BYTES)
    except OSError as error:
        raise UsageError(
            f"{given}: no list can be read ({error.strerror}); a picture of that name is given as .{os.sep}{given}"
        ) from error
    if len(data) > MOST_LIST_BYTES:
        raise UsageError(f"{given}: a list of more than {MOST_LIST_BYTES:,} bytes")
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(line) for line in lines if line.strip() and not line.startswith(b"#")]


def list_of(names: Iterable[str]) -> bytes:
    """The bytes of a list that ``@list`` reads as these names."""
    names = [f".{os.sep}{name}" if name.startswith("#") else name for name in names]
    end = b"\0" if any("\n" in name or name.endswith("\r") for name in names) else b"\n"
    return b"".join(os.fsencode(name) + end for name in names)


def _named(text: str) -> Iterator[Found]:
    start, mark, _ = text.partition(TREE_MARK)
    path, root = Path(text), Path(start) if mark else None
    if os.path.isdir(path):
        yield from _all(path, _below(path), path, "no pictures in this folder")
    elif os.path.lexists(path) or not WILD & set(text):
        yield Found(path, root, unfit=unfit(path))
    else:
        fixed, patterns = _split(path)
        matches = dict.fromkeys(_matching(fixed, patterns, set()))
        yield from _all(path, matches, fixed, "nothing matches, or no picture")


def _all(given: Path, entries: Iterable[tuple[Path, str | None]], root: Path, otherwise: str) -> Iterator[Found]:
    ordered = sorted(entries, key=lambda entry: entry[0].as_posix())
    if all(why == PASSED_OVER for _, why in ordered):
        yield Found(given, unfit=otherwise)
    for path, why in ordered:
        yield Found(path, root, named=False, unfit=why)


def unfit(path: Path) -> str | None:
    """Why a path is no file that can be read, or None. Nothing is opened: a pipe would be waited for."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            return "a link that leads nowhere" if path.is_symlink() else "no such file or folder"
        if getattr(error, "errno", None) == errno.ELOOP:
            return "a link that leads back to itself"
        return f"{UNREADABLE} ({getattr(error, 'strerror', None) or error})"
    return f"{kind}, not a picture" if (kind := kind_of(mode)) else None


def _entry(path: Path) -> Iterator[tuple[Path, str | None]]:
    why = None if os.path.isfile(path) else unfit(path)
    if why is None and path.suffix.lower() in UNREAD_SUFFIXES:
        why = "a format that is not read"
    yield path, why or (None if is_taken(path) else PASSED_OVER)


def _below(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Every picture below a folder, links to folders followed, each folder once, and never up: (path, why it is unfit)."""
    seen = {identity(parent) for parent in Path(os.path.realpath(folder)).parents}
    todo = deque([folder])
    while todo:
        current = todo.popleft()
        if (key := identity(current)) in seen:
            yield current, "a link to a folder that is read elsewhere"
            continue
        seen.add(key)
        try:
            names = sorted(os.listdir(current))
        except OSError as error:
            yield current, f"{UNLISTED} ({error.strerror})"
            continue
        for path in (current / name for name in names):
            if not os.path.isdir(path):
                yield from _entry(path)
            elif path.is_symlink():
                todo.append(path)  # later, so that a folder is met by its own name first
            else:
                todo.appendleft(path)


def _split(pattern: Path) -> tuple[Path, list[str]]:
    """The folder before the first wild part, and the parts from there."""
    parts = pattern.parts
    first = next(number for number, part in enumerate(parts) if WILD & set(part))
    return Path(*parts[:first]), list(parts[first:])


def _matching(path: Path, patterns: list[str], seen: set[tuple[int, int] | None]) -> Iterator[tuple[Path, str | None]]:
    if not patterns:
        yield from _below(path) if os.path.isdir(path) else _entry(path)
        return
    head, rest = patterns[0], patterns[1:]
    try:
        names = sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield path, f"{UNLISTED} ({error.strerror})"
        return
    if head != "**":
        for name in names:
            if fnmatchcase(name, head) and (head.startswith(".") or not name.startswith(".")):
                yield from _matching(path / name, rest, seen)
        return
    if (key := identity(path)) in seen:
        return
    seen.add(key)
    yield from _matching(path, rest, seen)
    for name in names if rest else ():
        below = path / name
        if name.startswith("."):
            continue
        if os.path.isdir(below):
            yield from _matching(below, patterns, seen)
        elif (why := unfit(below)) is not None and why.startswith(UNREADABLE):
            yield below, why  # perhaps a folder
