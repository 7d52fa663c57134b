"""Integers of a file <-> float32 planes of a network; the only file that knows 255 and 65535.

It takes numpy arrays and torch tensors, and imports no torch: whoever passes a tensor has done so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from superscale.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Pixels = TypeVar("Pixels", NDArray[Any], "Tensor")

# sample type -> its largest value
PEAK = {"uint8": 255, "uint16": 65535}
PEAK_8BIT = PEAK["uint8"]


def library_of(samples: Any) -> Any:
    """The module that computes with these samples: numpy for an array, torch for a tensor."""
    return np if isinstance(samples, np.ndarray) else sys.modules["torch"]


def peak(dtype: Any) -> int:
    """The value that means white: 255 for uint8, 65535 for uint16, of numpy or torch. Raises UsageError for any other type."""
    name = str(dtype)
    name = name.removeprefix("torch.") if name.startswith("torch.") else str(np.dtype(dtype))
    if name not in PEAK:
        raise UsageError(f"expected uint8 or uint16 samples, got {dtype}")
    return PEAK[name]


def round_half_up(dtype: Any) -> Callable[[Pixels], Pixels]:
    """A function that rounds float samples in the units of ``dtype`` half up and clips them to its range, as MATLAB does."""
    largest = peak(dtype)

    def rounded(samples: Any) -> Any:
        library = library_of(samples)
        shifted = samples + 0.5
        library.floor(shifted, out=shifted)
        return library.clip(shifted, 0, largest, out=shifted)

    return rounded


def to_float(pixels: Pixels) -> Pixels:
    """Samples uint8, uint16 or float -> float32, integers scaled to [0, 1], floats taken as they are.

    An array (H, W) or (H, W, C) becomes an array (C, H, W); a tensor (..., C, H, W) keeps its shape and device.
    """
    if not isinstance(pixels, np.ndarray):
        planes = pixels.float()  # for integers a copy, which is ours to change
        return planes if pixels.is_floating_point() else planes.div_(peak(pixels.dtype))
    moved = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    channels_first = np.ascontiguousarray(moved, dtype=np.float32)
    if pixels.dtype.kind != "f":
        channels_first /= np.float32(peak(pixels.dtype))
    return channels_first


def to_pixels(planes: NDArray[Any] | Tensor, dtype: Any = np.uint8) -> NDArray[Any]:
    """Planes (C, H, W) -> an array (H, W, C): integers scaled from [0, 1], rounded to nearest and clipped, floats as they are."""
    array = planes if isinstance(planes, np.ndarray) else planes.detach().cpu().float().numpy()
    samples = array.astype(np.float32, copy=False)
    if not np.issubdtype(dtype, np.floating):
        samples = round_half_up(dtype)(samples * np.float32(peak(dtype)))
    return np.ascontiguousarray(np.moveaxis(samples, 0, -1)).astype(dtype)


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
