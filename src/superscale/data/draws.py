"""The ranges of the real-world degradation, and one picture's draw from them.

Ranges are those of Real-ESRGAN's published ×4 training (Wang et al. 2021, §3.1 to 3.3 and §4.1; where the paper is silent, its
option file ``train_realesrgan_x4plus.yml`` and the data set it configures).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, pi
from typing import Literal

import torch
from torch import Tensor

from superscale.data.kernels import gaussian, generalized_gaussian, padded, plateau, pulse, sinc
from superscale.errors import RecipeError, UnknownNameError
from superscale.image.resize import PLAIN_METHODS, PlainMethod

Span = tuple[float, float]
Weights = dict[str, float]

FAMILIES = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
DIRECTIONS = ("up", "down", "keep")
# Below this side a sinc kernel of the lowest frequencies would be cut off before its first ring.
LARGE_SINC_PX = 13
LARGEST_KERNEL_PX = 31


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    """One round of blur, resize, noise and JPEG; a pair of numbers is the range of a uniform draw. The first round by default.

    ``blur_sigma``: standard deviations of the kernels, pixels. ``generalized_shape``, ``plateau_shape``: exponents, half of the draws
    below 1 and half above. ``sinc_cutoff``: of Nyquist's frequency, for kernels of 13 pixels and more; ``small_sinc_cutoff`` for the rest.
    ``resize_range``: factors; "up" draws from 1 to its end, "down" from its start to 1. ``noise_sigma``: Gaussian, in 8-bit levels.
    ``poisson_scale``: of shot noise as if white were 256 photons. ``jpeg_quality``: libjpeg's scale.
    """

    blur_probability: float = 1.0
    sinc_probability: float = 0.1
    kernel_weights: Weights = field(
        default_factory=lambda: dict(zip(FAMILIES, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), strict=True))
    )
    blur_sigma: Span = (0.2, 3.0)
    generalized_shape: Span = (0.5, 4.0)
    plateau_shape: Span = (1.0, 2.0)
    sinc_cutoff: Span = (1 / 5, 1.0)
    small_sinc_cutoff: Span = (1 / 3, 1.0)
    resize_weights: Weights = field(default_factory=lambda: {"up": 0.2, "down": 0.7, "keep": 0.1})
    resize_range: Span = (0.15, 1.5)
    gaussian_probability: float = 0.5
    noise_sigma: Span = (1.0, 30.0)
    poisson_scale: Span = (0.05, 3.0)
    grey_noise_probability: float = 0.4
    jpeg_quality: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        check_weights("kernel_weights", self.kernel_weights, FAMILIES)
        check_weights("resize_weights", self.resize_weights, DIRECTIONS)
        for name in ("blur_probability", "sinc_probability", "gaussian_probability", "grey_noise_probability"):
            check_probability(name, getattr(self, name))
        spans: dict[str, Span] = dict.fromkeys(("blur_sigma", "generalized_shape", "plateau_shape"), (0.01, 100))
        spans |= dict.fromkeys(("sinc_cutoff", "small_sinc_cutoff"), (0.01, 1))
        spans |= {"resize_range": (0.01, 4), "noise_sigma": (0, 100), "poisson_scale": (0, 100), "jpeg_quality": (1, 100)}
        for name, (low, high) in spans.items():
            check_span(name, getattr(self, name), low, high)


@dataclass(frozen=True, kw_only=True)
class SecondRoundConfig(RoundConfig):
    """The same with the second round's milder ranges; its sizes are factors of the low-resolution size."""

    blur_probability: float = 0.8
    blur_sigma: Span = (0.2, 1.5)
    resize_weights: Weights = field(default_factory=lambda: {"up": 0.3, "down": 0.4, "keep": 0.3})
    resize_range: Span = (0.3, 1.2)
    noise_sigma: Span = (1.0, 25.0)
    poisson_scale: Span = (0.05, 2.5)


@dataclass(frozen=True, kw_only=True)
class DegradationConfig:
    """Both rounds, and the sinc that ends the chain before or after its last JPEG. ``kernel_px``: sides of all kernels, odd."""

    first: RoundConfig = field(default_factory=RoundConfig)
    second: SecondRoundConfig = field(default_factory=SecondRoundConfig)
    kernel_px: tuple[int, int] = (7, 21)
    final_sinc_probability: float = 0.8
    final_sinc_cutoff: Span = (1 / 3, 1.0)
    jpeg_last_probability: float = 0.5

    def __post_init__(self) -> None:
        check_span("kernel_px", self.kernel_px, 3, LARGEST_KERNEL_PX)
        if not self.kernel_px[0] % 2 == self.kernel_px[1] % 2 == 1:
            raise RecipeError(f"kernel_px must be odd, got {list(self.kernel_px)}")
        check_probability("final_sinc_probability", self.final_sinc_probability)
        check_probability("jpeg_last_probability", self.jpeg_last_probability)
        check_span("final_sinc_cutoff", self.final_sinc_cutoff, 0.01, 1)


@dataclass(frozen=True)
class RoundDraw:
    """What one round does to one picture. ``kernel``: float32 (side, side). ``noise_level``: sigma in 8-bit levels, or Poisson scale."""

    kernel: Tensor
    factor: float
    method: PlainMethod
    noise: Literal["gaussian", "poisson"]
    noise_level: float
    grey_noise: bool
    quality: int


