"""A model as its file has it: options and numpy arrays, read without torch, so that other libraries can run it at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superscale.contract import Contract
from superscale.errors import ModelError, UsageError
from superscale.networks.configs import GeneratorConfig, generator_config

MODEL_FORMAT = "superscale-model-1"
# Formats of other programs whose numbers lie in a .bin beside them.
IN_TWO_FILES = (".xml", ".param")
# A safetensors file starts with the length of its JSON header; longer than this is not a model.
LONGEST_HEADER = 4_000_000
# The published networks hold 0.3 GB at most, VGG19 0.6 GB.
MOST_BYTES = 2 * 1024**3
# What weights are stored in.
FLOATS = ("float32", "float16", "bfloat16", "float64")
# Options that say how often a part is repeated.
COUNTS = ("blocks", "convolutions", "upsamplings")
LONGEST_REASON = 300
# What options that no network has may raise.
UNDESCRIBED = (KeyError, ValueError, TypeError, OverflowError, RecursionError, UsageError)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class StoredModel:
    """``network``: its catalog name under "name", and its options. ``arrays``: by the network's own keys, fp32."""

    name: str
    network: dict[str, Any]
    arrays: Arrays
    card: dict[str, Any]

    @property
    def config(self) -> GeneratorConfig:
        """The network's options, checked."""
        return generator_config(self.network["name"], {key: value for key, value in self.network.items() if key != "name"})

    @property
    def contract(self) -> Contract:
        """What the network promises."""
        return self.config.contract

    def digest(self) -> str:
        """The SHA-256 of the network's options and weights, in hexadecimal digits."""
        digest = hashlib.sha256(json.dumps(self.network, sort_keys=True).encode())
        for key, array in sorted(self.arrays.items()):
            digest.update(f"{key} {array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read_stored(path: Path) -> StoredModel:
    """A model file of ours. Its keys and shapes are checked where its graph is built. Raises ModelError."""
    metadata = read_metadata(path)
    if metadata.get("format") != MODEL_FORMAT:
        raise ModelError(f"{path}: a safetensors file, but not a superscale model (no {MODEL_FORMAT!r} in its header)")
    if not {"network", "card"} <= metadata.keys():
        raise ModelError(f"{path}: its header does not describe a network")
    return described(str(path), metadata["network"], metadata["card"], _arrays(path))


def described(where: str, network: str, card: str, arrays: Arrays) -> StoredModel:
    """The model that two texts of JSON describe. Raises ModelError, beginning with ``where``, when they describe none."""
    try:
        model = StoredModel(Path(where).stem, dict(json.loads(network)), arrays, dict(json.loads(card)))
        check_options(model.network, len(arrays))
        model.contract  # noqa: B018 # raises for options that no network has
    except UNDESCRIBED as error:
        raise ModelError(f"{where}: its header does not describe a network ({one_line(error)})") from error
    except ModelError as error:
        raise ModelError(f"{where}: {one_line(error)}") from error
    return model


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ModelError(f"{path}: refused: {size:,} bytes, more than the {MOST_BYTES:,} that are read")
        with safe_open(path, "numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # not a dict
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: damaged safetensors file ({one_line(error)})") from error
    for key, array in arrays.items():
        # A conversion would drop imaginary parts, or take counts for weights; the counters of batch norms are single numbers.
        if str(array.dtype) not in FLOATS and not (array.dtype.kind == "i" and array.ndim == 0):
            raise ModelError(f"{path}: {one_line(key)} holds {array.dtype}, expected {' or '.join(FLOATS)}")
    return {key: finite(array, f"{path}: {one_line(key)}") for key, array in arrays.items()}


def finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Numbers as fp32. Raises ModelError, beginning with ``name``, when one is not finite."""
    plain = np.asarray(array, np.float32)
    if not np.isfinite(plain).all():
        raise ModelError(f"{name} is not finite")
    return plain


def read_metadata(path: Path) -> dict[str, str]:
    """The text in a safetensors header, without reading a tensor. Raises ModelError when the file is not one."""
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(LONGEST_HEADER, path.stat().st_size - 8):
                raise ModelError(f"{path}: not a safetensors file, or cut short")
            header = json.loads(stream.read(length))
        return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({one_line(error)})") from error


def check_options(options: Mapping[str, Any], tensors: int) -> None:
    """Raise ModelError for a network that no file of so many tensors can hold."""
    for option, number in options.items():
        if option in COUNTS and type(number) is int and number > tensors:
            raise ModelError(f"a network of {number} {option} in a file of {tensors} tensors")


def check_keys(expected: Collection[str], present: Collection[str], where: str = "") -> None:
    """Raise ModelError, beginning with ``where``, when a key is missing or left over."""
    missing, unexpected = sorted(set(expected) - set(present)), sorted(set(present) - set(expected))
    if missing or unexpected:
        raise ModelError(
            f"{where}{len(missing)} tensors missing{_example(missing)}, {len(unexpected)} unexpected{_example(unexpected)}"
        )


def _example(names: list[str]) -> str:
    return f" (first: {one_line(names[0])})" if names else ""


def one_line(text: object) -> str:
    """What a file says, as it can be printed: control characters escaped, and not too much of it."""
    printable = (character if character.isprintable() else ascii(character)[1:-1] for character in str(text)[:LONGEST_REASON])
    return "".join(printable)
