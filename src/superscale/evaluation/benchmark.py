"""Any upscale callable x pairs -> a table in which no number stands without its convention."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from superscale.data.pairs import Array, Pair, PairFolder
from superscale.errors import DataError, UsageError
from superscale.evaluation.table import Convention, Row, Table
from superscale.metrics.catalog import NOTHING_LEARNED, Before, Learned, measure
from superscale.metrics.notation import OVER_TIME, require_metrics
from superscale.metrics.planes import Color

# (h, w, C) -> (h*scale, w*scale, C) of the same type, uint8 or uint16: RGB, or as many bands as the files hold
Upscale = Callable[[Array], Array]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Seen:
    """One picture just measured: what was made of it, by which values, in how many seconds."""

    pair: Pair
    super_res: Array
    values: dict[str, float]
    seconds: float


Observe = Callable[[Seen], None]


def benchmark(
    upscale: Upscale,
    pairs: Iterable[Pair | tuple[Array, Array]],
    *,
    model: str = "model",
    data: str | None = None,
    metrics: Sequence[str] = ("psnr", "ssim"),
    border: int | None = None,
    color: Color = "y",
    progress: Progress | None = None,
    observe: Observe | None = None,
    learned: Learned = NOTHING_LEARNED,
    peak: int | None = None,
) -> Table:
    """Any callable, RGB (h, w, 3) -> RGB (h*scale, w*scale, 3) of the same type, uint8 or uint16, measured: one row a metric.

    ``pairs``: a `PairFolder`, or any (low_res, high_res) arrays, named by their number. Unless told otherwise the convention
    is the papers': luma, and a border as wide as the scale; the table says it. ``peak``: the white of arrays; a folder has its own.
    Raises DataError when an output has another size or depth than the truth, or samples above the peak, naming the picture.
    """
    peak = pairs.peak if isinstance(pairs, PairFolder) else peak
    named = (pair if isinstance(pair, Pair) else Pair(str(number), *pair, peak=peak) for number, pair in enumerate(pairs))
    first = next(named, None)
    if first is None:
        raise UsageError("benchmark needs at least one pair of pictures")
    scale = first.high_res.shape[0] // first.low_res.shape[0]
    convention = Convention(
        scale=scale,
        color=color,
        border=scale if border is None else border,
        low_res=pairs.low_res_source if isinstance(pairs, PairFolder) else "as given",
        peak=peak,
    )
    bits: set[int] = set()

    def seen(pair: Pair) -> Pair:
        bits.add(bits_of(pair))
        return pair

    rows = measure_outputs(
        lambda pair: upscale(pair.low_res),
        map(seen, chain([first], named)),
        model=model,
        data=data or (pairs.label if isinstance(pairs, PairFolder) else "pairs"),
        metrics=metrics,
        border=convention.border,
        color=color,
        progress=progress,
        observe=observe,
        learned=learned,
    )
    return Table(rows, replace(convention, bits=tuple(sorted(bits))))


@torch.inference_mode()
def measure_outputs(
    output_of: Callable[[Pair], Array],
    pairs: Iterable[Pair],
    *,
    model: str,
    data: str,
    metrics: Sequence[str],
    border: int,
    color: Color,
    progress: Progress | None = None,
    observe: Observe | None = None,
    learned: Learned = NOTHING_LEARNED,
) -> list[Row]:
    """`benchmark` for outputs that are found by the picture's name. Raises DataError also when two pictures share a name."""
    require_metrics(metrics)
    images: Mapping[str, dict[str, float]] = {name: {} for name in metrics}
    names: set[str] = set()
    before: Before | None = None
    for number, pair in enumerate(pairs, start=1):
        if pair.name in names:
            raise DataError(f"{data}: two pictures are called {pair.name}; rename one, since values are kept by name")
        names.add(pair.name)
        start = time.perf_counter()
        super_res = output_of(pair)
        seconds = time.perf_counter() - start
        _check(super_res, pair, model)
        try:
            how: Any = {"border": border, "color": color, "learned": learned, "peak": pair.peak}
            named = [name for name in metrics if before is not None or name not in OVER_TIME]
            values = measure(super_res, pair.high_res, named, low_res=pair.low_res, before=before, **how)
        except UsageError as error:
            raise DataError(f"{data}, {pair.name}: {error}") from error
        if set(metrics) & set(OVER_TIME):
            before = super_res, pair.high_res
        for name, value in values.items():
            images[name][pair.name] = value
        if observe is not None:
            observe(Seen(pair, super_res, values, seconds))
        if progress is not None:
            progress(number)
    if alone := [name for name in metrics if name in OVER_TIME and not images[name]]:
        raise DataError(f"{data}: {alone[0]} compares a picture with the one before it; expected two or more frames of a clip")
    return [Row(model, data, name, images[name]) for name in metrics]


def _check(super_res: Any, pair: Pair, model: str) -> None:
    if not isinstance(super_res, np.ndarray):
        raise DataError(f"{model} made {type(super_res).__name__} of {pair.name}, expected an array")
    if super_res.shape != pair.high_res.shape:
        raise DataError(f"{model} made {_shown(super_res)} of {pair.name}, expected {_shown(pair.high_res)}")
    if super_res.dtype != pair.high_res.dtype:
        raise DataError(
            f"{model} made {super_res.dtype} samples of {pair.name}, expected {pair.high_res.dtype}: pictures are measured at the "
            f"{bits_of(pair)} bits of the truth"
        )
    if pair.peak is None:
        return
    for what, pixels in (("the truth", pair.high_res), ("the low-res picture", pair.low_res), (model, super_res)):
        if (largest := int(pixels.max())) > pair.peak:
            raise DataError(
                f"{pair.name}: {what} holds {largest}, more than the peak {pair.peak}; give the peak that is white here"
            )


def _shown(pixels: Array) -> str:
    """Width, height and channels, as sizes are told everywhere."""
    return "x".join(map(str, (*pixels.shape[1::-1], *pixels.shape[2:])))


def bits_of(pair: Pair) -> int:
    """The depth at which a pair is measured."""
    return pair.high_res.dtype.itemsize * 8
