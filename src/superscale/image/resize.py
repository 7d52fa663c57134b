"""MATLAB-compatible antialiased resizing: bicubic (Keys 1981, a = -0.5) and bilinear, the papers' degradation and baseline.

When it reduces, the kernel is stretched by the factor (antialiasing); at the border the picture is mirrored, edge sample included.
Both facts are folded into one weight matrix per axis, so that resizing is two matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from superscale.errors import UsageError
from superscale.image.pixels import Pixels, library_of, peak, round_half_up
from superscale.image.region import Region, mirrored

if TYPE_CHECKING:
    from torch import Tensor

Method = Literal["bicubic", "bilinear", "lanczos3", "box"]
PlainMethod = Literal["area", "bilinear", "bicubic"]
Rounding = Literal["double", "uint8"]
Matrix = NDArray[np.float64]

# One block of output rows touches only a band of the input: these keep the products large and the zeros few. A band is
# wider than its block when reducing (16 rows at a factor of 1/4 read 76) and narrower when enlarging (128 at 4 read 36).
REDUCING_BLOCK_ROWS, ENLARGING_BLOCK_ROWS = 16, 128

PLAIN_METHODS: tuple[PlainMethod, ...] = get_args(PlainMethod)
# OpenCV's and PyTorch's choice of Keys' free parameter.
PLAIN_CUBIC = -0.75


def cubic(distance: Matrix, a: float = -0.5) -> Matrix:
    """Keys' cubic convolution kernel (Keys 1981, §II; a = -0.5 is eq. 15), support 4."""
    x = np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    weights: Matrix = np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
    return weights


def triangle(distance: Matrix) -> Matrix:
    """The bilinear kernel, support 2."""
    weights: Matrix = np.maximum(1 - np.abs(distance), 0.0)
    return weights


def lanczos3(distance: Matrix) -> Matrix:
    """The sinc under a wider sinc (Duchon 1979), support 6; MATLAB's and Pillow's "lanczos3"."""
    weights: Matrix = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    return weights


def box(distance: Matrix) -> Matrix:
    """The nearest sample when enlarging and the mean of a new sample's area when reducing, support 1."""
    weights: Matrix = ((distance >= -0.5) & (distance < 0.5)).astype(np.float64)
    return weights


# name -> (kernel, how many input samples it spans at scale 1)
KERNELS: dict[str, tuple[Callable[[Matrix], Matrix], int]] = {
    "bicubic": (cubic, 4),
    "bilinear": (triangle, 2),
    "lanczos3": (lanczos3, 6),
    "box": (box, 1),
}


def matlab_output_length(length: int, scale: float) -> int:
    """MATLAB's rule: the ceiling of length times scale (guarded against 63.00000000000001)."""
    return max(1, ceil(round(length * scale, 9)))


@lru_cache(maxsize=64)
def resize_matrix(length: int, out_length: int, scale: float, method: Method) -> Matrix:
    """Weights (out_length, length) that resize one axis; every row sums to one.

    Output sample i lies at (i + 0.5) / scale - 0.5 of the input, as in MATLAB's ``imresize``.
    """
    taps, weights = _taps(0, out_length, scale, method)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], mirrored(taps, length)), weights)
    matrix.flags.writeable = False
    return matrix


