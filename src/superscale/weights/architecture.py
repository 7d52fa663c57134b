"""Networks that a file describes: their shapes are compared with the file's before any memory is taken, so that no number can invent one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from superscale.errors import ModelError
from superscale.networks.catalog import build_generator
from superscale.networks.generator import Generator
from superscale.weights.stored import check_keys, check_options


def empty_generator(
    network: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor], published: Mapping[str, str] | None = None
) -> Generator:
    """The described network, not filled yet. Raises ModelError when ``tensors`` lack one of its own, or have it in another shape.

    ``published``: our key -> the one that an error shows. Raises UsageError for options that no network has.
    """
    check_options(options, len(tensors))
    with unfilled():
        expected = (generator := build_generator(network, options)).state_dict()
    check_keys(expected, tensors)
    shown = published or {}
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape:
            shape = tuple(tensors[key].shape)
            raise ModelError(f"{shown.get(key, key)} has shape {shape}, expected {tuple(tensor.shape)}")
    # Memory at last. to_empty() would do, and import for seconds what it then does not use. What the calling program has made torch's
    # default, such as float64, is not what networks compute in.
    dtypes = {key: torch.float32 if tensor.is_floating_point() else tensor.dtype for key, tensor in expected.items()}
    empty = {key: torch.empty(tensor.shape, dtype=dtypes[key], device="cpu") for key, tensor in expected.items()}
    generator.load_state_dict(empty, assign=True)
    return generator


@contextmanager
def unfilled() -> Iterator[None]:
    """Networks that are built inside have shapes and no memory."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leaves out the random numbers of new layers: without memory they fill nothing, and torch takes seconds to import how not to."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))
