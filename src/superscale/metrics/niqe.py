"""NIQE (Mittal, Soundararajan, Bovik 2013): how far a picture's local statistics lie from those of clean photographs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.errors import DataError, ModelError, UsageError
from superscale.image.pixels import PEAK_8BIT
from superscale.image.resize import imresize
from superscale.metrics.planes import measured_planes
from superscale.reading import read_text, reason

FORMAT = "superscale-niqe-1"
BLOCK_PX = 96
# Of each photograph only blocks this sharp, beside its sharpest, enter the model (the paper's T).
SHARPNESS = 0.75
WINDOW = 7
SIGMA = 7 / 6
# A half that summing made a little less is still rounded up.
HALF_UP = 0.5 + 1e-6
# Keeps flat ground, whose deviation is nothing, from being divided by nothing (eq. 1; 8-bit units).
STABILITY = 1.0
# Less than any whole step of one pixel makes of a mean (its least weight is 2e-4), more than rounding does.
FLAT = 1e-6
# To the neighbour at the right, below, and at both diagonals.
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
FEATURES = 36
# A model has some thousand numbers.
MOST_MODEL_BYTES = 10_000_000
DIGITS = 10
# The shapes that the authors' code looks among; between two of them would move a picture's NIQE by 0.01.
SHAPES = torch.arange(200, 10_001, dtype=torch.float64) / 1000


@dataclass(frozen=True)
class NaturalModel:
    """A Gaussian over the 36 features of clean photographs: ``mean`` (36,), ``covariance`` (36, 36); ``facts``: which, how many."""

    mean: Tensor
    covariance: Tensor
    facts: dict[str, Any]


def niqe(super_res: Tensor, model: NaturalModel, *, data_range: float, border: int) -> Tensor:
    """NIQE of each picture, (B,) float64, lower is better; values compare only within one ``model``.

    ``super_res``: (B, 3 or 1, H, W), values 0 to ``data_range``, measured as luma in whole 8-bit steps, as MATLAB has it. No
    reference is looked at. Raises UsageError when less than two blocks of 96x96 pixels with any texture lie inside the border: one
    block has no covariance.
    """
    return torch.stack([_distance(_textured(features), model) for features, _ in _each(super_res, data_range, border)])


def fit(photos: Iterable[tuple[str, Tensor]], source: str) -> NaturalModel:
    """The model of clean photographs (name, (1, 3 or 1, H, W) in [0, 1]), by their sharp blocks.

    ``source`` says which photographs. Raises DataError, naming it, for one smaller than a block, and when all together have
    fewer sharp blocks than twice the features.
    """
    kept = [_sharp(name, photo) for name, photo in photos]
    blocks = torch.cat(kept) if kept else torch.zeros(0, FEATURES)
    if len(blocks) < 2 * FEATURES:
        raise DataError(
            f"NIQE's model needs {2 * FEATURES} sharp blocks of {BLOCK_PX}x{BLOCK_PX} pixels or more, "
            f"got {len(blocks)} of {len(kept)} photos; add photos"
        )
    return NaturalModel(blocks.mean(dim=0), blocks.T.cov(), {"source": source, "photos": len(kept), "blocks": len(blocks)})


def _sharp(name: str, photo: Tensor) -> Tensor:
    """Features (blocks, 36) of the blocks of a photograph that are about as sharp as its sharpest."""
    try:
        ((features, sharpness),) = _each(photo, 1.0, 0)
    except UsageError as error:
        raise DataError(f"{name}: {error}") from error
    kept = features[sharpness > SHARPNESS * sharpness.max()]
    return kept[kept.isfinite().all(dim=1)]


def _each(planes: Tensor, data_range: float, border: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Picture after picture of a batch: features (blocks, 36) and sharpness (blocks,)."""
    luma, _ = measured_planes(planes, planes, data_range=data_range, border=border, color="y")
    rows, columns = (side // BLOCK_PX for side in luma.shape[-2:])
    if not blocks_in(*luma.shape[-2:]):
        raise UsageError(f"NIQE needs {BLOCK_PX}x{BLOCK_PX} pixels inside the border, got {tuple(luma.shape[-2:])}")
    whole = luma[..., : rows * BLOCK_PX, : columns * BLOCK_PX] * (PEAK_8BIT / data_range)
    # MATLAB's rgb2ycbcr gives whole numbers, halves rounded up; fractions add structure to flat ground that the authors never saw.
    for picture in (whole + HALF_UP).floor():
        yield block_features(picture[0])


def blocks_in(height: int, width: int) -> int:
    """How many whole blocks a picture holds; NIQE needs two."""
    return (height // BLOCK_PX) * (width // BLOCK_PX)


def block_features(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (H, W) of whole blocks, float64 in 8-bit units -> features (blocks, 36) at two scales, sharpness (blocks,)."""
    coefficients, deviation = mscn(plane)
    sharpness = _blocks(deviation, BLOCK_PX).mean(dim=(-2, -1))
    halved, _ = mscn(imresize(plane, 1 / 2))
    features = [_statistics(_blocks(coefficients, BLOCK_PX)), _statistics(_blocks(halved, BLOCK_PX // 2))]
    return torch.cat(features, dim=1), sharpness


def mscn(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Mean-subtracted, contrast-normalised coefficients of (H, W), and the local deviation they were divided by (eq. 1 to 3)."""
    mean = _windowed(plane)
    deviation = (_windowed(plane.square()) - mean.square()).abs().sqrt()
    difference = plane - mean
    # On flat ground only the order of summation would say on which side of zero a sample lies, another on every machine.
    difference = torch.where(difference.abs() < FLAT, 0.0, difference)
    return difference / (deviation + STABILITY), deviation


def _windowed(plane: Tensor) -> Tensor:
    """The Gaussian mean around every pixel, 7x7, the border repeated."""
    distance = torch.arange(WINDOW, dtype=plane.dtype, device=plane.device) - WINDOW // 2
    gaussian = torch.exp(-0.5 * (distance / SIGMA) ** 2)
    gaussian = gaussian / gaussian.sum()
    padded = F.pad(plane[None, None], (WINDOW // 2,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, gaussian.view(1, 1, -1, 1)), gaussian.view(1, 1, 1, -1))[0, 0]


def _blocks(plane: Tensor, side: int) -> Tensor:
    """(H, W) -> (blocks, side, side)."""
    return plane.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)


def _statistics(blocks: Tensor) -> Tensor:
    """Coefficients (blocks, side, side) -> the 18 features of one scale: of themselves, then of products of neighbours."""
    shape, left, right = aggd(blocks.flatten(1))
    features = [shape, (left + right) / 2]
    for step in NEIGHBOURS:
        # Around the block's edge, as the authors' own code does.
        shape, left, right = aggd((blocks * blocks.roll(step, dims=(1, 2))).flatten(1))
        mean = (right - left) * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
        features += [shape, mean, left, right]
    return torch.stack(features, dim=1)


def aggd(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Samples (..., N) -> shape, left and right scale (...) of an asymmetric generalised Gaussian, by its moments.

    The moment estimate of Lasmar, Stitou, Berthoumieu 2009. Not a number where samples do not lie on both sides of zero.
    """
    squares = samples.square()
    deviations = [(squares * side).sum(dim=-1).div(side.sum(dim=-1)).sqrt() for side in (samples < 0, samples > 0)]
    skew = deviations[0] / deviations[1]
    ratio = samples.abs().mean(dim=-1).square() / squares.mean(dim=-1)
    shape = _shape_of(ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2)
    spread = (0.5 * (torch.lgamma(1 / shape) - torch.lgamma(3 / shape))).exp()
    return shape, deviations[0] * spread, deviations[1] * spread


def _shape_of(ratio: Tensor) -> Tensor:
    """The shape whose ratio of moments, gamma(2/a)^2 / (gamma(1/a) gamma(3/a)), is nearest to this one; it grows with the shape."""
    shapes = SHAPES.to(ratio.device)
    ratios = (2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)).exp()
    above = torch.searchsorted(ratios, ratio.contiguous()).clamp(1, len(shapes) - 1)
    below_is_nearer = ratio - ratios[above - 1] < ratios[above] - ratio
    return torch.where(below_is_nearer, shapes[above - 1], shapes[above])


def _textured(features: Tensor) -> Tensor:
    finite = features[features.isfinite().all(dim=1)]
    if len(finite) < 2:
        raise UsageError(
            f"NIQE needs two blocks of {BLOCK_PX}x{BLOCK_PX} pixels with texture inside the border, got {len(finite)} of {len(features)}"
        )
    return finite


def _distance(features: Tensor, model: NaturalModel) -> Tensor:
    """Between the picture's Gaussian and the model's, as the paper has it."""
    apart = features.mean(dim=0) - model.mean.to(features)
    pooled = (features.T.cov() + model.covariance.to(features)) / 2
    distance: Tensor = (apart @ torch.linalg.pinv(pooled, hermitian=True) @ apart).sqrt()
    return distance


def to_json(model: NaturalModel) -> str:
    """The model as text: facts, mean and the upper triangle of the covariance, ten digits each."""
    mean = [_rounded(value) for value in model.mean.tolist()]
    triangle = [[_rounded(value) for value in row[number:]] for number, row in enumerate(model.covariance.tolist())]
    lines = [f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in ({"format": FORMAT} | model.facts).items()]
    lines += [f'"mean": {json.dumps(mean)}', '"covariance": [\n' + ",\n".join(json.dumps(row) for row in triangle) + "]"]
    return "{" + ",\n".join(lines) + "}\n"


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS - 1}e}")


def from_json(text: str, name: str) -> NaturalModel:
    """What `to_json` wrote. Raises ModelError when it is something else."""
    try:
        content = json.loads(text)
        if content.pop("format") != FORMAT:
            raise ModelError(f"{name}: not a NIQE model (no {FORMAT!r} in it)")
        mean = torch.tensor(content.pop("mean"), dtype=torch.float64)
        rows = [[0.0] * number + row for number, row in enumerate(content.pop("covariance"))]
        upper = torch.tensor(rows, dtype=torch.float64)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, RuntimeError) as error:
        raise ModelError(f"{name}: not a NIQE model ({error}); fit-niqe makes one") from error
    finite = mean.isfinite().all() and upper.isfinite().all()
    if not finite or (mean.shape, upper.shape) != ((FEATURES,), (FEATURES, FEATURES)):
        raise ModelError(f"{name}: a NIQE model has {FEATURES} finite means and as many rows of covariance")
    covariance = upper + upper.T - upper.diag().diag()
    # Of any numbers, none varies by less than nothing; the ten digits of the file are rounded.
    if torch.linalg.eigvalsh(covariance).min() < -1e-6 * covariance.abs().max():
        raise ModelError(f"{name}: not a NIQE model (its covariance is none); fit-niqe makes one")
    return NaturalModel(mean, covariance, content)


def read_model(path: Path) -> NaturalModel:
    """A model that `fit-niqe` wrote. Raises ModelError."""
    try:
        return from_json(read_text(path, MOST_MODEL_BYTES), str(path))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)})") from error


@lru_cache(maxsize=1)
def shipped_model() -> NaturalModel:
    """The model that comes with the package; its facts say which photographs it was fitted on."""
    return from_json(files("superscale.metrics").joinpath("niqe.json").read_text(encoding="utf-8"), "niqe.json")
