"""Which number is right? One model under all usual conventions side by side, and who used which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superscale.data.pairs import Array, Pair
from superscale.errors import DataError
from superscale.evaluation.benchmark import Progress, Upscale
from superscale.evaluation.low_res import REDUCTIONS
from superscale.evaluation.table import aligned
from superscale.image.color import luma
from superscale.image.pixels import PEAK_8BIT, to_float
from superscale.metrics.psnr import psnr
from superscale.metrics.ssim import ssim

# Full-swing luma, the Y of OpenCV's YCrCb (ITU-R BT.601).
FULL_SWING = (0.299, 0.587, 0.114)


def _full_swing(planes: Tensor) -> Tensor:
    weights = torch.tensor(FULL_SWING, dtype=planes.dtype).view(1, 3, 1, 1)
    return (planes * weights).sum(dim=1, keepdim=True)


GREY_AS_LUMA = "Y, grey pictures as luma"
# what is measured -> RGB (1, 3, H, W) in [0, 1] -> planes in [0, 1]
COLORS: dict[str, Callable[[Tensor], Tensor]] = {
    "Y": lambda planes: luma(planes) / PEAK_8BIT,
    GREY_AS_LUMA: lambda planes: luma(planes) / PEAK_8BIT,
    "Y rounded to 8 bits": lambda planes: (luma(planes) + 0.5).floor() / PEAK_8BIT,
    "Y of OpenCV's YCrCb": _full_swing,
    "RGB": lambda planes: planes,
}


@dataclass(frozen=True)
class Usual:
    """One convention people measure under; ``border``: pixels beyond ``borders`` times the scale."""

    color: str
    borders: int
    more_px: int
    low_res: str
    used_by: str

    def border(self, scale: int) -> int:
        """Pixels cut off each side at a scale."""
        return self.borders * scale + self.more_px


USUAL = (
    Usual("Y", 1, 0, "bicubic, double", "RRDB, ESRGAN (BasicSR); the default here"),
    Usual("Y", 1, 0, "bicubic, uint8", "EDSR on the benchmark sets, and the line built on its data"),
    Usual("Y rounded to 8 bits", 1, 0, "bicubic, double", "SRCNN's MATLAB code (rgb2ycbcr of uint8)"),
    Usual(GREY_AS_LUMA, 1, 0, "bicubic, double", "MATLAB scripts; differs where a set has grey pictures (Set14)"),
    Usual("Y", 0, 0, "bicubic, double", "code that cuts no border"),
    Usual("RGB", 1, 6, "bicubic, double", "EDSR on DIV2K, NTIRE 2017"),
    Usual("RGB", 1, 0, "bicubic, double", "trap: RGB beside papers that measured Y"),
    Usual("RGB", 0, 0, "bicubic, double", "trap: RGB, and no border cut"),
    Usual("Y of OpenCV's YCrCb", 1, 0, "bicubic, double", "trap: cv2.COLOR_BGR2YCrCb is full swing (0 to 255)"),
    Usual("Y", 1, 0, "bicubic, not antialiased", "trap: cv2.resize or F.interpolate to make the low-res pictures"),
)


@dataclass(frozen=True)
class Explained:
    """The means over a data set under one convention."""

    usual: Usual
    psnr: float
    ssim: float


@torch.inference_mode()
def explain(upscale: Upscale, pairs: Iterable[Pair], scale: int, progress: Progress | None = None) -> list[Explained]:
    """A model's means under every usual convention. Low-res pictures are made anew from the high-res ones; stored ones are not used."""
    values: list[list[tuple[float, float]]] = [[] for _ in USUAL]
    for done, pair in enumerate(pairs, start=1):
        if pair.high_res.dtype != np.uint8 or pair.high_res.shape[2] != 3:
            raise DataError(f"{pair.name}: the conventions side by side are those of 8-bit grey and RGB pictures")
        outputs = {name: upscale(reduce(pair.high_res, scale)) for name, reduce in REDUCTIONS.items()}
        for usual, seen in zip(USUAL, values, strict=True):
            seen.append(_measured(outputs[usual.low_res], pair, usual, scale))
        if progress is not None:
            progress(done)
    means = [np.mean(seen, axis=0) for seen in values]
    return [Explained(usual, float(mean[0]), float(mean[1])) for usual, mean in zip(USUAL, means, strict=True)]


def _measured(super_res: Array, truth: Pair, usual: Usual, scale: int) -> tuple[float, float]:
    pair = [torch.from_numpy(to_float(pixels))[None].double() for pixels in (super_res, truth.high_res)]
    if usual.color == GREY_AS_LUMA and truth.one_channel:
        first, second = (planes[:, :1] for planes in pair)
    else:
        first, second = (COLORS[usual.color](planes) for planes in pair)
    border = usual.border(scale)
    values = [metric(first, second, data_range=1.0, border=border, color="rgb").item() for metric in (psnr, ssim)]
    return values[0], values[1]


def to_text(model: str, data: str, explained: Sequence[Explained], scale: int) -> str:
    """One line a convention, with its distance from the first."""
    first = explained[0]
    lines = [["PSNR dB ↑", "differs", "SSIM ↑", "measured on", "border", "low-res", "used by"]]
    for entry in explained:
        apart = "" if entry is first else f"{entry.psnr - first.psnr:+.2f}"
        usual = entry.usual
        border = f"{usual.border(scale)} px"
        lines.append([f"{entry.psnr:.2f}", apart, f"{entry.ssim:.4f}", usual.color, border, usual.low_res, usual.used_by])
    title = f"{model} on {data}, ×{scale}, 8-bit pictures, high-res cropped to a multiple of {scale}"
    return "\n".join([title, aligned(lines)])
