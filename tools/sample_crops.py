"""For maintainers: draw the crops of docs/crops.md, of each subject clean and damaged, by all models, beside the original.

    python tools/sample_crops.py ../shared/data/benchmarks docs/images --peer ../shared/weights/realesr-general-x4v3.pth \
        --peer ../shared/weights/realesrgan-x4plus.safetensors

Clean: reduced 4 times, bicubic. Damaged: also with noise of 4 levels and JPEG of quality 60.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage import data

from superscale.image.io import read_image
from superscale.image.resize import imresize
from superscale.inference.upscaler import Upscaler
from superscale.weights.store import BUNDLED

Array = NDArray[Any]
SCALE, SIDE_PX, GAP_PX, LABEL_PX = 4, 160, 6, 18
ENLARGED = 3
AROUND_PX = 24  # low-res pixels that the networks see around a crop
NOISE, QUALITY = 4, 60
# name -> (where it is from, the crop's top and left in the original)
SUBJECTS: dict[str, tuple[str, int, int]] = {
    "face": ("astronaut", 60, 140),
    "fur": ("chelsea", 60, 100),
    "wood": ("coffee", 20, 20),
    "baboon": ("Set14/HR/baboon.png", 20, 120),
    "comic": ("Set14/HR/comic.png", 20, 60),
    "text": ("Set14/HR/ppt3.png", 60, 60),
    "zebra": ("Set14/HR/zebra.png", 160, 200),
    "building": ("BSD100/HR/img_003.png", 100, 120),
}


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--peer", type=Path, action="append", default=[])
    given = parser.parse_args()
    models: dict[str, Callable[[Array], Array]] = {"bicubic": lambda low_res: imresize(low_res, SCALE)}
    models |= {name: Upscaler(name, device="cpu") for name in BUNDLED}
    models |= {path.stem: Upscaler(path, device="cpu") for path in given.peer}
    for name, (source, top, left) in SUBJECTS.items():
        high_res = original(source, given.benchmarks)
        for kind, spoil in (("clean", None), ("damaged", damaged)):
            draw(high_res, top, left, spoil, models).save(given.output / f"crop-{name}-{kind}.webp", quality=80, method=6)


def original(source: str, benchmarks: Path) -> Array:
    """A picture whose sides divide by the scale."""
    pixels = read_image(benchmarks / source).pixels if "/" in source else np.asarray(getattr(data, source)())
    height, width = (side // SCALE * SCALE for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width, :3])


def damaged(low_res: Array) -> Array:
    """With noise, and compressed."""
    noise = np.random.default_rng(0).normal(0, NOISE, low_res.shape)
    stream = io.BytesIO()
    Image.fromarray((low_res + noise).round().clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(stream))


def draw(
    high_res: Array, top: int, left: int, spoil: Callable[[Array], Array] | None, models: dict[str, Callable[[Array], Array]]
) -> Image.Image:
    """A row at 100 % and one of their centres at 300 %, the original last."""
    low_res = imresize(high_res, 1 / SCALE)
    low_res = low_res if spoil is None else spoil(low_res)
    crops = {name: crop_of(model, low_res, top, left) for name, model in models.items()}
    crops["original"] = high_res[top : top + SIDE_PX, left : left + SIDE_PX]
    step = SIDE_PX + GAP_PX
    sheet = Image.new("RGB", (step * len(crops) - GAP_PX, LABEL_PX + step + SIDE_PX), "white")
    small = SIDE_PX // ENLARGED
    edge = (SIDE_PX - small) // 2
    for number, (name, crop) in enumerate(crops.items()):
        ImageDraw.Draw(sheet).text((number * step, 2), name, fill="black")
        picture = Image.fromarray(np.ascontiguousarray(crop))
        centre = picture.crop((edge, edge, edge + small, edge + small))
        sheet.paste(picture, (number * step, LABEL_PX))
        sheet.paste(centre.resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST), (number * step, LABEL_PX + step))
    return sheet


def crop_of(model: Callable[[Array], Array], low_res: Array, top: int, left: int) -> Array:
    """A crop of what a model makes of a picture, computed of its surroundings alone."""
    first = [max(0, edge // SCALE - AROUND_PX) for edge in (top, left)]
    last = [(edge + SIDE_PX) // SCALE + AROUND_PX for edge in (top, left)]
    larger = model(np.ascontiguousarray(low_res[first[0] : last[0], first[1] : last[1]]))
    row, column = top - first[0] * SCALE, left - first[1] * SCALE
    return larger[row : row + SIDE_PX, column : column + SIDE_PX]


if __name__ == "__main__":
    main()
