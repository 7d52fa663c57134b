"""OpenVINO files (.xml and .bin) that superscale exported, read back: the arrays by their names, and the description beside them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from superscale.errors import ModelError
from superscale.reading import read_file, reason
from superscale.weights.graph import graph_of
from superscale.weights.onnx import CARD, NETWORK, PARTS, as_network_has_it
from superscale.weights.stored import MOST_BYTES, StoredModel, described, finite

Array = NDArray[Any]
MOST_XML_BYTES = 50_000_000
# The entry of the .xml that has the sha256 of the .bin.
NUMBERS = "bin_sha256"
# what OpenVINO adds to the name of what it keeps in half precision
HALF = "_compressed"
DTYPES = {"f32": "<f4", "f16": "<f2"}


def read_openvino(path: Path) -> StoredModel:
    """The model of a ``.xml`` file of ours and the ``.bin`` beside it (half precision is read into fp32). Raises ModelError.

    Only the arrays and the description are taken: what else the file says is not run.
    """
    try:
        text = read_file(path, MOST_XML_BYTES)
        data = read_file(path.with_suffix(".bin"), MOST_BYTES)
    except OSError as error:
        raise ModelError(f"{error.filename or path}: cannot be read ({reason(error)})") from error
    try:
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ValueError("entities")
        root = ElementTree.fromstring(text)
        said = (*root.findall("rt_info/framework/*"), *root.findall("rt_info/superscale/*"))
        facts = {element.tag: element.attrib.get("value", "") for element in said}
        if facts[NUMBERS] != sha256(data).hexdigest():
            raise ModelError(
                f"{path}: {path.with_suffix('.bin').name} has other numbers than it was exported with; export it again"
            )
        arrays = dict(_array(layer, data) for layer in root.iter("layer") if _is_ours(layer))
        network, card = facts[NETWORK], facts[CARD]
    except (KeyError, ValueError, AttributeError, ElementTree.ParseError) as error:
        raise ModelError(
            f"{path}: not an OpenVINO file that superscale wrote; give the model that it was exported from"
        ) from error
    model = described(str(path), network, card, {key: finite(array, f"{path}: {key}") for key, array in arrays.items()})
    graph_of(model)
    return model


def _is_ours(layer: ElementTree.Element) -> bool:
    return layer.get("type") == "Const" and _name(layer).endswith(PARTS)


def _name(layer: ElementTree.Element) -> str:
    return layer.get("name", "").removesuffix(HALF)


def _array(layer: ElementTree.Element, data: bytes) -> tuple[str, Array]:
    facts = layer.find("data").attrib  # type: ignore[union-attr]
    shape = [int(side) for side in facts["shape"].split(",") if side.strip()]
    count = int(np.prod(shape))
    if min(shape, default=1) < 0 or int(facts["offset"]) < 0:
        raise ValueError("a negative size")
    array = np.frombuffer(data, DTYPES[facts["element_type"]], count, int(facts["offset"])).reshape(shape)
    return as_network_has_it(_name(layer), array)
