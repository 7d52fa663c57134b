"""Do two pictures of a pair lie over one another? Their shift, by phase correlation (Kuglin and Hines 1975; subpixel by
Guizar-Sicairos et al. 2008, an upsampled Fourier transform around the peak)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.image.region import Region
from superscale.image.resize import imresize

# The middle of a larger picture is looked at.
LARGEST_PX = 512
SMALLEST_PX = 16
# Steps of the answer: 1/20 of a low-res pixel.
STEPS = 20
# What a shift has to add to the correlation of the two pictures before it counts: less is chance, as in a flat picture.
LEAST_GAIN = 0.01

Plane = NDArray[Any]


def pair_shift(high_res: NDArray[Any], low_res: NDArray[Any], scale: int) -> tuple[float, float]:
    """(down, right): how many low-res pixels ``low_res`` (h, w, C) lies too low and too far right of ``high_res`` (h*scale, w*scale, C).

    (0, 0) where nothing can be told: in a flat picture, one of less than 16 pixels, or where a shift makes the two no more alike.
    """
    region = _middle(*low_res.shape[:2])
    if min(region.height, region.width) < SMALLEST_PX:
        return 0.0, 0.0
    reduced = imresize(region.scaled(scale).of_pixels(high_res).mean(axis=2), 1 / scale)
    return shift(reduced, region.of_pixels(low_res).mean(axis=2))


def _middle(height: int, width: int) -> Region:
    inner = (min(height, LARGEST_PX), min(width, LARGEST_PX))
    return Region((height - inner[0]) // 2, (width - inner[1]) // 2, *inner)


def shift(reference: Plane, moved: Plane) -> tuple[float, float]:
    """(down, right): by how many pixels ``moved`` (h, w) has to be moved up and left to lie on ``reference`` (h, w)."""
    first, second = (np.fft.fft2(_windowed(plane)) for plane in (reference, moved))
    cross = second * first.conj()
    magnitude = np.abs(cross)
    # Frequencies that neither picture has are noise, and phases of noise are as long as any other.
    whitened = cross / (magnitude + 1e-3 * magnitude.mean() + np.finfo(float).tiny)
    whitened *= _low_pass(reference.shape)
    peak = np.unravel_index(int(np.fft.ifft2(whitened).real.argmax()), reference.shape)
    whole = [int(place) - (side if place > side // 2 else 0) for place, side in zip(peak, reference.shape, strict=True)]
    down, right = _refined(whitened, whole)
    gain = _likeness(first, second, (down, right), reference.shape) - _likeness(first, second, (0.0, 0.0), reference.shape)
    return (down, right) if gain > LEAST_GAIN else (0.0, 0.0)


def _windowed(plane: Plane) -> Plane:
    """Without its mean, and falling to zero at the border, where what wraps around would look like an edge."""
    height, width = plane.shape
    windowed: Plane = (plane - plane.mean()) * np.outer(np.hanning(height), np.hanning(width))
    return windowed


def _frequencies(shape: tuple[int, ...]) -> tuple[Plane, Plane]:
    return np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None]


def _low_pass(shape: tuple[int, ...]) -> Plane:
    """A Gaussian: the finest detail of a low-res picture is aliased and noisy."""
    rows, columns = _frequencies(shape)
    passed: Plane = np.exp(-(rows**2 + columns**2) / (2 * 0.15**2))
    return passed


def _refined(spectrum: NDArray[np.complex128], whole: list[int]) -> tuple[float, float]:
    """The peak of the inverse transform within a pixel and a half of a whole place, on a grid of 1/20."""
    offsets = np.arange(-3 * STEPS // 2, 3 * STEPS // 2 + 1) / STEPS
    rows, columns = _frequencies(spectrum.shape)
    down, right = whole[0] + offsets, whole[1] + offsets
    correlation = (
        np.exp(2j * np.pi * down[:, None] * rows[:, 0]) @ spectrum @ np.exp(2j * np.pi * columns[0][:, None] * right)
    ).real
    best = np.unravel_index(int(correlation.argmax()), correlation.shape)
    return float(down[best[0]]), float(right[best[1]])


def _likeness(first: Any, second: Any, moved: tuple[float, float], shape: tuple[int, ...]) -> float:
    """The correlation coefficient of the windowed pictures after moving the second back."""
    rows, columns = _frequencies(shape)
    back = second * np.exp(2j * np.pi * (moved[0] * rows + moved[1] * columns))
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first.conj() * back).sum().real / norm) if norm else 0.0
