"""Integers of a file <-> float32 planes of a network; the only file that knows 255 and 65535."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superscale.errors import UsageError

# sample type -> its largest value, in both libraries' names
PEAK: dict[Any, int] = {
    np.dtype(np.uint8): 255,
    np.dtype(np.uint16): 65535,
    torch.uint8: 255,
    torch.uint16: 65535,
}


PEAK_8BIT = PEAK[torch.uint8]


def peak(dtype: Any) -> int:
    """The value that means white: 255 for uint8, 65535 for uint16. Raises UsageError for any other type."""
    key = dtype if isinstance(dtype, torch.dtype) else np.dtype(dtype)
    if key not in PEAK:
        raise UsageError(f"expected uint8 or uint16 samples, got {dtype}")
    return PEAK[key]


def round_half_up(dtype: Any) -> Callable[[Any], Any]:
    """A function that rounds float samples in the units of ``dtype`` half up and clips them to its range, as MATLAB does."""
    largest = peak(dtype)

    def rounded(samples: Any) -> Any:
        if isinstance(samples, Tensor):
            return (samples + 0.5).floor_().clamp_(0, largest)
        return np.clip(np.floor(samples + 0.5), 0, largest)

    return rounded


def to_float(pixels: NDArray[Any] | Tensor) -> Tensor:
    """Samples uint8, uint16 or float -> float32, integers scaled to [0, 1], floats taken as they are.

    An array (H, W) or (H, W, C) becomes a tensor (C, H, W); a tensor (..., C, H, W) keeps its shape and device.
    """
    if isinstance(pixels, Tensor):
        planes = pixels.to(torch.float32)  # for integers a copy, which is ours to change
        return planes if pixels.is_floating_point() else planes.div_(peak(pixels.dtype))
    moved = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    planes = torch.from_numpy(np.ascontiguousarray(moved, dtype=np.float32))
    return planes if np.issubdtype(pixels.dtype, np.floating) else planes / peak(pixels.dtype)


def to_pixels(planes: Tensor | NDArray[Any], dtype: Any = np.uint8) -> NDArray[Any]:
    """A tensor (C, H, W) -> an array (H, W, C): integers scaled from [0, 1], rounded to nearest and clipped, floats as they are."""
    samples = (
        (planes if isinstance(planes, Tensor) else torch.from_numpy(np.ascontiguousarray(planes)))
        .detach()
        .to("cpu", torch.float32)
    )
    if not np.issubdtype(dtype, np.floating):
        samples = round_half_up(dtype)(samples * peak(dtype))
    return np.ascontiguousarray(np.moveaxis(samples.numpy(), 0, -1)).astype(dtype)


def change_depth(samples: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Samples uint8, uint16 or float -> another of these: white stays white, nearest value; floats are clipped to [0, 1]."""
    if samples.dtype == np.dtype(dtype):
        return samples
    largest = 1.0 if np.issubdtype(dtype, np.floating) else float(peak(dtype))
    # float32 holds 24 bits: exact enough to round 16-bit samples right.
    scaled = samples.astype(np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        scaled = np.clip(scaled, 0, 1) * np.float32(largest)
    else:
        scaled *= np.float32(largest / peak(samples.dtype))
    whole: NDArray[Any] = scaled if largest == 1.0 else round_half_up(dtype)(scaled)
    return whole.astype(dtype)


def stretch_bits(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Whole samples of ``bits`` bits -> the whole range of their type, uint8 or uint16; 12-bit white 4095 becomes 16-bit white."""
    largest = peak(samples.dtype)
    if 2**bits - 1 == largest:
        return samples
    stretched: NDArray[Any] = round_half_up(samples.dtype)(samples * np.float64(largest / (2**bits - 1)))
    return stretched.astype(samples.dtype)


def white(dtype: Any) -> int:
    """What means white in samples of a type: 255, 65535, or 1 for floats."""
    return 1 if np.issubdtype(dtype, np.floating) else peak(dtype)
