"""The pack: sub-images as one file of samples beside a manifest that says where each lies and came from.

``manifest.json`` is written last, so a folder that has one is whole. ``high_res.u8`` holds the sub-images one after another,
each (height, width, channels); ``low_res.u8``, if stored, their low-resolution counterparts in the same order. Samples of 16 bits are
little-endian, in files that end in ``.u16``.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from superscale.bounds import Bounds, Channels, Scale, check_bounds
from superscale.errors import DataError, RecipeError
from superscale.files import naming
from superscale.reading import read_at, read_text, reason, twice

VERSION = 1
# What a checksum is of, and how many are computed at a time.
BLOCK_BYTES = 4 * 1024**2
VERIFYING_THREADS = 8
Place = Annotated[int, Bounds(0, 10**7)]
Length = Annotated[int, Bounds(1, 10**7)]
MANIFEST = "manifest.json"
# Type of the samples -> the suffix of their files.
SUFFIXES = {"uint8": ".u8", "uint16": ".u16"}
# What ``low_res`` of a manifest says when the low-res pictures were given, not made.
PAIRED = "paired"


def high_res_file(dtype: str) -> str:
    """The name of the file of the sub-images."""
    return f"high_res{SUFFIXES[dtype]}"


def low_res_file(dtype: str) -> str:
    """The name of the file of their low-resolution counterparts."""
    return f"low_res{SUFFIXES[dtype]}"


@dataclass(frozen=True)
class Tile:
    """One sub-image: its place in its photograph (pixels), its photograph's name and sha256, and the sha256 of a given low-res one."""

    source: str
    sha256: str
    top: Place
    left: Place
    height: Length
    width: Length
    low_res_sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """``scale``: every side of every sub-image divides by it.

    ``low_res``: "none", the rounding of the stored reductions, or "paired" when the low-res pictures were given. ``dtype``: of the
    samples, "uint8" or "uint16". ``shifts``: pairs that do not lie over one another, with how many low-res pixels the low-res
    picture lies too low and too far right. ``checksums``: of each file of samples, the CRC-32 of every 4 MiB.
    """

    scale: Scale
    low_res: str
    tiles: tuple[Tile, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    dtype: str = "uint8"
    channels: Channels = 3
    shifts: tuple[tuple[str, float, float], ...] = ()
    checksums: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of the manifest's file."""
        content = {"version": VERSION, **_said(self), "tiles": [_said(tile) for tile in self.tiles]}
        return json.dumps(content, indent=1)

    @staticmethod
    def from_json(text: str, name: str) -> Manifest:
        """What `to_json` wrote. Raises DataError, naming the file, when it is something else."""
        try:
            content = json.loads(text)
            if content.pop("version") != VERSION:
                raise DataError(f"{name}: made by another version of superscale; run prepare again")
            tiles = tuple(Tile(**tile) for tile in content.pop("tiles"))
            skipped = tuple((str(source), str(why)) for source, why in content.pop("skipped"))
            shifts = tuple((str(source), float(down), float(right)) for source, down, right in content.pop("shifts", ()))
            sums = {str(file): tuple(map(int, numbers)) for file, numbers in content.pop("checksums", {}).items()}
            if content.get("dtype", "uint8") not in SUFFIXES:
                raise DataError(f"{name}: made by another version of superscale; run prepare again")
            return _checked(Manifest(tiles=tiles, skipped=skipped, shifts=shifts, checksums=sums, **content))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, RecipeError) as error:
            raise DataError(f"{name}: not a manifest of superscale prepare ({error}); run prepare again") from error


def _checked(manifest: Manifest) -> Manifest:
    """Raise TypeError or RecipeError unless every value is of its type and within its bounds."""
    for entry in (manifest, *manifest.tiles):
        for name, kind in entry.__annotations__.items():
            expected: type[Any] = (
                str if kind == "str" else tuple if kind.startswith("tuple") else dict if kind.startswith("dict") else int
            )
            if type(getattr(entry, name)) is not expected:
                raise TypeError(f"{name} is {getattr(entry, name)!r:.80}")
        check_bounds(entry)
    for tile in manifest.tiles:
        if tile.height % manifest.scale or tile.width % manifest.scale:
            raise ValueError(f"{tile.source}: {tile.width}x{tile.height} is no multiple of the scale {manifest.scale}")
    return manifest


# Fields that are left out where they say nothing new: by the hash of the others a run of an older version knows its pack.
LEFT_OUT = {"dtype": "uint8", "channels": 3, "shifts": (), "checksums": {}, "low_res_sha256": ""}


def _said(entry: Any) -> dict[str, Any]:
    return {key: value for key, value in asdict(entry).items() if key not in LEFT_OUT or value != LEFT_OUT[key]}


