"""OME-XML, the description in an OME-TIFF, once its pixels are smaller (Open Microscopy Environment, schema 2016-06)."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

# Elements whose coordinates count old pixels, or that name the old file.
DRAWN = ("ROI", "ROIRef")


def is_ome(description: str) -> bool:
    """Whether a description is OME-XML, as readers tell it: by its end."""
    return description.rstrip().endswith("OME>")


def describes(description: str, width: int, height: int, planes: int) -> bool:
    """Whether OME-XML tells of as many planes of this size, all in one file, so that it can be made true of an enlarged one."""
    root = _parsed(description)
    if root is None:
        return False
    images = list(_named(root, "Pixels"))
    sizes = {(pixels.get("SizeX"), pixels.get("SizeY")) for pixels in images}
    files = {entry.get("FileName") for entry in _named(root, "UUID")}
    return sizes == {(str(width), str(height))} and len(files) < 2 and sum(map(_planes, images)) == planes


def scaled(description: str, width: int, height: int) -> str:
    """OME-XML of an image of another size: SizeX, SizeY, PhysicalSizeX and PhysicalSizeY; without regions drawn in old pixels and
    without identifiers of the old file."""
    root: Any = _parsed(description)
    for parent in list(root.iter()):
        for child in list(parent):
            if _name(child) in (*DRAWN, "UUID"):
                parent.remove(child)
    root.attrib.pop("UUID", None)
    for pixels in _named(root, "Pixels"):
        for axis, size in (("X", width), ("Y", height)):
            physical = pixels.get(f"PhysicalSize{axis}")
            if physical is not None:
                pixels.set(f"PhysicalSize{axis}", repr(float(physical) * int(pixels.get(f"Size{axis}")) / size))
            pixels.set(f"Size{axis}", str(size))
        if "BigEndian" in pixels.attrib:
            pixels.set("BigEndian", "false")
    ElementTree.register_namespace("", root.tag.partition("}")[0].removeprefix("{"))
    return '<?xml version="1.0" encoding="UTF-8"?>' + ElementTree.tostring(root, encoding="unicode")


def draws_regions(description: str) -> bool:
    """Whether it holds regions of interest."""
    return "<ROI" in description or ":ROI" in description


def _parsed(description: str) -> Any:
    if "<!DOCTYPE" in description or "<!ENTITY" in description:
        return None
    try:
        return ElementTree.fromstring(description.strip().encode())
    except (ElementTree.ParseError, ValueError):
        return None


def _planes(pixels: Any) -> int:
    try:
        return int(pixels.get("SizeZ")) * int(pixels.get("SizeT")) * int(pixels.get("SizeC"))
    except (TypeError, ValueError):
        return 0


def _named(root: Any, name: str) -> list[Any]:
    return [element for element in root.iter() if _name(element) == name]


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