def _taps(start: int, stop: int, scale: float, method: Method) -> tuple[NDArray[np.int64], Matrix]:
    """Which samples of an endless line make the output samples from ``start`` to ``stop``, and their weights, a row for each."""
    kernel, support = KERNELS[method]
    stretch = min(scale, 1.0)
    width = support / stretch
    centre = (np.arange(start, stop) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(np.int64)
    taps = first[:, None] + np.arange(ceil(width) + 2)
    weights = stretch * kernel(stretch * (centre[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    return taps, weights


def plain_matrix(length: int, out_length: int, method: PlainMethod) -> Matrix:
    """Weights (out_length, length) of a resize without antialiasing, as much software in the world does it; rows sum to one.

    "bilinear" and "bicubic" (a = -0.75) repeat the border samples, "area" averages the whole samples that a new one touches:
    PyTorch's ``interpolate`` to a size. For making bad pictures, not for enlarging good ones.
    """
    matrix = np.zeros((out_length, length))
    step = length / out_length
    if method == "area":
        for row in range(out_length):
            start, stop = row * length // out_length, -(-(row + 1) * length // out_length)
            matrix[row, start:stop] = 1 / (stop - start)
        return matrix
    centre = (np.arange(out_length) + 0.5) * step - 0.5
    taps = np.floor(centre).astype(np.int64)[:, None] + np.arange(-1, 3)
    distance = centre[:, None] - taps
    weights = triangle(distance) if method == "bilinear" else cubic(distance, PLAIN_CUBIC)
    np.add.at(matrix, (np.arange(out_length)[:, None], taps.clip(0, length - 1)), weights)
    return matrix


def band(matrix: Matrix, start: int, stop: int) -> tuple[int, int]:
    """The first and one past the last input sample that output rows start..stop read."""
    used = np.flatnonzero(matrix[start:stop].any(axis=0))
    return int(used[0]), int(used[-1]) + 1


def _resize_rows(pixels: Pixels, matrix: Matrix, axis: int) -> Pixels:
    """Multiply one axis of an array or tensor (..., rows, columns) by the matrix, block by block of output rows."""
    moved: Any = pixels.swapaxes(axis, -2)
    library = library_of(moved)
    blocks: list[Any] = []
    block_rows = REDUCING_BLOCK_ROWS if matrix.shape[0] < matrix.shape[1] else ENLARGING_BLOCK_ROWS
    for start in range(0, matrix.shape[0], block_rows):
        stop = min(start + block_rows, matrix.shape[0])
        low, high = band(matrix, start, stop)
        weights: Any = matrix[start:stop, low:high]
        if library is not np:
            weights = library.tensor(weights, dtype=moved.dtype, device=moved.device)
        blocks.append(weights @ moved[..., low:high, :])
    result: Pixels = library.concatenate(blocks, -2).swapaxes(axis, -2)
    return result


def _resize_planes(planes: Pixels, size: tuple[int, int], scales: tuple[float, float], method: Method, between: Any) -> Pixels:
    """Resize float planes (..., H, W), the axis that shrinks most first and rows first on a tie, as MATLAB does."""
    height, width = planes.shape[-2:]
    rows = resize_matrix(height, size[0], scales[0], method)
    columns = resize_matrix(width, size[1], scales[1], method)

    def along_rows(planes: Pixels) -> Pixels:
        return _resize_rows(planes, rows, -2)

    def along_columns(planes: Pixels) -> Pixels:
        return _resize_rows(planes.swapaxes(-1, -2), columns, -2).swapaxes(-1, -2)

    if scales[0] <= scales[1]:
        return along_columns(between(along_rows(planes)))
    return along_rows(between(along_columns(planes)))


def _resize_to(
    pixels: Pixels, size: tuple[int, int], scales: tuple[float, float], method: Method, rounding: Rounding
) -> Pixels:
    if method not in KERNELS:
        raise UsageError(f"resize method must be one of {', '.join(KERNELS)}, got {method!r}")
    if rounding not in ("double", "uint8"):
        raise UsageError(f"rounding must be 'double' or 'uint8', got {rounding!r}")
    if isinstance(pixels, np.ndarray):
        return _resize_array(pixels, size, scales, method, rounding)
    return _resize_tensor(pixels, size, scales, method, rounding)


def _resize_array(
    pixels: NDArray[Any], size: tuple[int, int], scales: tuple[float, float], method: Method, rounding: Rounding
) -> NDArray[Any]:
    whole = np.issubdtype(pixels.dtype, np.integer)
    between = round_half_up(pixels.dtype) if whole and rounding == "uint8" else _unchanged
    channels_first = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels
    planes = _resize_planes(channels_first.astype(np.float64), size, scales, method, between)
    if pixels.ndim == 3:
        planes = np.moveaxis(planes, 0, -1)
    return np.ascontiguousarray(round_half_up(pixels.dtype)(planes) if whole else planes).astype(pixels.dtype)


def _resize_tensor(
    pixels: Tensor, size: tuple[int, int], scales: tuple[float, float], method: Method, rounding: Rounding
) -> Tensor:
    if pixels.is_floating_point():
        return _resize_planes(pixels, size, scales, method, _unchanged)
    rounded = round_half_up(pixels.dtype)

    def in_double(planes: Tensor) -> Tensor:
        return (rounded(planes) if rounding == "uint8" else planes).double()

    first = pixels.float() if _float32_is_exact(pixels, size, scales, method) else pixels.double()
    return rounded(_resize_planes(first, size, scales, method, in_double)).to(pixels.dtype)


def _float32_is_exact(pixels: Tensor, size: tuple[int, int], scales: tuple[float, float], method: Method) -> bool:
    """Whether float32 holds every sum of the first axis of a tensor of integers as it is, at half of double's cost.

    At factors that are powers of two the weights are whole multiples of a small power of two, of 2^-12 for the papers' bicubic 1/4.
    On a CPU alone, and only where torch was not told to multiply float32 more coarsely.
    """
    torch = library_of(pixels)
    if pixels.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if torch.backends.mkldnn.matmul.fp32_precision not in ("none", "ieee"):
        return False
    axis = 0 if scales[0] <= scales[1] else 1
    largest_sum = _largest_whole_sum(pixels.shape[axis - 2], size[axis], scales[axis], method)
    return largest_sum * peak(pixels.dtype) <= 2.0**24


@lru_cache(maxsize=64)
def _largest_whole_sum(length: int, out_length: int, scale: float, method: Method) -> float:
    """The largest sum of a row's absolute weights in units of which all weights are multiples; infinity without such a unit."""
    matrix = resize_matrix(length, out_length, scale, method)
    for bits in range(24):
        in_units = matrix * 2.0**bits
        if np.array_equal(in_units, np.round(in_units)):
            return float(np.abs(in_units).sum(axis=1).max())
    return np.inf


def _unchanged(planes: Any) -> Any:
    return planes


def imresize(pixels: Pixels, scale: float, method: Method = "bicubic", rounding: Rounding = "double") -> Pixels:
    """Resize by a factor as MATLAB's ``imresize(pixels, scale, method)`` does: out = ceil(in * scale) on both axes.

    ``pixels``: array (H, W) or (H, W, C), or tensor (..., H, W) on any device; the same kind, type and device come back.
    Integers are rounded half up and clipped: once at the end (``rounding="double"``, MATLAB on ``im2double``, the
    BasicSR and ESRGAN papers) or after each axis (``rounding="uint8"``, MATLAB on ``uint8``, the EDSR line).
    Floats come back unrounded and unclipped, whatever ``rounding`` says. Raises UsageError on a factor that is not positive.

    >>> import numpy as np
    >>> imresize(np.full((4, 6), 7, np.uint8), 1 / 2)
    array([[7, 7, 7],
           [7, 7, 7]], dtype=uint8)
    """
    if not scale > 0:
        raise UsageError(f"scale must be a positive number, got {scale}")
    height, width = _height_width(pixels)
    size = (matlab_output_length(height, scale), matlab_output_length(width, scale))
    return _resize_to(pixels, size, (scale, scale), method, rounding)


def resize_to(pixels: Pixels, height: int, width: int, method: Method = "bicubic", rounding: Rounding = "double") -> Pixels:
    """Resize to an exact size, as MATLAB's ``imresize(pixels, [height width])``; otherwise like `imresize`."""
    if height < 1 or width < 1:
        raise UsageError(f"the new size must be at least 1x1, got {height}x{width}")
    old_height, old_width = _height_width(pixels)
    return _resize_to(pixels, (height, width), (height / old_height, width / old_width), method, rounding)


def resize_part(
    pixels: NDArray[Any],
    at_hand: Region,
    size: tuple[int, int],
    target: Region,
    new_size: tuple[int, int],
    method: Method = "bicubic",
) -> NDArray[Any]:
    """The pixels ``target`` of what `resize_to` makes of a picture (height, width) ``size``, of which only those ``at_hand`` are there.

    An array (H, W[, C]), of the same type again. Each sample has the same bits whatever else is computed with it: products are
    added one after another, in an order that no size changes. Samples that are not at hand are taken to be like the nearest that are.
    """
    scales = new_size[0] / size[0], new_size[1] / size[1]
    rows = (target.top, target.bottom, at_hand.top, at_hand.bottom, size[0], scales[0])
    columns = (target.left, target.right, at_hand.left, at_hand.right, size[1], scales[1])
    samples = pixels.astype(np.float64)
    for axis, line in ((0, rows), (1, columns)) if scales[0] <= scales[1] else ((1, columns), (0, rows)):
        samples = _resized_line(samples, axis, *line, method)
    whole = np.issubdtype(pixels.dtype, np.integer)
    return (round_half_up(pixels.dtype)(samples) if whole else samples).astype(pixels.dtype)


def _resized_line(
    samples: Matrix, axis: int, start: int, stop: int, first: int, end: int, length: int, scale: float, method: Method
) -> Matrix:
    taps, weights = _taps(start, stop, scale, method)
    taps = mirrored(taps, length).clip(first, end - 1) - first
    shape = [1] * samples.ndim
    shape[axis] = stop - start
    total = np.zeros((*samples.shape[:axis], stop - start, *samples.shape[axis + 1 :]))
    for tap, weight in zip(taps.T, weights.T, strict=True):
        total += samples.take(tap, axis) * weight.reshape(shape)
    return total


def margin_px(scale: float, method: Method = "bicubic") -> int:
    """How many input samples beyond its own footprint one output sample reads, rounded up to whole output samples when reducing."""
    support = KERNELS[method][1] / 2
    if scale >= 1:
        return floor(support) + 1
    return ceil(support) * ceil(1 / scale)


def _height_width(pixels: NDArray[Any] | Tensor) -> tuple[int, int]:
    is_array = isinstance(pixels, np.ndarray)
    if is_array and pixels.ndim not in (2, 3):
        raise UsageError(f"expected an array (H, W) or (H, W, C), got shape {pixels.shape}")
    if pixels.ndim < 2:
        raise UsageError(f"expected a tensor (..., H, W), got shape {tuple(pixels.shape)}")
    height, width = pixels.shape[:2] if is_array else pixels.shape[-2:]
    if height < 1 or width < 1:
        raise UsageError(f"expected a picture of at least 1x1, got {height}x{width}")
    return int(height), int(width)