@dataclass(frozen=True)
class Draw:
    """What the chain does to one picture; ``noise_seed`` starts the generator of its noise on the device that degrades."""

    first: RoundDraw
    second: RoundDraw
    final_kernel: Tensor
    final_method: PlainMethod
    jpeg_last: bool
    noise_seed: int


def draw(config: DegradationConfig, generator: torch.Generator) -> Draw:
    """One picture's degradation. All chance of the chain is here and in ``noise_seed``; the generator is one of the CPU."""
    dice = Dice(generator)
    first, second = _draw_round(config.first, config, dice), _draw_round(config.second, config, dice)
    largest = config.kernel_px[1]
    final = pulse(largest)
    if dice.chance(config.final_sinc_probability):
        final = padded(sinc(dice.odd(config.kernel_px), dice.uniform(config.final_sinc_cutoff)), largest)
    return Draw(first, second, final.float(), dice.method(), dice.chance(config.jpeg_last_probability), dice.seed())


def _draw_round(config: RoundConfig, whole: DegradationConfig, dice: Dice) -> RoundDraw:
    kernel = pulse(whole.kernel_px[1])
    if dice.chance(config.blur_probability):
        kernel = padded(_draw_kernel(config, dice.odd(whole.kernel_px), dice), whole.kernel_px[1])
    direction = dice.pick(config.resize_weights)
    low, high = config.resize_range
    spans = {"up": (1.0, max(high, 1.0)), "down": (min(low, 1.0), 1.0), "keep": (1.0, 1.0)}
    factor = dice.uniform(spans[direction])
    method = dice.method()
    gaussian_noise = dice.chance(config.gaussian_probability)
    return RoundDraw(
        kernel.float(),
        factor,
        method,
        "gaussian" if gaussian_noise else "poisson",
        dice.uniform(config.noise_sigma if gaussian_noise else config.poisson_scale),
        dice.chance(config.grey_noise_probability),
        dice.whole(config.jpeg_quality),
    )


def _draw_kernel(config: RoundConfig, side: int, dice: Dice) -> Tensor:
    if dice.chance(config.sinc_probability):
        return sinc(side, dice.uniform(config.sinc_cutoff if side >= LARGE_SINC_PX else config.small_sinc_cutoff))
    family = dice.pick(config.kernel_weights)
    sigma = dice.uniform(config.blur_sigma)
    sigmas = (sigma, dice.uniform(config.blur_sigma) if family.endswith("aniso") else sigma)
    angle = dice.uniform((-pi, pi)) if family.endswith("aniso") else 0.0
    if family.startswith("generalized"):
        return generalized_gaussian(side, sigmas, angle, dice.around_one(config.generalized_shape))
    if family.startswith("plateau"):
        return plateau(side, sigmas, angle, dice.around_one(config.plateau_shape))
    return gaussian(side, sigmas, angle)


class Dice:
    """Numbers from one generator, in the order they are asked for."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, span: Span) -> float:
        """A number of the span, all alike."""
        share = torch.rand((), dtype=torch.float64, generator=self.generator).item()
        return span[0] + (span[1] - span[0]) * share

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.uniform((0.0, 1.0)) < probability

    def whole(self, span: tuple[int, int]) -> int:
        """Both ends included."""
        return int(torch.randint(span[0], span[1] + 1, (), generator=self.generator).item())

    def odd(self, span: tuple[int, int]) -> int:
        """An odd number of the span, both ends included."""
        return 2 * self.whole((span[0] // 2, span[1] // 2)) + 1

    def around_one(self, span: Span) -> float:
        """Half of the draws below 1 and half above, however far the range reaches on either side."""
        below = self.chance(0.5)
        return self.uniform((min(span[0], 1.0), 1.0) if below else (1.0, max(span[1], 1.0)))

    def pick(self, weights: Mapping[str, float]) -> str:
        """A name, by its weight."""
        names = list(weights)
        index = torch.multinomial(torch.tensor(list(weights.values()), dtype=torch.float64), 1, generator=self.generator)
        return names[int(index.item())]

    def method(self) -> PlainMethod:
        """One of the plain resizing methods."""
        return PLAIN_METHODS[self.whole((0, len(PLAIN_METHODS) - 1))]

    def seed(self) -> int:
        """A seed for another generator."""
        return self.whole((0, 2**62))


def check_probability(name: str, value: float) -> None:
    """Raise RecipeError unless the value lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise RecipeError(f"{name} must be in [0, 1], got {value}")


def check_span(name: str, span: tuple[float, float], low: float, high: float) -> None:
    """Raise RecipeError unless the span ascends and lies within its bounds."""
    if not low <= span[0] <= span[1] <= high:
        raise RecipeError(f"{name} must be [low, high] within {low} to {high}, got {list(span)}")


def check_weights(name: str, weights: Mapping[str, float], known: tuple[str, ...]) -> None:
    """Raise RecipeError for an unknown key, a negative weight, and when no weight is positive."""
    for key in weights:
        if key not in known:
            raise RecipeError(str(UnknownNameError(f"key of {name}", key, known)))
    if not all(0 <= weight < inf for weight in weights.values()) or not sum(weights.values()) > 0:
        raise RecipeError(f"{name} must be finite and not negative, and one must be positive, got {weights}")
