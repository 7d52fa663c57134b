"""What a DICOM header says in pixels or millimetres a pixel, once its pixels are smaller (PS3.3, C.7.6.2, C.7.6.11, C.8.5.5)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom.valuerep import DSfloat

# Millimetres from row to row, and from column to column.
SPACINGS = (
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "ImagePlanePixelSpacing",
    "ObjectPixelSpacingInCenterOfBeam",
)
# Edges of shutters and collimators, by columns and by rows, counted from 1 at the centre of the first.
COLUMNS = tuple(f"{part}{side}VerticalEdge" for part in ("Shutter", "Collimator") for side in ("Left", "Right"))
ROWS = tuple(f"{part}{side}HorizontalEdge" for part in ("Shutter", "Collimator") for side in ("Upper", "Lower"))
POINTS = tuple(
    f"{shape}{part}" for part in ("Shutter", "Collimator") for shape in ("CenterOfCircular", "VerticesOfThePolygonal")
)
RADII = ("RadiusOfCircularShutter", "RadiusOfCircularCollimator")
# What the file was before is no business of its pixels.
HISTORY = "OriginalAttributesSequence"


def scale_geometry(header: Any, down: float, across: float) -> None:
    """Change a header in place to that of a picture with ``down`` and ``across`` times as many rows and columns of the same patient."""
    _move_origins(header, down, across)
    for item in nested(header):
        for keyword in SPACINGS:
            if (spacing := item.get(keyword)) is not None and len(spacing) == 2:
                setattr(item, keyword, [_decimal(spacing[0] / down), _decimal(spacing[1] / across)])
        _scale_points(item, down, across)
        for region in item.get("SequenceOfUltrasoundRegions", ()):
            _scale_region(region, down, across)


def nested(header: Any) -> Iterator[Any]:
    """The header and all items below it."""
    yield header
    for element in header:
        if element.VR == "SQ" and element.keyword != HISTORY:
            for item in element.value:
                yield from nested(item)


def _decimal(number: float) -> Any:
    return DSfloat(float(number), auto_format=True)


def _move_origins(header: Any, down: float, across: float) -> None:
    """The position of the first pixel is that of its centre, which moves towards the corner as pixels shrink."""
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    for frame in [header, shared[0], *(header.get("PerFrameFunctionalGroupsSequence") or ())]:
        places = frame.get("PlanePositionSequence") if frame is not header else [header]
        for place in places or ():
            spacing = _function(frame, shared[0], "PixelMeasuresSequence", "PixelSpacing")
            directions = _function(frame, shared[0], "PlaneOrientationSequence", "ImageOrientationPatient")
            if place.get("ImagePositionPatient") and spacing and directions:
                place.ImagePositionPatient = _moved(place.ImagePositionPatient, directions, spacing, down, across)
    if header.get("RTImagePosition") and header.get("ImagePlanePixelSpacing"):
        directions = header.get("RTImageOrientation") or [1, 0, 0, 0, -1, 0]
        place = _moved([*header.RTImagePosition, 0.0], directions, header.ImagePlanePixelSpacing, down, across)
        header.RTImagePosition = place[:2]


def _function(frame: Any, shared: Any, group: str, keyword: str) -> Any:
    """An attribute of a frame: its own, that of the frame's functional group, or that of all frames."""
    own = frame.get(keyword)
    items = frame.get(group) or shared.get(group)
    return own if own is not None else items[0].get(keyword) if items else None


def _moved(place: Any, directions: Any, spacing: Any, down: float, across: float) -> list[Any]:
    numbers = np.array([float(number) for number in directions])
    right = numbers[:3] * float(spacing[1]) * (1 / across - 1) / 2
    below = numbers[3:] * float(spacing[0]) * (1 / down - 1) / 2
    return [_decimal(number) for number in np.array([float(number) for number in place]) + right + below]


def _scale_points(item: Any, down: float, across: float) -> None:
    for keywords, factor in ((COLUMNS, across), (ROWS, down)):
        for keyword in keywords:
            if (place := item.get(keyword)) is not None:
                setattr(item, keyword, _pixel(place, factor))
    for keyword in POINTS:
        if points := item.get(keyword):
            setattr(item, keyword, [_pixel(place, across if number % 2 else down) for number, place in enumerate(points)])
    for keyword in RADII:
        if (radius := item.get(keyword)) is not None:
            setattr(item, keyword, round(float(radius) * math.sqrt(down * across)))


def _pixel(place: Any, factor: float) -> int:
    """The pixel, counted from 1, at the centre of an old one."""
    return round((float(place) - 0.5) * factor + 0.5)


def _scale_region(region: Any, down: float, across: float) -> None:
    """Of ultrasound: its edges count pixels from 0, both included; the reference pixel, from the region's corner, is a whole one."""
    for axis, factor in (("X", across), ("Y", down)):
        for end, shift in (("Min", 0), ("Max", 1)):
            keyword = f"RegionLocation{end}{axis}{shift}"
            if keyword in region:
                setattr(region, keyword, round((getattr(region, keyword) + shift) * factor) - shift)
        delta = region.get(f"PhysicalDelta{axis}")
        if delta is not None:
            setattr(region, f"PhysicalDelta{axis}", float(delta) / factor)
        old = region.get(f"ReferencePixel{axis}0")
        if old is None:
            continue
        new = round((old + 0.5) * factor - 0.5)
        setattr(region, f"ReferencePixel{axis}0", new)
        value = region.get(f"ReferencePixelPhysicalValue{axis}")
        if value is not None and delta is not None:
            moved = (new + 0.5) / factor - 0.5 - old
            setattr(region, f"ReferencePixelPhysicalValue{axis}", float(value) + moved * float(delta))
