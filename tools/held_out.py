"""For maintainers: sort the training tiles into those that models learn from and those that they are chosen by, and damage some of these.

    python tools/held_out.py ../shared/data/train runs/tiles
    superscale prepare runs/tiles/train -o runs/pack
    superscale evaluate --data runs/tiles/damaged --metric psnr,features,grid,grain -m photo-x4 -m bicubic

Makes four folders: train/; held-out/, all tiles of twelve photographs; clean/HR/, the tile of each that has most detail; damaged/ with HR/ and
LR_x4/, the same, reduced as the recipe photo_x4 does. The twelve are always the same ones.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import tarfile
from pathlib import Path

import torch
from PIL import Image

from superscale.data.photograph import PhotographConfig, draw_photograph, photographed
from superscale.image.io import read_image
from superscale.image.pixels import to_float, to_pixels

PHOTOGRAPHS, SHUFFLE_SEED = 12, 7
SCALE = 4


def main() -> None:
    """Unpack, sort, damage."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", type=Path, help="the folder with photos-*.tar and manifest.csv")
    parser.add_argument("output", type=Path, help="a folder to make")
    given = parser.parse_args()
    for tar in sorted(given.photographs.glob("photos-*.tar")):
        with tarfile.open(tar) as archive:
            archive.extractall(given.output / "train", filter="data")
    chosen = held_out(given.photographs / "manifest.csv", given.output)
    high_res, low_res = given.output / "damaged" / "HR", given.output / "damaged" / f"LR_x{SCALE}"
    for folder in (given.output / "clean" / "HR", high_res, low_res):
        folder.mkdir(parents=True)
    for number, tile in enumerate(chosen):
        name = f"{Path(tile).stem}.png"
        pixels = read_image(given.output / "held-out" / tile).pixels
        draw = draw_photograph(PhotographConfig(), torch.Generator().manual_seed(number))
        Image.fromarray(pixels).save(high_res / name)
        shutil.copy(high_res / name, given.output / "clean" / "HR" / name)
        damaged = photographed(torch.from_numpy(to_float(pixels))[None], [draw], SCALE)
        Image.fromarray(to_pixels(damaged[0])).save(low_res / name)


def held_out(manifest: Path, output: Path) -> list[str]:
    """Move the tiles of the twelve photographs from train/ to held-out/; returns of each the tile with most detail."""
    with open(manifest, encoding="utf-8", newline="") as file:
        photographs: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for row in csv.DictReader(file):
            photographs.setdefault((row["source"], row["file"]), []).append((float(row["detail"]), row["tile"]))
    names = sorted(photographs)
    random.Random(SHUFFLE_SEED).shuffle(names)
    (output / "held-out").mkdir()
    for tiles in (photographs[name] for name in names[:PHOTOGRAPHS]):
        for _, tile in tiles:
            (output / "train" / tile).rename(output / "held-out" / tile)
    return [max(photographs[name])[1] for name in names[:PHOTOGRAPHS]]


if __name__ == "__main__":
    main()
