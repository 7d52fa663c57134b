"""The pack: sub-images as one memory-mapped file of uint8 samples beside a manifest that says where each lies and came from.

``manifest.json`` is written last, so a folder that has one is whole. ``high_res.u8`` holds the sub-images one after another,
each (height, width, 3); ``low_res.u8``, if stored, their reductions in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superscale.errors import DataError

VERSION = 1
MANIFEST, HIGH_RES, LOW_RES = "manifest.json", "high_res.u8", "low_res.u8"
CHANNELS = 3


@dataclass(frozen=True)
class Tile:
    """One sub-image: its place in its photograph (pixels) and its photograph's name and sha256."""

    source: str
    sha256: str
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Manifest:
    """``scale``: every side of every sub-image divides by it. ``low_res``: rounding of the stored reductions, or "none"."""

    scale: int
    low_res: str
    tiles: tuple[Tile, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """The text of the manifest's file."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1)

    @staticmethod
    def from_json(text: str, name: str) -> Manifest:
        """What `to_json` wrote. Raises DataError, naming the file, when it is something else."""
        try:
            content = json.loads(text)
            if content.pop("version") != VERSION:
                raise DataError(f"{name}: made by another version of superscale; run prepare again")
            tiles = tuple(Tile(**tile) for tile in content.pop("tiles"))
            skipped = tuple((str(source), str(why)) for source, why in content.pop("skipped"))
            return Manifest(tiles=tiles, skipped=skipped, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{name}: not a manifest of superscale prepare ({error}); run prepare again") from error


class Pack:
    """A prepared folder, opened read-only; pixels are read from disk only where they are touched.

    ``high_res_name``: the file of the high-resolution samples. ``count``: only the first sub-images, None for all.
    """

    def __init__(self, folder: Path | str, high_res_name: str = HIGH_RES, count: int | None = None) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise DataError(f"{self.folder}: no {MANIFEST}; expected a folder made by superscale prepare")
        whole = Manifest.from_json(path.read_text(), str(path))
        self.manifest = replace(whole, tiles=whole.tiles[:count])
        if not self.manifest.tiles:
            raise DataError(f"{self.folder}: the pack is empty")
        skipped = len(whole.tiles) > len(self.manifest.tiles)
        self.high_res_samples = Samples(self.folder / high_res_name, self.manifest.tiles, 1, skipped)
        stored = whole.low_res != "none"
        self._low_res = Samples(self.folder / LOW_RES, self.manifest.tiles, whole.scale, skipped) if stored else None

    def __len__(self) -> int:
        return len(self.manifest.tiles)

    def high_res(self, index: int) -> NDArray[np.uint8]:
        """Sub-image ``index`` as a read-only view, uint8 (H, W, 3)."""
        return self.high_res_samples[index]

    def low_res(self, index: int) -> NDArray[np.uint8]:
        """Its stored reduction, uint8 (H/scale, W/scale, 3). Raises DataError when none was stored."""
        return self.low_res_samples[index]

    @property
    def low_res_samples(self) -> Samples:
        """All stored reductions. Raises DataError when there are none."""
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

    def __init__(self, path: Path, tiles: Sequence[Tile], scale: int, longer: bool = False) -> None:
        self.shapes = [(tile.height // scale, tile.width // scale, CHANNELS) for tile in tiles]
        self.starts = np.concatenate(([0], np.cumsum([height * width * CHANNELS for height, width, _ in self.shapes])))
        expected = int(self.starts[-1])
        got = path.stat().st_size if path.is_file() else 0
        if got < expected or (got > expected and not longer):
            raise DataError(f"{path}: expected {expected} bytes as the manifest says, got {got}; run prepare again")
        # A plain array over the map: every slice of a memmap object costs four times one of an array.
        self.samples: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r", shape=expected).view(np.ndarray)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        view: NDArray[np.uint8] = self.samples[self.starts[index] : self.starts[index + 1]].reshape(self.shapes[index])
        return view
