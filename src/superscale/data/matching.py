"""Which low-resolution picture belongs to which high-resolution one: by folder and by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from superscale.errors import DataError

# A problem that many pictures share names so many of them.
NAMED = 3


def split_folder(folder: Path, scale: int) -> tuple[Path, Path | None]:
    """(HR/, LR_x{scale}/) of a folder that holds both; else the folder itself, or its HR/, and None.

    Raises DataError for a folder with low-resolution pictures, but no HR/ beside them.
    """
    high_folder = folder / "HR" if (folder / "HR").is_dir() else folder
    low_folder = folder / f"LR_x{scale}"
    if high_folder == folder and (low := low_folders(folder)):
        raise DataError(f"{folder}: holds {', '.join(low)}, but no HR/ beside it; expected HR/ and LR_x{scale}/")
    return high_folder, low_folder if low_folder.is_dir() else None


def low_folders(folder: Path) -> list[str]:
    """The names of the folders of low-resolution pictures in a folder, of any scale."""
    return [path.name for path in sorted(folder.glob("LR_x*")) if path.is_dir()]


def partners(high_res: Sequence[str], low_res: Sequence[str], scale: int, low_place: Path) -> list[str]:
    """The low-resolution picture of each high-resolution one; names are compared without folder and suffix.

    ``a`` belongs to ``a``, ``ax4`` or ``a_x4``, and ``a_HR`` to ``a_LR4`` (RealSR), ``a_LR`` or ``a_LR_x4``. Raises DataError, naming
    them, when some have no partner, or two are called alike.
    """
    by_stem = {_stem(name): name for name in low_res}
    for place, names in (("the high-resolution pictures", high_res), (str(low_place), low_res)):
        stems = [_stem(name) for name in names]
        if twice := sorted({stem for stem in stems if len(names) > len(set(stems)) and stems.count(stem) > 1}):
            raise DataError(f"{place}: two pictures are called {twice[0]}, and pairs are matched by name; rename one")
    found = [next((by_stem[stem] for stem in _stems(_stem(name), scale) if stem in by_stem), None) for name in high_res]
    missing = [PurePosixPath(name).name for name, partner in zip(high_res, found, strict=True) if partner is None]
    if missing:
        raise DataError(f"{low_place}: no low-resolution partner for {named(missing)}")
    return [name for name in found if name is not None]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _stems(high_res: str, scale: int) -> tuple[str, ...]:
    own = (high_res, f"{high_res}x{scale}", f"{high_res}_x{scale}")
    if not high_res.endswith("HR"):
        return own
    low = f"{high_res.removesuffix('HR')}LR"
    return (*own, f"{low}{scale}", low, f"{low}_x{scale}")


def named(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
