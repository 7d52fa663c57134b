"""The pack: sub-images as one memory-mapped file of samples beside a manifest that says where each lies and came from.

``manifest.json`` is written last, so a folder that has one is whole. ``high_res.u8`` holds the sub-images one after another,
each (height, width, channels); ``low_res.u8``, if stored, their low-resolution counterparts in the same order. Samples of 16 bits are
little-endian, in files that end in ``.u16``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.errors import DataError

VERSION = 1
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
    top: int
    left: int
    height: int
    width: int
    low_res_sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """``scale``: every side of every sub-image divides by it.

    ``low_res``: "none", the rounding of the stored reductions, or "paired" when the low-res pictures were given. ``dtype``: of the
    samples, "uint8" or "uint16". ``shifts``: pairs that do not lie over one another, with how many low-res pixels the low-res
    picture lies too low and too far right.
    """

    scale: int
    low_res: str
    tiles: tuple[Tile, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    dtype: str = "uint8"
    channels: int = 3
    shifts: tuple[tuple[str, float, float], ...] = ()

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
            if content.get("dtype", "uint8") not in SUFFIXES:
                raise DataError(f"{name}: made by another version of superscale; run prepare again")
            return Manifest(tiles=tiles, skipped=skipped, shifts=shifts, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{name}: not a manifest of superscale prepare ({error}); run prepare again") from error


# Fields that are left out where they say nothing new, so that the manifest of a pack of 8-bit RGB has the bytes that it always had.
LEFT_OUT = {"dtype": "uint8", "channels": 3, "shifts": (), "low_res_sha256": ""}


def _said(entry: Any) -> dict[str, Any]:
    return {key: value for key, value in asdict(entry).items() if key not in LEFT_OUT or value != LEFT_OUT[key]}


class Pack:
    """A prepared folder, opened read-only; pixels are read from disk only where they are touched.

    ``high_res_name``: the file of the high-resolution samples, where it is another. ``count``: only the first sub-images, None for all.
    """

    def __init__(self, folder: Path | str, high_res_name: str = "", count: int | None = None) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise DataError(f"{self.folder}: no {MANIFEST}; expected a folder made by superscale prepare")
        whole = Manifest.from_json(path.read_text(), str(path))
        self.manifest = replace(whole, tiles=whole.tiles[:count])
        if not self.manifest.tiles:
            raise DataError(f"{self.folder}: the pack is empty")
        skipped = len(whole.tiles) > len(self.manifest.tiles)
        name = high_res_name or high_res_file(whole.dtype)
        self.high_res_samples = Samples(self.folder / name, self.manifest, 1, skipped)
        stored = whole.low_res != "none"
        low_res = self.folder / low_res_file(whole.dtype)
        self._low_res = Samples(low_res, self.manifest, whole.scale, skipped) if stored else None

    def __len__(self) -> int:
        return len(self.manifest.tiles)

    def high_res(self, index: int) -> NDArray[Any]:
        """Sub-image ``index`` as a read-only view (H, W, C), uint8 or uint16."""
        return self.high_res_samples[index]

    def low_res(self, index: int) -> NDArray[Any]:
        """Its stored counterpart (H/scale, W/scale, C) of the same type. Raises DataError when none was stored."""
        return self.low_res_samples[index]

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
    """The arrays of one raw file: all ``samples`` in a row, memory-mapped, with every array's ``starts`` and ``shapes``.

    ``longer``: whether the file may hold more.
    """

    def __init__(self, path: Path, manifest: Manifest, scale: int, longer: bool = False) -> None:
        channels = self.channels = manifest.channels
        self.shapes = [(tile.height // scale, tile.width // scale, channels) for tile in manifest.tiles]
        self.starts = np.concatenate(([0], np.cumsum([height * width * channels for height, width, _ in self.shapes])))
        dtype = np.dtype(manifest.dtype).newbyteorder("<")
        samples = int(self.starts[-1])
        expected = samples * dtype.itemsize
        got = path.stat().st_size if path.is_file() else 0
        if got < expected or (got > expected and not longer):
            raise DataError(f"{path}: expected {expected} bytes as the manifest says, got {got}; run prepare again")
        # A plain array over the map: every slice of a memmap object costs four times one of an array.
        self.samples: NDArray[Any] = np.memmap(path, dtype=dtype, mode="r", shape=samples).view(np.ndarray)

    def __getitem__(self, index: int) -> NDArray[Any]:
        view: NDArray[Any] = self.samples[self.starts[index] : self.starts[index + 1]].reshape(self.shapes[index])
        return view
