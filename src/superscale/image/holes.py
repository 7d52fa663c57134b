"""Holes: samples that a file declares to be no data, by a value (GDAL's tag 42113), as NaN, or by a mask page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.image.geo import Geo, nodata_value
from superscale.image.pixels import white
from superscale.image.region import Part, whole

Array = NDArray[Any]
RGB = 3


def valid_samples(pixels: Array, geo: Geo | None, mask: Array | None, colours: bool) -> Array | None:
    """(H, W, C) -> (H, W, 1 or C), true where there are data; None where nothing is missing.

    ``mask``: (H, W), true where there are data. ``colours``: the first three bands are RGB, which GDAL takes for no data only where
    all three are.
    """
    parts: list[Array] = []
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        parts.append(np.isfinite(pixels))
    value = nodata_value(geo, pixels.dtype)
    if value is not None and (holds := pixels == value).any():
        parts.append(~_together(holds, colours))
    if mask is not None and not mask.all():
        parts.append(mask[..., None])
    if len(parts) < 2:
        return parts[0] if parts else None
    valid: Array = np.logical_and.reduce(np.broadcast_arrays(*parts))
    return valid


def without_false_holes(pixels: Array, geo: Geo | None, valid: Array | None, colours: bool, middle: float) -> Array:
    """Samples with data that happen to have the value of no data get the next value towards ``middle``."""
    value = nodata_value(geo, pixels.dtype)
    if value is None or not (holds := pixels == value).any():
        return pixels
    false = _together(holds, colours) & (True if valid is None else valid)
    if not false.any():
        return pixels
    result = pixels.copy()
    result[false] = _next(value, float(value) < middle, pixels.dtype)
    return result


def _next(value: Any, up: bool, dtype: Any) -> Any:
    if np.dtype(dtype).kind == "f":
        return np.nextafter(value, np.dtype(dtype).type(np.inf if up else -np.inf))
    return value + 1 if up else value - 1


def _together(holds: Array, colours: bool) -> Array:
    """No data in one colour alone is a value like any other."""
    if not colours or holds.shape[2] < RGB:
        return holds
    result = holds.copy()
    result[..., :RGB] = (holds[..., 0] & holds[..., 1] & holds[..., 2])[..., None]
    return result


def nearest(samples: Array, height: int, width: int) -> Array:
    """(H, W[, C]) -> (height, width[, C]): each the sample in which the centre of the new one lies."""
    all_of_it = whole(*samples.shape[:2])
    return nearest_part(samples, Part(whole(height, width), all_of_it, all_of_it, samples.shape[:2], (height, width)))


def nearest_part(samples: Array, part: Part) -> Array:
    """The samples at hand (h, w[, C]) -> the target of `nearest`."""
    target, at_hand = part.target, part.at_hand
    rows = ((np.arange(target.top, target.bottom) + 0.5) * part.size[0] / part.new_size[0]).astype(np.intp)
    columns = ((np.arange(target.left, target.right) + 0.5) * part.size[1] / part.new_size[1]).astype(np.intp)
    taken: Array = samples[(rows - at_hand.top)[:, None], columns - at_hand.left]
    return taken


def as_alpha(valid: Array, dtype: Any) -> Array:
    """(H, W, 1 or C) -> (H, W): opaque where all bands have data."""
    return np.where(valid.all(axis=-1), white(dtype), 0).astype(dtype)
