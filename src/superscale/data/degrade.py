"""High resolution -> low resolution, on the device that trains: bicubic, or what happens to pictures in the world.

The latter is Real-ESRGAN's second-order chain (Wang et al. 2021, Fig. 2): blur, resize, noise, JPEG; the same again; and a sinc before or
after the last JPEG. Pictures of one batch take different sizes on the way, so they lie on a common canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from superscale.data.draws import Draw, RoundDraw
from superscale.data.jpeg import MCU_PX, jpeg
from superscale.data.photograph import PhotographDraw, photographed
from superscale.errors import DataError
from superscale.image.color import BLUE, GREEN, OFFSET, RED, luma
from superscale.image.pixels import PEAK_8BIT, peak, round_half_up, to_float
from superscale.image.region import Region, mirrored
from superscale.image.resize import PlainMethod, Rounding, imresize, margin_px, plain_matrix

# Around every picture of a canvas: more than half a kernel, and whole blocks of JPEG.
MARGIN = MCU_PX
# Low-res pixels around a patch that only its degradation sees, so that few of a patch's own are made from mirrored ones.
CONTEXT_LOW_RES_PX = 4
WHITE_PHOTONS = 256

Size = tuple[int, int]


def context_px(scale: int) -> int:
    """High-res pixels around a patch that its bicubic reduction reads; a multiple of the scale."""
    return margin_px(1 / scale)


def degraded_context_px(scale: int) -> int:
    """High-res pixels around a patch that are degraded with it and then cut off; a multiple of the scale."""
    return CONTEXT_LOW_RES_PX * scale


def bicubic_patch(high_res: Tensor, scale: int, rounding: Rounding) -> tuple[Tensor, Tensor]:
    """Patches with their context, integers (B, C, P + 2m, P + 2m), m = `context_px` -> (low_res, high_res) of the same type.

    (B, C, P/scale, P/scale) and (B, C, P, P): sample for sample what cropping a reduction of the whole picture gives.
    """
    return _without_context(imresize(high_res, 1 / scale, rounding=rounding), high_res, scale, context_px(scale))


def degraded_patch(high_res: Tensor, scale: int, draws: Sequence[Draw] | Sequence[PhotographDraw]) -> tuple[Tensor, Tensor]:
    """Patches with their context, integers (B, 3 or 1, P + 2m, P + 2m), m = `degraded_context_px` -> (low_res, high_res), as above.

    Grey is degraded as RGB whose noise is the same in all channels.
    """
    dtype = high_res.dtype
    planes = to_float(high_res)
    if planes.shape[1] == 1:
        planes = _damaged(planes.expand(-1, 3, -1, -1), [_in_grey(draw) for draw in draws], scale)[:, :1]
    else:
        planes = _damaged(planes, draws, scale)
    low_res = round_half_up(dtype)(planes * peak(dtype)).to(dtype)
    return _without_context(low_res, high_res, scale, degraded_context_px(scale))


def _in_grey(draw: Draw | PhotographDraw) -> Draw | PhotographDraw:
    if isinstance(draw, PhotographDraw):
        return replace(draw, grey_noise=True)
    return replace(draw, first=replace(draw.first, grey_noise=True), second=replace(draw.second, grey_noise=True))


def _damaged(high_res: Tensor, draws: Sequence[Draw | PhotographDraw], scale: int) -> Tensor:
    if all(isinstance(draw, PhotographDraw) for draw in draws):
        return photographed(high_res, cast(Sequence[PhotographDraw], draws), scale)
    return degrade(high_res, cast(Sequence[Draw], draws), scale)


def _without_context(low_res: Tensor, high_res: Tensor, scale: int, margin: int) -> tuple[Tensor, Tensor]:
    height, width = high_res.shape[-2] - 2 * margin, high_res.shape[-1] - 2 * margin
    low_inner = Region(margin // scale, margin // scale, height // scale, width // scale)
    return low_inner.of(low_res), low_inner.scaled(scale).of(high_res)


def degrade(high_res: Tensor, draws: Sequence[Draw], scale: int) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1], sides multiples of ``scale`` -> (B, 3, H/scale, W/scale) in [0, 1], picture i as ``draws[i]`` says.

    On a CPU pictures go one by one, each on the smallest canvas, and come out bitwise the same in any batch; elsewhere all at once,
    where equality holds up to the rounding of sums. Raises DataError when draws or sizes do not fit.
    """
    height, width = high_res.shape[-2:]
    if len(draws) != len(high_res):
        raise DataError(f"expected a draw for each of {len(high_res)} pictures, got {len(draws)}")
    if height % scale or width % scale:
        raise DataError(f"expected sides that are multiples of the scale {scale}, got {width}x{height}")
    together = 1 if high_res.device.type == "cpu" else len(draws)
    starts = range(0, len(draws), together)
    return torch.cat([chain(high_res[at : at + together], draws[at : at + together], scale) for at in starts])


