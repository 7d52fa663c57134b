"""Is a clip steadier with `--steady`? Warping error, flicker and PSNR, with and without, of a camera that moves and of one that stands still.

The clips are made of scikit-image's photographs, with the noise of a camera, reduced four times and compressed by H.264 (crf 23).
"""

from __future__ import annotations

import argparse
import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from hardware import hardware
from skimage.data import astronaut, coffee

from superscale import Upscaler
from superscale.evaluation.benchmark import benchmark
from superscale.image.resize import imresize
from superscale.video.steadying import Steadied

HEIGHT, WIDTH, FRAMES = 256, 384, 16
METRICS = ("psnr", "warping", "flicker")


def clips() -> dict[str, list[Any]]:
    """Frames (H, W, 3) of a camera that pans, by fractions of a small picture's pixel, and of a thing that passes a camera at rest."""
    random = np.random.default_rng(0)
    scene, thing = coffee(), astronaut()
    shown: dict[str, list[Any]] = {"camera that moves": [], "camera at rest": []}
    for number in range(FRAMES):
        shown["camera that moves"].append(scene[2 * number :, 5 * number :][:HEIGHT, :WIDTH])
        still = scene[:HEIGHT, :WIDTH].copy()
        still[60:140, 9 * number + 10 :][:, :80] = thing[60:140, 180:260]
        shown["camera at rest"].append(still)
    noisy = {kind: [frame + random.normal(0, 2, frame.shape) for frame in frames] for kind, frames in shown.items()}
    return {kind: [frame.clip(0, 255).round().astype(np.uint8) for frame in frames] for kind, frames in noisy.items()}


def compressed(frames: list[Any]) -> list[Any]:
    stream = io.BytesIO()
    with av.open(stream, "w", format="matroska") as container:
        coded = container.add_stream("libx264", rate=25, options={"crf": "23"})
        coded.height, coded.width, coded.pix_fmt = *frames[0].shape[:2], "yuv444p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(coded.encode(frame))
        container.mux(coded.encode())
    stream.seek(0)
    with av.open(stream) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class Plain:
    """An upscaler as what `Steadied` takes."""

    def __init__(self, upscaler: Upscaler) -> None:
        self.upscaler = upscaler

    def restart(self) -> None: ...

    def __call__(self, pixels: Any) -> Any:
        return self.upscaler(pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", nargs="+", default=["compact-x4", "srgan-x4"])
    parser.add_argument("--steady", type=float, default=0.8)
    taken = parser.parse_args()
    print(hardware(1))
    for kind, truth in clips().items():
        small = compressed([imresize(frame, 1 / 4) for frame in truth])
        pairs = list(zip(small, truth, strict=True))
        for model in taken.model:
            plain = Plain(Upscaler(model, device="cpu"))
            for name, enlarger in ((model, plain), (f"{model} --steady {taken.steady:g}", Steadied(plain, taken.steady))):
                rows = benchmark(enlarger, pairs, metrics=METRICS)
                print(f"{kind}, {name}:", ", ".join(f"{row.metric} {row.printed}" for row in rows), flush=True)
        rows = benchmark(lambda _, originals=iter(truth): next(originals), pairs, metrics=METRICS[1:])
        print(f"{kind}, original:", ", ".join(f"{row.metric} {row.printed}" for row in rows))


if __name__ == "__main__":
    main()
