"""The pictures of README.md and docs/models.md: crops of reduced photographs, enlarged by bicubic and by the bundled models.

    python examples/samples.py --benchmarks ../shared/data/benchmarks

Without the benchmark sets only the photographs that scikit-image brings are drawn; README.md shows two of them. Of the benchmark
pictures no original is drawn: their licences are not ours to give.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw

from superscale import Upscaler
from superscale.image.resize import imresize
from superscale.weights.store import BUNDLED

OUTPUT = Path(__file__).parents[1] / "docs" / "images"
CROP_PX, ZOOM, GAP_PX, TITLE_PX = 160, 4, 6, 18
SCALE = 4
README_PHOTOS = ("astronaut", "chelsea")
README_MODELS = ("srresnet-x4", "srgan-x4", "esrgan-lite-x4")
# photograph (public domain or CC0, from scikit-image) -> upper left corner of the crop in the large picture
PHOTOS = {"astronaut": (22, 168), "chelsea": (80, 130), "page": (20, 100)}
# picture of a benchmark set -> upper left corner of the crop
BENCHMARKS = {
    "Set14/HR/baboon": (290, 300),
    "Set14/HR/comic": (60, 60),
    "Set14/HR/zebra": (130, 170),
    "Set14/HR/ppt3": (240, 20),
    "BSD100/HR/img_003": (120, 120),
}
# a photograph as a camera or a web page saved it, enlarged as it is: corner in the large picture
JPEG_PHOTO, JPEG_QUALITY, JPEG_CORNER = "rocket", 50, (230, 560)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--benchmarks", type=Path)
    options = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    models: dict[str, Callable[[np.ndarray], np.ndarray]] = {"bicubic": lambda small: imresize(small, SCALE)}
    models |= {name: Upscaler(name) for name in BUNDLED}
    for name, corner in PHOTOS.items():
        photo = getattr(skimage.data, name)()
        write(name, models, *reduced(photo), corner)
    if options.benchmarks:
        for name, corner in BENCHMARKS.items():
            small, _ = reduced(np.asarray(Image.open(options.benchmarks / f"{name}.png").convert("RGB")))
            write(name.rsplit("/", 1)[-1], models, small, None, corner)
    write("jpeg", models, jpeg(getattr(skimage.data, JPEG_PHOTO)()), None, JPEG_CORNER)


def reduced(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low_res, truth) of a photograph (H, W) or (H, W, 3), cut to a multiple of the scale."""
    colored = photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, axis=2)
    truth = colored[: photo.shape[0] // SCALE * SCALE, : photo.shape[1] // SCALE * SCALE]
    return imresize(truth, 1 / SCALE), truth


def jpeg(photo: np.ndarray) -> np.ndarray:
    """What is left of a photograph after half its size and a strong JPEG, as pictures on the web are."""
    held = BytesIO()
    Image.fromarray(imresize(photo, 1 / 2)).save(held, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(held))


def write(
    name: str,
    models: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    small: np.ndarray,
    truth: np.ndarray | None,
    corner: tuple[int, int],
) -> None:
    """The sheet with all models for docs/models.md and, of a photograph with its truth, the short one for README.md."""
    crops = {title: cut(enlarge(small), corner) for title, enlarge in models.items()}
    if truth is not None:
        crops["original"] = cut(truth, corner)
        if name in README_PHOTOS:
            short = {title: crop for title, crop in crops.items() if title in ("bicubic", *README_MODELS, "original")}
            sheet(short).save(OUTPUT / f"{name}.webp", quality=92, method=6)
    sheet(crops).save(OUTPUT / f"sample-{name}.webp", quality=92, method=6)


def cut(pixels: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    top, left = (min(at, side - CROP_PX) for at, side in zip(corner, pixels.shape[:2], strict=True))
    return pixels[top : top + CROP_PX, left : left + CROP_PX]


def sheet(crops: Mapping[str, np.ndarray]) -> Image.Image:
    """Crops side by side under their titles, at 100 % and below at 400 % (their middle, pixel by pixel)."""
    step = CROP_PX + GAP_PX
    picture = Image.new("RGB", (len(crops) * step - GAP_PX, TITLE_PX + 2 * step - GAP_PX), "white")
    pen = ImageDraw.Draw(picture)
    first, side = (CROP_PX - CROP_PX // ZOOM) // 2, CROP_PX // ZOOM
    for number, (title, pixels) in enumerate(crops.items()):
        left = number * step
        pen.text((left + 2, 3), title, fill="black")
        middle = pixels[first : first + side, first : first + side].repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
        picture.paste(Image.fromarray(pixels), (left, TITLE_PX))
        picture.paste(Image.fromarray(middle), (left, TITLE_PX + step))
    return picture


if __name__ == "__main__":
    main()