def chain(high_res: Tensor, draws: Sequence[Draw], scale: int) -> Tensor:
    """`degrade` on one canvas: Fig. 2 of the paper from left to right."""
    height, width = high_res.shape[-2:]
    low_size = (height // scale, width // scale)
    generators = [torch.Generator(high_res.device).manual_seed(draw.noise_seed) for draw in draws]
    first = [draw.first for draw in draws]
    second = [draw.second for draw in draws]

    canvas = extended(high_res)
    canvas = blurred(canvas, [step.kernel for step in first])
    canvas = resized(canvas, [_times((height, width), step.factor) for step in first], [step.method for step in first])
    canvas = noisy(canvas, first, generators)
    canvas = compressed(canvas, [step.quality for step in first], [True] * len(draws))

    canvas = blurred(canvas, [step.kernel for step in second])
    canvas = resized(canvas, [_times(low_size, step.factor) for step in second], [step.method for step in second])
    canvas = noisy(canvas, second, generators)

    qualities = [step.quality for step in second]
    last = [draw.jpeg_last for draw in draws]
    canvas = compressed(canvas, qualities, [not after for after in last])
    canvas = resized(canvas, [low_size] * len(draws), [draw.final_method for draw in draws])
    canvas = blurred(canvas, [draw.final_kernel for draw in draws])
    canvas = compressed(canvas, qualities, last)
    low_res: Tensor = Region(MARGIN, MARGIN, *low_size).of(canvas.planes).clamp(0, 1)
    return low_res


@dataclass(frozen=True)
class Canvas:
    """Pictures of various ``sizes`` (height, width) on planes (B, 3, M + H + M, M + W + M): each begins at (M, M) and is mirrored
    outwards to all sides; H and W are the largest, rounded up to whole blocks of JPEG."""

    planes: Tensor
    sizes: tuple[Size, ...]


def extended(pictures: Tensor) -> Canvas:
    """Pictures (B, 3, H, W) of one size on a canvas."""
    height, width = pictures.shape[-2:]
    rows, columns = (torch.from_numpy(mirrored(_places(side), side)).to(pictures.device) for side in (height, width))
    return Canvas(pictures[..., rows[:, None], columns], ((height, width),) * len(pictures))


def _places(largest: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The coordinates of a canvas' samples along one axis, the picture's first at 0."""
    return np.arange(-MARGIN, largest + -largest % MCU_PX + MARGIN)


def blurred(canvas: Canvas, kernels: Sequence[Tensor]) -> Canvas:
    """Each picture convolved with its kernel (side, side), by Fourier transform: what wraps around stays in the margin."""
    size = canvas.planes.shape[-2:]
    stacked = torch.stack(list(kernels))[:, None].to(canvas.planes.device, non_blocking=True)
    product = torch.fft.rfft2(canvas.planes) * torch.fft.rfft2(stacked, s=size)
    centre = stacked.shape[-1] // 2
    return replace(canvas, planes=torch.fft.irfft2(product, s=size).roll((-centre, -centre), (-2, -1)))


def resized(canvas: Canvas, sizes: Sequence[Size], methods: Sequence[PlainMethod]) -> Canvas:
    """Each picture at a new size: one matrix an axis, which also mirrors the result outwards."""
    rows, columns = (_matrices(canvas, sizes, methods, axis) for axis in (0, 1))
    return Canvas(rows @ canvas.planes @ columns.mT, tuple(sizes))


def _matrices(canvas: Canvas, sizes: Sequence[Size], methods: Sequence[PlainMethod], axis: int) -> Tensor:
    """(B, 1, new canvas, old canvas)."""
    places = _places(max(size[axis] for size in sizes))
    matrices = np.zeros((len(sizes), 1, len(places), canvas.planes.shape[2 + axis]), np.float32)
    for matrix, old, new, method in zip(matrices, canvas.sizes, sizes, methods, strict=True):
        weights = plain_matrix(old[axis], new[axis], method)
        matrix[0, :, MARGIN : MARGIN + old[axis]] = weights[mirrored(places, new[axis])]
    return torch.from_numpy(matrices).to(canvas.planes.device, non_blocking=True)


def noisy(canvas: Canvas, steps: Sequence[RoundDraw], generators: Sequence[torch.Generator]) -> Canvas:
    """Each picture with noise of its kind and level, clipped to [0, 1]."""
    planes = canvas.planes.clamp(0, 1)
    for picture, size, step, generator in zip(planes, canvas.sizes, steps, generators, strict=True):
        inner = Region(MARGIN, MARGIN, *size).of(picture)
        make = gaussian_noise if step.noise == "gaussian" else poisson_noise
        inner += make(inner, step.noise_level, step.grey_noise, generator)
    return replace(canvas, planes=planes.clamp_(0, 1))


def gaussian_noise(picture: Tensor, sigma: float, grey: bool, generator: torch.Generator) -> Tensor:
    """Noise of deviation ``sigma`` (8-bit levels) for a picture (3, H, W) in [0, 1]; ``grey``: the same in all channels."""
    shape = (1 if grey else picture.shape[0], *picture.shape[1:])
    return torch.randn(shape, generator=generator, device=picture.device) * (sigma / PEAK_8BIT)


def poisson_noise(picture: Tensor, scale: float, grey: bool, generator: torch.Generator) -> Tensor:
    """Shot noise of a picture (3, H, W) in [0, 1] whose white is 256 photons, times ``scale``: its variance is scale² value / 256.

    The published code counts the levels that a picture uses, rounded up to a power of two, instead of 256: for photographs the same.
    """
    exact = ((luma(picture[None]) - OFFSET) / (RED + GREEN + BLUE))[0].clamp(0, 1) if grey else picture
    counted = torch.poisson(exact * WHITE_PHOTONS, generator=generator) / WHITE_PHOTONS
    return (counted - exact) * scale


def compressed(canvas: Canvas, qualities: Sequence[int], chosen: Sequence[bool]) -> Canvas:
    """The chosen pictures through JPEG."""
    index = [number for number, yes in enumerate(chosen) if yes]
    if not index:
        return canvas
    planes = canvas.planes.clone()
    planes[index] = jpeg(planes[index], [qualities[number] for number in index])
    return replace(canvas, planes=planes)


def _times(size: Size, factor: float) -> Size:
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))
