"""The damage that photographs have: one reduction as cameras, editors and web sites make it, then noise and JPEG.

A first-order chain, milder than Real-ESRGAN's of `data.degrade`: what lies between a photograph and the file that people have of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from superscale.data.draws import Dice, Span, Weights, check_probability, check_span, check_weights
from superscale.data.jpeg import jpeg
from superscale.data.kernels import gaussian
from superscale.image.pixels import PEAK_8BIT
from superscale.image.region import mirrored
from superscale.image.resize import KERNELS, Method, resize_matrix

# Gaussians are cut off here, in deviations.
REACH = 3.0


@dataclass(frozen=True, kw_only=True)
class PhotographConfig:
    """``blur_sigma``: pixels of the high-res picture, a lens out of focus. ``reduction_weights``: of antialiased resizing methods.

    ``sharpen_amount``, ``sharpen_sigma``: of an unsharp mask afterwards, in low-res pixels. ``noise_sigma``: 8-bit levels.
    ``jpeg_quality``: libjpeg's scale.
    """

    blur_probability: float = 0.35
    blur_sigma: Span = (0.4, 2.8)
    reduction_weights: Weights = field(default_factory=lambda: {"bicubic": 0.4, "lanczos3": 0.25, "bilinear": 0.2, "box": 0.15})
    sharpen_probability: float = 0.25
    sharpen_amount: Span = (0.2, 1.0)
    sharpen_sigma: Span = (0.6, 1.2)
    noise_probability: float = 0.75
    noise_sigma: Span = (0.0, 10.0)
    grey_noise_probability: float = 0.4
    jpeg_probability: float = 0.9
    jpeg_quality: tuple[int, int] = (40, 95)

    def __post_init__(self) -> None:
        check_weights("reduction_weights", self.reduction_weights, tuple(KERNELS))
        for name in ("blur", "sharpen", "noise", "grey_noise", "jpeg"):
            check_probability(f"{name}_probability", getattr(self, f"{name}_probability"))
        for name, low, high in (
            ("blur_sigma", 0.01, 10),
            ("sharpen_amount", 0, 10),
            ("sharpen_sigma", 0.01, 10),
            ("noise_sigma", 0, 100),
            ("jpeg_quality", 1, 100),
        ):
            check_span(name, getattr(self, name), low, high)


@dataclass(frozen=True)
class PhotographDraw:
    """What happens to one picture; sigmas and amounts of 0 and a quality of None leave a step out."""

    blur_sigma: float
    method: Method
    sharpen_amount: float
    sharpen_sigma: float
    noise_sigma: float
    grey_noise: bool
    jpeg_quality: int | None
    noise_seed: int


def draw_photograph(config: PhotographConfig, generator: torch.Generator) -> PhotographDraw:
    """One picture's damage. All chance is here and in ``noise_seed``; the generator is one of the CPU."""
    dice = Dice(generator)
    blurred = dice.chance(config.blur_probability)
    blur_sigma = dice.uniform(config.blur_sigma)
    method = dice.pick(config.reduction_weights)
    sharpened = dice.chance(config.sharpen_probability)
    amount = dice.uniform(config.sharpen_amount)
    sharpen_sigma = dice.uniform(config.sharpen_sigma)
    noisy = dice.chance(config.noise_probability)
    noise_sigma = dice.uniform(config.noise_sigma)
    grey = dice.chance(config.grey_noise_probability)
    coded = dice.chance(config.jpeg_probability)
    quality = dice.whole(config.jpeg_quality)
    return PhotographDraw(
        blur_sigma if blurred else 0.0,
        method,  # type: ignore[arg-type]
        amount if sharpened else 0.0,
        sharpen_sigma,
        noise_sigma if noisy else 0.0,
        grey,
        quality if coded else None,
        dice.seed(),
    )


def photographed(high_res: Tensor, draws: Sequence[PhotographDraw], scale: int) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1], sides multiples of ``scale`` -> (B, 3, H/scale, W/scale) in [0, 1], picture i as ``draws[i]`` says."""
    return torch.cat([_photograph(picture[None], draw, scale) for picture, draw in zip(high_res, draws, strict=True)])


def _photograph(picture: Tensor, draw: PhotographDraw, scale: int) -> Tensor:
    if draw.blur_sigma:
        picture = _blurred(picture, draw.blur_sigma)
    height, width = picture.shape[-2:]
    rows, columns = (
        torch.from_numpy(resize_matrix(side, side // scale, 1 / scale, draw.method).copy()).to(picture)
        for side in (height, width)
    )
    low_res = rows @ picture @ columns.mT
    if draw.sharpen_amount:
        low_res = low_res + draw.sharpen_amount * (low_res - _blurred(low_res, draw.sharpen_sigma))
    if draw.noise_sigma:
        generator = torch.Generator(picture.device).manual_seed(draw.noise_seed)
        shape = (1, 1 if draw.grey_noise else 3, *low_res.shape[-2:])
        noise = torch.randn(shape, generator=generator, device=picture.device)
        low_res = low_res + noise * (draw.noise_sigma / PEAK_8BIT)
    low_res = low_res.clamp(0, 1)
    return low_res if draw.jpeg_quality is None else jpeg(low_res, [draw.jpeg_quality])


def _blurred(planes: Tensor, sigma: float) -> Tensor:
    """Convolved with a Gaussian, one axis after the other; mirrored at the border."""
    reach = max(1, int(REACH * sigma + 0.5))
    weights = gaussian(2 * reach + 1, (sigma, sigma)).sum(dim=0).to(planes)
    for axis in (-2, -1):
        length = planes.shape[axis]
        index = mirrored(torch.arange(-reach, length + reach, device=planes.device), length)
        longer = planes.index_select(axis, index)
        shifted = [longer.narrow(axis, start, length) * weight for start, weight in enumerate(weights)]
        planes = torch.stack(shifted).sum(dim=0)
    return planes
