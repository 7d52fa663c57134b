"""Where pictures are read from: a folder of files, or a database of BasicSR's layout (LMDB)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from superscale.errors import DataError, ImageError, MissingExtraError
from superscale.image.io import image_size, list_images
from superscale.image.io import left_out as left_out_of_folder
from superscale.reading import read_file, read_text, reason

# As `upscale` has it; read whole, since what is packed is hashed.
MOST_PICTURE_BYTES = 2_000_000_000
LMDB_DATA, LMDB_LIST = "data.mdb", "meta_info.txt"


class Source(Protocol):
    """Pictures by their names: in their order, with suffix, relative to the folder."""

    @property
    def place(self) -> Path:
        """The folder."""

    @property
    def names(self) -> Sequence[str]:
        """The names of all pictures."""

    def read(self, name: str) -> bytes:
        """The file of a picture. Raises OSError or ImageError."""

    def size(self, name: str) -> tuple[int, int]:
        """Its (width, height), from its header. Raises OSError or ImageError."""


class Folder:
    """The pictures in a folder and below it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.names = [path.relative_to(place).as_posix() for path in list_images(place)]

    def read(self, name: str) -> bytes:
        """The file of a picture."""
        return read_file(self.place / name, MOST_PICTURE_BYTES)

    def size(self, name: str) -> tuple[int, int]:
        """Its (width, height), from its header."""
        return image_size(self.place / name)


class Database:
    """The pictures of an LMDB folder as BasicSR writes it.

    ``meta_info.txt`` has a line a picture, ``0001.png (480,480,3) 1``: name, (height, width, channels), compression; under the name
    without its suffix lie the bytes of the file. Raises DataError for other lines, MissingExtraError without the extra ``lmdb``.
    """

    def __init__(self, place: Path) -> None:
        try:
            import lmdb  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise MissingExtraError(f"{place}: reading an LMDB folder", "lmdb") from error
        self.place = place
        self.sizes = _sizes(place / LMDB_LIST)
        self.names = list(self.sizes)
        try:
            self._database: Any = lmdb.open(str(place), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise DataError(f"{place}: not a readable LMDB folder ({error})") from error

    def __reduce__(self) -> tuple[type[Database], tuple[Path]]:
        return Database, (self.place,)  # an open database does not travel

    def read(self, name: str) -> bytes:
        """The file of a picture."""
        with self._database.begin() as transaction:
            data = transaction.get(name.rpartition(".")[0].encode())
        if data is None:
            raise ImageError(f"{self.place}: {LMDB_LIST} names {name}, and {LMDB_DATA} does not hold it")
        return bytes(data)

    def size(self, name: str) -> tuple[int, int]:
        """Its (width, height), as the list says."""
        return self.sizes[name]


def _sizes(path: Path) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    try:
        text = read_text(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    for line in text.splitlines():
        name, _, rest = line.partition(" (")
        numbers = rest.partition(")")[0].split(",")
        try:
            height, width = (int(number) for number in numbers[:2])
        except ValueError as error:
            raise DataError(f"{path}: expected lines like '0001.png (480,480,3) 1', got {line[:80]!r}") from error
        sizes[name] = (width, height)
    return sizes


def is_database(place: Path) -> bool:
    """Whether a folder is an LMDB folder."""
    return (place / LMDB_DATA).is_file()


def left_out(place: Path) -> str:
    """How many files of a source are no pictures that are read, by suffix; "" for none, as in an LMDB folder."""
    return "" if is_database(place) else left_out_of_folder(place)


def open_source(place: Path) -> Source:
    """The pictures of a folder or an LMDB folder. Raises DataError when there is no folder or nothing in it."""
    if not place.is_dir():
        raise DataError(f"{place}: expected a folder of photographs")
    if is_database(place):
        if not (place / LMDB_LIST).is_file():
            raise DataError(f"{place}: expected {LMDB_LIST} beside {LMDB_DATA}, as BasicSR writes it")
        source: Source = Database(place)
    else:
        source = Folder(place)
    if not source.names:
        raise DataError(f"{place}: no photographs (.png, .jpg, .webp, .tiff) in this folder or below it")
    return source
