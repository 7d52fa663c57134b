"""Files that other programs wrote, read as data: sniffed by content, checked before they are loaded, translated into our networks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superscale.errors import ModelError, UsageError
from superscale.weights.architecture import empty_generator
from superscale.weights.checkpoint import FLOATS, MOST_BYTES, Model, load_strictly, load_tensors, read_metadata
from superscale.weights.layouts import recognise
from superscale.weights.pickle_guard import LEGACY_MAGIC, NUMBER_BYTES, ZIP_MAGIC, check_pickled

# Where training programs put a state dict, the best first; without any of these the file is one itself.
WRAPPERS = ("params_ema", "params", "state_dict", "model")
PREFIX = "module."  # torch's data-parallel wrappers


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors (a length, then JSON), whatever its name. Raises ModelError when it is neither that
    nor a file of ``torch.save``."""
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    if not path.is_file():  # a pipe would be waited for
        raise ModelError(f"{path}: a folder or a device, not a model file")
    try:
        with open(path, "rb") as stream:
            start = stream.read(len(LEGACY_MAGIC))
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if start[8:9] == b"{":
        return True
    if start == LEGACY_MAGIC or start.startswith(ZIP_MAGIC):
        return False
    raise ModelError(f"{path}: not a safetensors file, nor one of torch.save ({size:,} bytes, beginning {start[:8]!r})")


def read_pickled(path: Path) -> Any:
    """What a ``.pth`` file holds if it is plain tensors: no code in it is run. Raises ModelError when it holds anything else."""
    check_pickled(path)
    try:
        with open(path, "rb") as stream:  # given a path, torch would go by its suffix
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader meets a hostile file with whatever comes; its texts advise to trust the file
        raise ModelError(f"{path}: refused: cannot be read as plain tensors ({type(error).__name__}); damaged?") from error


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of a foreign file, by their published names. Raises ModelError when it holds anything else, or too much."""
    if not is_safetensors(path):
        return _named_tensors(path, read_pickled(path))
    read_metadata(path)
    return _named_tensors(path, load_tensors(path))


def _named_tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    state = loaded
    if isinstance(loaded, dict):
        state = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(state, dict) or not state:
        raise ModelError(f"{path}: refused: holds no tensors by name, but {type(state).__name__}")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise ModelError(
                f"{path}: refused: {ascii(key)[:80]} is {type(tensor).__name__}, not a tensor; "
                f"a network's tensors are looked for under {', '.join(WRAPPERS)} and at the top"
            )
        if tensor.dtype not in FLOATS:
            raise ModelError(f"{path}: refused: {ascii(key)[:80]} holds {tensor.dtype}, expected floating point")
    if sum(tensor.numel() for tensor in state.values()) * NUMBER_BYTES > MOST_BYTES:
        raise ModelError(f"{path}: refused: its tensors have more than {MOST_BYTES:,} bytes")
    prefix = PREFIX if all(key.startswith(PREFIX) for key in state) else ""
    return {key[len(prefix) :]: tensor.detach() for key, tensor in state.items()}


def load_foreign(path: Path) -> Model:
    """Any published RRDBNet or SRVGGNetCompact, as fp32. The card says where it comes from.

    Strict: exactly the keys of one layout, every shape right, every number finite, or a ModelError of one line; an unknown
    layout's names the nearest.
    """
    tensors = read_foreign(path)
    try:
        layout, names = recognise(tensors)
        ours = {names[key]: tensor for key, tensor in tensors.items()}
        published = {mine: f"{layout.name}: {theirs}" for theirs, mine in names.items()}
        generator = empty_generator(layout.network, layout.options(ours), ours, published)
    except (ModelError, UsageError) as error:
        raise ModelError(f"{path}: {error}") from error
    load_strictly(generator, {key: tensor.float() for key, tensor in ours.items()}, str(path))
    return Model(path.stem, generator.eval(), {"source": path.name, "layout": layout.name})
