"""Files that other programs wrote, read as data: sniffed by content, checked before they are loaded, translated into our networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from superscale.errors import ModelError, UsageError
from superscale.weights.architecture import empty_generator
from superscale.weights.checkpoint import FLOATS, Model, load_strictly, load_tensors
from superscale.weights.layouts import LAYOUTS, recognise
from superscale.weights.other_networks import other_network
from superscale.weights.pickle_guard import NUMBER_BYTES, check_pickled, is_safetensors
from superscale.weights.stored import MOST_BYTES, read_metadata

# Where training programs put a state dict, the best first; without any of these the file is one itself.
WRAPPERS = ("params_ema", "params-ema", "params", "model_state_dict", "state_dict", "net", "netG", "generator", "model")
DEEPEST = 4
PARALLEL = "module."  # torch's data-parallel wrappers
# A network among others, such as its discriminator.
MEMBERS = ("netG.", "generator.")
# The network gives back what it was given to this share of white, and twice as well as with the other activation.
GIVES_BACK = 0.1


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
    state = _unwrapped(loaded)
    if not isinstance(state, dict) or not state:
        raise ModelError(f"{path}: refused: holds no tensors by name, but {type(state).__name__}")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise ModelError(
                f"{path}: refused: {ascii(key)[:80]} is {type(tensor).__name__}, not a tensor; "
                f"a network's tensors are looked for under {', '.join(WRAPPERS)} and at the top"
            )
    if sum(tensor.numel() for tensor in state.values()) * NUMBER_BYTES > MOST_BYTES:
        raise ModelError(f"{path}: refused: its tensors have more than {MOST_BYTES:,} bytes")
    state = _without_prefix(state)
    if (network := other_network(state)) is not None:
        raise ModelError(f"{path}: {network}, which is not supported; expected {', '.join(layout.name for layout in LAYOUTS)}")
    for key, tensor in state.items():
        if tensor.dtype not in FLOATS:
            raise ModelError(f"{path}: refused: {ascii(key)[:80]} holds {tensor.dtype}, expected floating point")
    return {key: tensor.detach() for key, tensor in state.items()}


def _unwrapped(loaded: Any) -> Any:
    """What lies under a usual name, or under the only one."""
    for _ in range(DEEPEST):
        if not isinstance(loaded, dict):
            break
        keys = [key for key in WRAPPERS if isinstance(loaded.get(key), dict)] or (list(loaded) if len(loaded) == 1 else [])
        if not keys or not isinstance(loaded[keys[0]], dict):
            break
        loaded = loaded[keys[0]]
    return loaded


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's tensors by its own names; those of networks beside it are left out."""
    for prefix in (PARALLEL, *MEMBERS, PARALLEL):
        inside = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        if inside and (prefix in MEMBERS or len(inside) == len(state)):
            state = inside
    return state


def load_foreign(path: Path, activation: str | None = None) -> Model:
    """Any published RRDBNet or SRVGGNetCompact, as fp32. The card says where it comes from.

    ``activation``: "relu" or "leakyrelu" of a SRVGGNetCompact without slopes, whose file does not say it; None: the one with which
    the network gives back a picture. Strict: exactly the keys of one layout, every shape right, every number finite, or a ModelError
    of one line; an unknown layout's names the nearest.
    """
    tensors = read_foreign(path)
    try:
        layout, names = recognise(tensors)
        ours = {names[key]: tensor for key, tensor in tensors.items()}
        published = {mine: f"{layout.name}: {theirs}" for theirs, mine in names.items()}
        options = layout.options(ours)
        if layout.network == "compact" and "activation" not in options:
            options["activation"] = activation or _activation_of(options, ours, published, str(path))
        generator = empty_generator(layout.network, options, ours, published)
    except (ModelError, UsageError) as error:
        raise ModelError(f"{path}: {error}") from error
    load_strictly(generator, {key: tensor.float() for key, tensor in ours.items()}, str(path))
    return Model(path.stem, generator.eval(), {"source": path.name, "layout": layout.name})


@torch.inference_mode()
def _activation_of(options: dict[str, Any], tensors: dict[str, Tensor], published: dict[str, str], path: str) -> str:
    """The activation with which a SRVGGNetCompact gives back a picture that it enlarges. Raises ModelError when neither does."""
    places = torch.linspace(0, 6, 24)
    waves = (places.sin()[:, None] * (places * 1.7).cos()[None, :]) / 3 + 0.5
    picture = torch.stack([waves.roll(channel, 0) for channel in range(options["channels"])])[None]
    errors = {}
    for activation in ("relu", "leakyrelu"):
        generator = empty_generator("compact", options | {"activation": activation}, tensors, published)
        load_strictly(generator, {key: tensor.float() for key, tensor in tensors.items()}, path)
        reduced = F.avg_pool2d(generator(picture), generator.contract.scale)
        errors[activation] = float((reduced - picture).square().mean().sqrt())
    best, other = sorted(errors, key=errors.__getitem__)
    if not errors[best] < min(GIVES_BACK, errors[other] / 2):
        raise ModelError(
            "a SRVGGNetCompact without slopes, and it does not tell whether its activation is relu or leakyrelu; load it in Python with "
            'superscale.weights.foreign.load_foreign(path, activation="relu") and write it with save_model'
        )
    return best