class Pack:
    """A prepared folder, opened read-only; pixels are read from disk only where they are touched.

    ``high_res_name``: the file of the high-resolution samples, where it is another. ``count``: only the first sub-images, of files
    to which more may be added at any time; None for all.
    """

    def __init__(self, folder: Path | str, high_res_name: str = "", count: int | None = None) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise DataError(f"{self.folder}: no {MANIFEST}; expected a folder made by superscale prepare")
        try:
            whole = Manifest.from_json(read_text(path), str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({reason(error)})") from error
        self.manifest = replace(whole, tiles=whole.tiles[:count])
        if not self.manifest.tiles:
            raise DataError(f"{self.folder}: the pack is empty")
        name = high_res_name or high_res_file(whole.dtype)
        self.high_res_samples = Samples(self.folder / name, whole, 1, count)
        low_res = self.folder / low_res_file(whole.dtype)
        self._low_res = Samples(low_res, whole, whole.scale, count) if whole.low_res != "none" else None

    def __len__(self) -> int:
        return len(self.manifest.tiles)

    def high_res(self, index: int) -> NDArray[Any]:
        """Sub-image ``index`` read-only (H, W, C), uint8 or uint16."""
        return self.high_res_samples[index]

    def low_res(self, index: int) -> NDArray[Any]:
        """Its stored counterpart (H/scale, W/scale, C) of the same type. Raises DataError when none was stored."""
        return self.low_res_samples[index]

    def verify(self) -> None:
        """Compare all samples with the manifest's checksums, where it has some. Raises DataError when they differ."""
        for samples in (self.high_res_samples, self._low_res):
            if samples is not None:
                samples.verify()

    @property
    def low_res_samples(self) -> Samples:
        """All stored low-resolution pictures. Raises DataError when there are none."""
        if self._low_res is None:
            raise DataError(
                f"{self.folder}: no low-resolution pictures stored; prepare it with low_res double, "
                'or set data.low_res = "on_load" in the recipe'
            )
        return self._low_res


class Samples:
    """The arrays of one raw file, of ``size`` samples in a row, with every array's ``starts`` and ``shapes``.

    Read, not mapped: of a file that somebody truncates, a map ends the process without a word. Each block is compared with its
    checksum when it is first read, if the manifest has one. ``count``: only the first arrays, and the file may hold more.
    """

    def __init__(self, path: Path, manifest: Manifest, scale: int, count: int | None = None) -> None:
        channels = self.channels = manifest.channels
        self.path = path
        shapes = [(tile.height // scale, tile.width // scale, channels) for tile in manifest.tiles]
        starts = np.concatenate(([0], np.cumsum([height * width * channels for height, width, _ in shapes])))
        self.shapes = shapes[:count]
        self.starts = starts[: len(self.shapes) + 1]
        self.dtype = np.dtype(manifest.dtype).newbyteorder("<")
        self.size = int(self.starts[-1])
        self.bytes = self.size * self.dtype.itemsize
        self._told = int(starts[-1]) * self.dtype.itemsize
        got = path.stat().st_size if path.is_file() else 0
        if got < self.bytes or (got > self.bytes and count is None):
            raise DataError(f"{path}: expected {self.bytes} bytes as the manifest says, got {got}; run prepare again")
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._descriptor)
        self._checksums = manifest.checksums.get(path.name, ())
        self._unchecked = set(range(-(-self.bytes // BLOCK_BYTES) if self._checksums else 0))
        if self._unchecked and len(self._unchecked) > len(self._checksums):
            raise DataError(f"{path}: the manifest lacks checksums for a part of it; run prepare again")

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.rows(index, 0, self.shapes[index][0])

    def rows(self, index: int, top: int, bottom: int) -> NDArray[Any]:
        """Rows ``top`` to ``bottom`` of array ``index``, read-only (bottom - top, W, C)."""
        _, width, channels = self.shapes[index]
        row = width * channels * self.dtype.itemsize
        start = int(self.starts[index]) * self.dtype.itemsize + top * row
        data = self._read(start, start + (bottom - top) * row)
        return np.frombuffer(data, self.dtype).reshape(bottom - top, width, channels)

    def whole(self) -> NDArray[Any]:
        """All samples in a row, in memory."""
        return np.frombuffer(bytearray(self._read(0, self.bytes)), self.dtype)

    def verify(self) -> None:
        """Compare all blocks with their checksums, several at a time. Raises DataError, naming the first that differs."""
        with ThreadPoolExecutor(min(os.cpu_count() or 1, VERIFYING_THREADS)) as pool:
            for _ in pool.map(self._check, sorted(self._unchecked)):
                pass

    def _read(self, start: int, stop: int) -> bytes:
        if self._unchecked:
            for block in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)):
                if block in self._unchecked:
                    self._check(block)
        return self._bytes(start, stop)

    def _bytes(self, start: int, stop: int) -> bytes:
        pieces: list[bytes] = []
        while start < stop:
            piece = twice(partial(read_at, self._descriptor, stop - start, start))
            if not piece:
                raise DataError(f"{self.path}: has become shorter while it was read; run prepare again")
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check(self, block: int) -> None:
        start = block * BLOCK_BYTES
        # The manifest's last block ends where its samples do, be the file longer, or fewer of them used.
        stop = min(start + BLOCK_BYTES, self._told)
        if zlib.crc32(self._bytes(start, stop)) != self._checksums[block]:
            raise DataError(
                f"{self.path}: damaged between bytes {start:,} and {stop:,} (their checksum is not the manifest's); run prepare again"
            )
        self._unchecked.discard(block)


def checksums_of(path: Path) -> tuple[int, ...]:
    """Of a file's blocks, the last of which may be shorter."""
    with naming(path), open(path, "rb") as file:
        return tuple(zlib.crc32(block) for block in iter(partial(file.read, BLOCK_BYTES), b""))


class ChecksummedFile:
    """A file of samples in writing, and the checksums of its blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "wb")  # noqa: SIM115
        self._finished: list[int] = []
        self._sum = self._filled = 0

    def write(self, samples: NDArray[Any]) -> None:
        """Add samples that lie one after another."""
        left = memoryview(samples.data).cast("B")
        with naming(self.path):
            self._file.write(left)
        while left:
            part = left[: BLOCK_BYTES - self._filled]
            self._sum = zlib.crc32(part, self._sum)
            self._filled += len(part)
            left = left[len(part) :]
            if self._filled == BLOCK_BYTES:
                self._finished.append(self._sum)
                self._sum = self._filled = 0

    def close(self) -> tuple[int, ...]:
        """End the file, safely on disk; the checksums."""
        with naming(self.path), self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return (*self._finished, self._sum) if self._filled else tuple(self._finished)
