"""DICOM files: those of pydicom's package, and changed ones."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray

from superscale.image.io import (
    Image,
)

Array = NDArray[Any]
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT, MR = FILES / "CT_small.dcm", FILES / "MR_small.dcm"


def file(name: str) -> Path:
    return FILES / f"{name}.dcm"


def read(path: Path | bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(path) if isinstance(path, bytes) else path)
        for _ in dataset.iterall():
            pass
        return dataset


def doubled(image: Image) -> Image:
    return image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)


def written(dataset: Any) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(stream)
    return stream.getvalue()


def changed(pixels: Array | None = None, source: Path = CT, **attributes: Any) -> bytes:
    """A file of pydicom's with other attributes and samples."""
    dataset = read(source)
    for keyword, value in attributes.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        kind = pydicom.datadict.dictionary_VR(keyword)
        signed = "SS" if dataset.PixelRepresentation else "US"
        dataset.add_new(tag, signed if kind == "US or SS" else kind, value)
    if pixels is not None:
        dataset.Rows, dataset.Columns = pixels.shape[-2:]
        dataset.PixelData = pixels.tobytes()
    return written(dataset)
