"""Any upscale callable x pairs -> a table in which no number stands without its convention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superscale.data.pairs import Pair
from superscale.errors import DataError, UnknownNameError
from superscale.evaluation.planes import Color
from superscale.evaluation.psnr import psnr
from superscale.evaluation.ssim import ssim
from superscale.image.pixels import to_float

Array = NDArray[np.uint8]
# uint8 RGB (h, w, 3) -> uint8 RGB (h*scale, w*scale, 3)
Upscale = Callable[[Array], Array]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Metric:
    """A full-reference metric, its unit and which way is better."""

    measure: Callable[..., Tensor]
    unit: str
    higher_is_better: bool


METRICS: dict[str, Metric] = {"psnr": Metric(psnr, "dB", True), "ssim": Metric(ssim, "", True)}


@dataclass(frozen=True, kw_only=True)
class Convention:
    """All that decides a number besides the pictures: pictures are 8-bit, high-res cropped to a multiple of the scale."""

    scale: int
    color: Color
    border: int
    low_res: str

    def __str__(self) -> str:
        colour = "Y (BT.601 studio swing)" if self.color == "y" else "RGB"
        return (
            f"×{self.scale}, {colour}, border {self.border} px, low-res: {self.low_res}, "
            f"8-bit pictures, high-res cropped to a multiple of {self.scale}"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"bits": 8, "crop_to_multiple": self.scale, "text": str(self)}


@dataclass(frozen=True)
class Row:
    """One model on one data set by one metric; ``images``: name -> value."""

    model: str
    data: str
    metric: str
    images: dict[str, float]

    @property
    def mean(self) -> float:
        return sum(self.images.values()) / len(self.images)

    @property
    def std(self) -> float:
        """Population standard deviation over the pictures."""
        mean = self.mean
        return sqrt(sum((value - mean) ** 2 for value in self.images.values()) / len(self.images))


def measure(super_res: Array, high_res: Array, metrics: Sequence[str], *, border: int, color: Color) -> dict[str, float]:
    """The named metrics of one 8-bit picture. Raises UnknownNameError for a metric that is not in the table."""
    first, second = to_float(super_res)[None], to_float(high_res)[None]
    values: dict[str, float] = {}
    for name in metrics:
        if name not in METRICS:
            raise UnknownNameError("metric", name, METRICS)
        values[name] = float(METRICS[name].measure(first, second, data_range=1.0, border=border, color=color))
    return values


@torch.inference_mode()
def benchmark(
    upscale: Upscale,
    pairs: Iterable[Pair],
    *,
    model: str,
    data: str,
    metrics: Sequence[str],
    border: int,
    color: Color,
    progress: Progress | None = None,
) -> list[Row]:
    """One row a metric. Raises DataError when an output has another size than the truth."""
    images: Mapping[str, dict[str, float]] = {name: {} for name in metrics}
    for number, pair in enumerate(pairs, start=1):
        super_res = upscale(pair.low_res)
        if super_res.shape != pair.high_res.shape:
            raise DataError(
                f"{model} made {super_res.shape[1]}x{super_res.shape[0]} of {pair.name}, "
                f"expected {pair.high_res.shape[1]}x{pair.high_res.shape[0]}"
            )
        for name, value in measure(super_res, pair.high_res, metrics, border=border, color=color).items():
            images[name][pair.name] = value
        if progress is not None:
            progress(number)
    return [Row(model, data, name, images[name]) for name in metrics]
