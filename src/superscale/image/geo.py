"""Where a GeoTIFF lies on the ground, and where it lies once its pixels are smaller (OGC GeoTIFF 1.1, annex B)."""

from __future__ import annotations

from typing import Any

import numpy as np

Geo = dict[int, Any]

PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
# tag -> its type as tifffile names it; besides the above: doubles and text of the keys, GDAL's band names and no-data value
TAGS = {PIXEL_SCALE: "d", TIEPOINTS: "d", TRANSFORMATION: "d", KEYS: "H", 34736: "d", 34737: "s", 42112: "s", 42113: "s"}
RASTER_TYPE, PIXEL_IS_POINT = 1025, 2


def scaled(geo: Geo, factor_x: float, factor_y: float) -> Geo:
    """The tags of a picture that has ``factor_x`` and ``factor_y`` times as many columns and rows on the same ground."""
    result = dict(geo)
    # Pixel coordinates count from the corner of the first pixel, or (PixelIsPoint) from its centre, which moves.
    shift = 0.5 if _raster_type(geo) == PIXEL_IS_POINT else 0.0
    if PIXEL_SCALE in geo:
        x, y, *rest = geo[PIXEL_SCALE]
        result[PIXEL_SCALE] = (x / factor_x, y / factor_y, *rest)
    if TIEPOINTS in geo:
        points = np.array(geo[TIEPOINTS], dtype=np.float64).reshape(-1, 6)
        points[:, 0] = (points[:, 0] + shift) * factor_x - shift
        points[:, 1] = (points[:, 1] + shift) * factor_y - shift
        result[TIEPOINTS] = tuple(points.ravel().tolist())
    if TRANSFORMATION in geo:
        to_old = np.diag([1 / factor_x, 1 / factor_y, 1.0, 1.0])
        to_old[:2, 3] = shift / factor_x - shift, shift / factor_y - shift
        matrix = np.array(geo[TRANSFORMATION], dtype=np.float64).reshape(4, 4) @ to_old
        result[TRANSFORMATION] = tuple(matrix.ravel().tolist())
    return result


def _raster_type(geo: Geo) -> int:
    keys = geo.get(KEYS, ())
    # After a header of four: (key, where the value lies, how many, value); 0: the value itself.
    entries = [keys[start : start + 4] for start in range(4, len(keys) - 3, 4)]
    return next((int(value) for key, where, _, value in entries if key == RASTER_TYPE and where == 0), 1)
