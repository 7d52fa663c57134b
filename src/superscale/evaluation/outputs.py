"""Ready-made outputs of other tools: a folder of pictures, each found by the name of the picture it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from superscale.data.pairs import Array, Pair, PairFolder
from superscale.errors import DataError
from superscale.image.io import list_images, over_white, read_image
from superscale.image.picture import at_depth


class OutputFolder:
    """``baby.png`` is found as baby, baby_x4, babyx4, or as the only file that begins with ``baby_``.

    ``folder/LABEL/`` is used where it exists, so that one folder can hold several data sets. Raises DataError, before the first
    picture, naming every picture without an output or with several.
    """

    def __init__(self, folder: Path | str, label: str, names: Iterable[str], scale: int) -> None:
        folder = Path(folder)
        self.folder = folder / label if (folder / label).is_dir() else folder
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: expected a folder of outputs")
        files = list_images(self.folder)
        found = {name: _candidates(name, files, scale) for name in names}
        missing = [name for name, paths in found.items() if not paths]
        if missing:
            raise DataError(f"{self.folder}: no output for {', '.join(missing)}")
        for name, paths in found.items():
            if len(paths) > 1:
                raise DataError(f"{self.folder}: several outputs for {name}: {', '.join(path.name for path in paths)}")
        self.paths = {name: paths[0] for name, paths in found.items()}

    def __call__(self, pair: Pair) -> Array:
        """The output for a pair, at the depth of its file or, if that is deeper and the pair has no peak of its own, of the truth.

        Raises DataError, naming the file, when it has another size than the truth.
        """
        path = self.paths[pair.name]
        image = over_white(read_image(path))
        if image.pixels.dtype == np.uint8 and pair.peak is None:
            image = at_depth(image, pair.high_res.dtype)
        pixels = image.pixels
        height, width = pair.high_res.shape[:2]
        if pixels.shape[:2] != (height, width):
            raise DataError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]}, expected {width}x{height} as the truth {pair.name}")
        if pixels.shape[2] not in (1, pair.high_res.shape[2]):
            raise DataError(f"{path}: {pixels.shape[2]} channels, expected {pair.high_res.shape[2]} as the truth {pair.name}")
        return np.ascontiguousarray(np.broadcast_to(pixels, pair.high_res.shape))


def of_no_picture(outputs: Path, folders: Sequence[PairFolder], scale: int) -> list[Path]:
    """The files among another tool's outputs that belong to no picture of these folders."""
    matched = [OutputFolder(outputs, folder.label, [path.stem for path in folder.high_res], scale) for folder in folders]
    used = {path for one in matched for path in one.paths.values()}
    return sorted({path for one in matched for path in list_images(one.folder)} - used)


def _candidates(name: str, files: list[Path], scale: int) -> list[Path]:
    exact = [path for path in files if path.stem in (name, f"{name}_x{scale}", f"{name}x{scale}")]
    return exact or [path for path in files if path.stem.startswith(f"{name}_")]
