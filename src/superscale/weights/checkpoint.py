"""Two kinds of file: a self-describing model (safetensors with a card) and a complete training state (one folder, manifest last)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor

from superscale.errors import CheckpointError, ModelError
from superscale.files import new_folder, write_bytes
from superscale.networks.catalog import describe
from superscale.networks.generator import Generator
from superscale.reading import read_file, read_json
from superscale.weights.architecture import empty_generator
from superscale.weights.stored import MODEL_FORMAT, MOST_BYTES, UNDESCRIBED, StoredModel, check_keys, one_line, read_stored

STATE_VERSION = 1
STATE_TENSORS, STATE_FACTS, STATE_MANIFEST = "state.safetensors", "state.json", "manifest.json"
MOST_STATE_BYTES = 64 * 1024**3
# What weights are stored in, and what counters are; those of a file that was read without torch are floats, too.
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WHOLE = (torch.int64, torch.int32, torch.float32)


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode, fp32, and what its file says about it."""

    name: str
    generator: Generator
    card: dict[str, Any]

    def digest(self) -> str:
        """As `StoredModel.digest`."""
        return stored_of(self).digest()


def save_model(path: Path | str, generator: Generator, card: Mapping[str, Any], *, half: bool = False) -> None:
    """Write a generator as safetensors, its architecture and ``card`` (any JSON) in the header; half precision if asked.

    Raises ModelError rather than write weights that are not finite.
    """
    tensors: dict[str, Tensor] = {}
    for key, tensor in generator.state_dict().items():
        plain = tensor.detach().to("cpu").contiguous()
        stored = plain.half() if half and plain.is_floating_point() else plain
        if not torch.isfinite(stored).all():
            raise ModelError(f"{path}: {key} is not finite; not saved")
        tensors[key] = stored
    metadata = {
        "format": MODEL_FORMAT,
        "network": json.dumps(describe(generator)),
        "card": json.dumps(dict(card), sort_keys=True),
    }
    write_bytes(path, _in_order(safetensors_torch.save(tensors, metadata)))


def _in_order(file: bytes) -> bytes:
    """The same file with its metadata in alphabetical order: safetensors writes them in another at every call."""
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the numbers after it stay aligned
    return len(text).to_bytes(8, "little") + text + file[start:]


def load_model(path: Path | str) -> Model:
    """Read a file of `save_model`. Strict: every tensor present, of the right shape and finite, or a ModelError."""
    return model_of(read_stored(Path(path)), str(path))


def model_of(stored: StoredModel, where: str) -> Model:
    """The torch network of a stored model. Raises ModelError, beginning with ``where``, when its arrays are not that network's."""
    # Arrays that lie in a file's bytes may not be written, of which torch warns.
    arrays = ((key, array if array.flags.writeable else array.copy()) for key, array in stored.arrays.items())
    tensors = {key: torch.from_numpy(array) for key, array in arrays}
    options = {key: value for key, value in stored.network.items() if key != "name"}
    try:
        generator = empty_generator(stored.network["name"], options, tensors)
    except ModelError as error:
        raise ModelError(f"{where}: {one_line(error)}") from error
    except UNDESCRIBED as error:
        raise ModelError(f"{where}: its header does not describe a network ({one_line(error)})") from error
    load_strictly(generator, tensors, where)
    return Model(stored.name, generator.eval(), stored.card)


def stored_of(model: Model) -> StoredModel:
    """What a file of this model would hold."""
    arrays = {key: tensor.detach().float().cpu().numpy() for key, tensor in model.generator.state_dict().items()}
    return StoredModel(model.name, describe(model.generator), arrays, model.card)


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Copy tensors into a module. Raises ModelError when a key is missing or left over, a shape differs, a value is not finite."""
    expected = module.state_dict()
    check_keys(expected, tensors, f"{name}: ")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ModelError(f"{name}: {one_line(key)} has shape {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}")
        kinds = FLOATS if expected[key].is_floating_point() else WHOLE
        if tensor.dtype not in kinds:
            # A conversion would drop imaginary parts, or take counts for weights.
            raise ModelError(f"{name}: {one_line(key)} holds {tensor.dtype}, expected {' or '.join(map(str, kinds))}")
        if not torch.isfinite(tensor.to(expected[key].dtype)).all():
            raise ModelError(f"{name}: {one_line(key)} is not finite")
    module.load_state_dict({key: tensor.to(expected[key].dtype) for key, tensor in tensors.items()})


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file. Raises ModelError when it is damaged or too large."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ModelError(f"{path}: refused: {size:,} bytes, more than the {MOST_BYTES:,} that are read")
        return safetensors_torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: damaged safetensors file ({one_line(error)})") from error


def save_state(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a training state as the new folder ``folder``: tensors, facts (JSON), then a manifest with their sha256; one rename."""
    parts = {
        STATE_TENSORS: safetensors_torch.save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}),
        STATE_FACTS: json.dumps(dict(facts), indent=1).encode(),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    parts[STATE_MANIFEST] = json.dumps({"version": STATE_VERSION, "sha256": digests}).encode()
    try:
        with new_folder(folder) as building:
            for name, data in parts.items():
                write_bytes(building / name, data)
    except OSError as error:
        raise CheckpointError(f"{folder}: could not save the training state ({error}); the previous one is kept") from error


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, facts) of a folder of `save_state`. Raises CheckpointError when a part is missing or its hash differs."""
    try:
        manifest = read_json(folder / STATE_MANIFEST)
        if manifest["version"] != STATE_VERSION:
            raise CheckpointError(f"{folder}: saved by another version of superscale")
        parts = {name: read_file(folder / name, MOST_STATE_BYTES) for name in (STATE_TENSORS, STATE_FACTS)}
        for name, data in parts.items():
            if hashlib.sha256(data).hexdigest() != manifest["sha256"][name]:
                raise CheckpointError(f"{folder}: {name} is damaged (its sha256 differs from the manifest's)")
        return safetensors_torch.load(parts[STATE_TENSORS]), json.loads(parts[STATE_FACTS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: not a whole training state ({error})") from error


def saved_states(folder: Path) -> Iterator[Path]:
    """The training states in a folder of them, newest first. Raises CheckpointError when the folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith("step-") and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be listed ({error.strerror})") from error
    yield from (folder / name for name in sorted(names, reverse=True))
