"""The README's pictures: crops of two photographs reduced four times, then enlarged by bicubic and by the bundled models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw

from superscale import Upscaler
from superscale.image.resize import imresize
from superscale.weights.store import BUNDLED

OUTPUT = Path(__file__).parents[1] / "docs" / "images"
CROP_PX, GAP_PX, TITLE_PX = 200, 6, 18
# photograph (both in the public domain or CC0, from scikit-image) -> upper left corner of the crop
CROPS = {"astronaut": (30, 150), "chelsea": (60, 120)}


def main() -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name, (top, left) in CROPS.items():
        photo = getattr(skimage.data, name)()
        truth = photo[: photo.shape[0] // 4 * 4, : photo.shape[1] // 4 * 4]
        small = imresize(truth, 1 / 4)
        pictures = {"bicubic": imresize(small, 4)}
        pictures |= {model: Upscaler(model)(small) for model in BUNDLED}
        pictures["original"] = truth
        crops = {title: pixels[top : top + CROP_PX, left : left + CROP_PX] for title, pixels in pictures.items()}
        sheet(crops).save(OUTPUT / f"{name}.png")


def sheet(crops: dict[str, np.ndarray]) -> Image.Image:
    """Crops side by side under their titles."""
    width = len(crops) * (CROP_PX + GAP_PX) - GAP_PX
    picture = Image.new("RGB", (width, CROP_PX + TITLE_PX), "white")
    pen = ImageDraw.Draw(picture)
    for number, (title, pixels) in enumerate(crops.items()):
        left = number * (CROP_PX + GAP_PX)
        pen.text((left + 2, 3), title, fill="black")
        picture.paste(Image.fromarray(pixels), (left, TITLE_PX))
    return picture


if __name__ == "__main__":
    main()
