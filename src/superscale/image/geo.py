"""Where a GeoTIFF lies on the ground, and where it lies once its pixels are smaller (OGC GeoTIFF 1.1, annex B)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

Geo = dict[int, Any]

PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
# GDAL's own: band names, scales and offsets (XML), the value of no data (text), rational polynomial coefficients.
GDAL_METADATA, GDAL_NODATA, RPC = 42112, 42113, 50844
# tag -> its type as tifffile names it; besides the above: doubles and text of the keys
TAGS = {
    **dict.fromkeys((PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, 34736, RPC), "d"),
    KEYS: "H",
    **dict.fromkeys((34737, GDAL_METADATA, GDAL_NODATA), "s"),
}
# Tags by which pixels lie on the ground.
PLACING = (PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, KEYS, RPC)
WORLD_FILES = (".tfw", ".tifw", ".wld")
RASTER_TYPE, PIXEL_IS_POINT = 1025, 2
# In the coefficients: offset and scale of the line, offset and scale of the sample; they count from the first pixel's centre.
RPC_LINE, RPC_SAMPLE = (2, 7), (3, 8)
# What GDAL has computed from the old samples.
STATISTICS = re.compile(r'\s*<Item name="STATISTICS_[^"]*"[^>]*>[^<]*</Item>')


def lies_on_ground(geo: Geo | None) -> bool:
    """Whether the tags place the pixels on the ground."""
    return any(code in PLACING for code in geo or {})


def unread_beside(path: Path, geo: Geo | None) -> tuple[str, ...]:
    """A notice of files beside a TIFF by which other programs add to it: a mask, and a place on the ground where it has none."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return ()
    is_placed = any(code in (geo or {}) for code in PLACING if code != KEYS)  # the keys only name the system of coordinates
    names = [f"{path.name}.msk", *(() if is_placed else (f"{path.stem}{end}" for end in WORLD_FILES))]
    found = [name for name in names if path.with_name(name).is_file()]
    return tuple(f"{name} beside it was not read: what it says has to stand in the TIFF itself" for name in found)


def nodata_value(geo: Geo | None, dtype: Any) -> Any:
    """The value of no data as a sample of a type; None when there is none, or a sample of that type cannot have it, or it is NaN."""
    try:
        number = float(str((geo or {})[GDAL_NODATA]).strip("\0 "))
    except (KeyError, ValueError):
        return None
    kind = np.dtype(dtype)
    if kind.kind == "f":
        # GDAL writes the decimals of a double, also for samples of fewer bits.
        with np.errstate(over="ignore"):
            return kind.type(number) if np.isfinite(number) else None
    limits = np.iinfo(kind)
    return kind.type(int(number)) if number.is_integer() and limits.min <= number <= limits.max else None


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
    if RPC in geo:
        result[RPC] = _scaled_coefficients(geo[RPC], factor_x, factor_y)
    if GDAL_METADATA in geo:
        result[GDAL_METADATA] = STATISTICS.sub("", geo[GDAL_METADATA])
    return result


def _scaled_coefficients(coefficients: Any, factor_x: float, factor_y: float) -> tuple[float, ...]:
    numbers = [float(number) for number in coefficients]
    for (offset, scale), factor in ((RPC_LINE, factor_y), (RPC_SAMPLE, factor_x)):
        if len(numbers) > scale:
            numbers[offset] = (numbers[offset] + 0.5) * factor - 0.5
            numbers[scale] *= factor
    return tuple(numbers)


def _raster_type(geo: Geo) -> int:
    keys = geo.get(KEYS, ())
    # After a header of four: (key, where the value lies, how many, value); 0: the value itself.
    entries = [keys[start : start + 4] for start in range(4, len(keys) - 3, 4)]
    return next((int(value) for key, where, _, value in entries if key == RASTER_TYPE and where == 0), 1)
