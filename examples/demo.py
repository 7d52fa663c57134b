"""Enlarge a real photograph four times with the bundled model, and say where the result lies. Run by `make demo`."""

from __future__ import annotations

import time
from pathlib import Path

import skimage
from PIL import Image

from superscale import Upscaler

FOLDER = Path("demo")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    photo = FOLDER / "chelsea.png"
    Image.fromarray(skimage.data.chelsea()).save(photo)
    upscaler = Upscaler()
    began = time.monotonic()
    enlarged = upscaler(photo)
    output = FOLDER / "chelsea_x4.png"
    enlarged.save(output)
    small = Image.open(photo)
    print(f"{photo} ({small.width}x{small.height}) -> {output} ({enlarged.width}x{enlarged.height})")
    print(f"model {upscaler.model.name}, {time.monotonic() - began:.1f} s. Open it: {output.resolve()}")


if __name__ == "__main__":
    main()
