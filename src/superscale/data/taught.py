"""What a teacher makes of damaged patches, computed once and kept as a pack, from which a small network learns.

The folder holds, one after another, as many patches as were made so far: ``low_res.u8`` what the teacher was given, ``teacher.u8`` what
it made of it, ``high_res.u8`` the truth. A killed process leaves whole patches, and the next one goes on behind them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from superscale.data.loader import load_batch, to_device
from superscale.data.pack import MANIFEST, Manifest, Pack, Tile, checksums_of, high_res_file, low_res_file
from superscale.data.patches import PatchPlan
from superscale.errors import DataError
from superscale.files import new_file, write_text
from superscale.image.pixels import round_half_up, to_pixels
from superscale.image.resize import Rounding
from superscale.reading import read_text

HIGH_RES = high_res_file("uint8")
LOW_RES = low_res_file("uint8")
TEACHER = "teacher.u8"
CHANNELS = 3
# In the manifest, where a prepared pack has the rounding of its reductions.
DAMAGED = "damaged"

Array = NDArray[np.uint8]
# uint8 RGB (h, w, 3) -> uint8 RGB (h*scale, w*scale, 3)
Teacher = Callable[[Array], Array]


def teach(
    plan: PatchPlan, count: int, folder: Path, teacher: Teacher, rounding: Rounding, progress: Callable[[int, int], None]
) -> None:
    """Ask the teacher about the first ``count`` patches of a plan, and keep the answers in ``folder``; those it holds are not asked again.

    ``progress(made, count)`` is called after every patch, and may raise to stop. Raises DataError when an answer has the wrong size.
    """
    pack = plan.pack.manifest
    if (pack.dtype, pack.channels) != ("uint8", CHANNELS):
        raise DataError(
            f"a teacher is asked about 8-bit RGB, and {plan.pack.folder} holds {pack.dtype} of {pack.channels} channels"
        )
    folder.mkdir(parents=True, exist_ok=True)
    side = plan.patch_px
    sizes = {LOW_RES: CHANNELS * (side // plan.scale) ** 2, HIGH_RES: CHANNELS * side**2, TEACHER: CHANNELS * side**2}
    made = min(_whole(folder / name, size) for name, size in sizes.items())
    for name, size in sizes.items():
        with open(folder / name, "ab") as file:
            file.truncate(made * size)
    for number in range(made, count):
        low_res, high_res = _pair(plan, number, rounding)
        answer = teacher(low_res)
        if answer.shape != high_res.shape:
            raise DataError(f"the teacher made {answer.shape} of {low_res.shape}, expected {high_res.shape}")
        for name, pixels in ((LOW_RES, low_res), (HIGH_RES, high_res), (TEACHER, answer)):
            with open(folder / name, "ab") as file:
                file.write(np.ascontiguousarray(pixels).data)
                os.fsync(file.fileno())
        progress(number + 1, count)
    tiles = tuple(_tile(plan, number) for number in range(max(made, count)))
    checksums = {name: checksums_of(folder / name) for name in sizes}
    manifest = Manifest(plan.scale, DAMAGED, tiles, plan.pack.manifest.skipped, checksums=checksums)
    write_text(folder / MANIFEST, manifest.to_json())


def _whole(path: Path, size: int) -> int:
    return path.stat().st_size // size if path.is_file() else 0


def _pair(plan: PatchPlan, number: int, rounding: Rounding) -> tuple[Array, Array]:
    """What training without a teacher would see as image ``number``, as uint8 (h, w, 3) and (h*scale, w*scale, 3)."""
    batch = to_device(load_batch(plan, (number,)), torch.device("cpu"), plan.scale, rounding)
    return to_pixels(batch.low_res[0]), to_pixels(batch.high_res[0])


def _tile(plan: PatchPlan, number: int) -> Tile:
    place = plan.place(number)
    photo = plan.pack.manifest.tiles[place.tile]
    top = photo.top + place.top * plan.scale
    left = photo.left + place.left * plan.scale
    return replace(photo, top=top, left=left, height=plan.patch_px, width=plan.patch_px)


def is_taught(folder: Path, count: int) -> bool:
    """Whether the folder holds as many patches."""
    return (folder / MANIFEST).is_file() and len(Pack(folder, TEACHER, count)) == count


def taught_pack(folder: Path, count: int, weight: float, colors_px: float = 0.0) -> Pack:
    """The first ``count`` patches as a pack whose high-res is ``weight`` parts of the teacher's answer and 1 - ``weight`` of the truth.

    ``colors_px``: what a Gaussian blur of this standard deviation leaves of the answer is replaced by what it leaves of the truth.
    """
    if weight == 0.0 or (weight == 1.0 and not colors_px):
        return Pack(folder, TEACHER if weight else HIGH_RES, count)
    name = f"mixed-{weight:g}-{colors_px:g}.u8"
    if not _is_mixed(folder, name, count):
        manifest = Manifest.from_json(read_text(folder / MANIFEST), str(folder / MANIFEST))
        patches = len(manifest.tiles)  # the files may hold more: another process may be asking
        Pack(folder, TEACHER, patches).verify()
        with new_file(folder / name) as stream:
            for target in _targets(folder, patches, manifest.tiles[0].height, weight, colors_px):
                stream.write(target.data)
        sums = manifest.checksums | {name: checksums_of(folder / name)}
        write_text(folder / MANIFEST, replace(manifest, checksums=sums).to_json())
    return Pack(folder, name, count)


def _is_mixed(folder: Path, name: str, count: int) -> bool:
    """Whether the mixture is there and undamaged; any other is made anew of what it is made from."""
    try:
        mixture = Pack(folder, name, count)
        mixture.high_res_samples.verify()
    except DataError:
        return False
    return name in mixture.manifest.checksums


def _targets(folder: Path, patches: int, side: int, weight: float, colors_px: float) -> Iterator[Array]:
    """One patch (side, side, 3) after another: nothing is held of the files, which may be of gigabytes."""
    shape = (patches, side, side, CHANNELS)
    truths, answers = (np.memmap(folder / name, np.uint8, "r", shape=shape) for name in (HIGH_RES, TEACHER))
    blur = _blur(side, colors_px) if colors_px else None
    rounded = round_half_up(np.uint8)
    for truth, answer in zip(truths, answers, strict=True):
        change = np.subtract(answer, truth, dtype=np.float32)
        if blur is not None:
            change -= np.einsum("yi,ijc,xj->yxc", blur, change, blur, optimize=True)
        target: Array = np.asarray(rounded(truth + np.float32(weight) * change)).astype(np.uint8)
        yield target


def _blur(side: int, deviation: float) -> NDArray[np.float32]:
    """A Gaussian as a matrix for rows or columns, renormalised over what lies inside the patch."""
    places = np.arange(side)
    gaussian = np.exp(-((places[:, None] - places) ** 2) / (2 * deviation**2))
    blur: NDArray[np.float32] = (gaussian / gaussian.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur
