"""A network of RGB as one of grey: what it does with three equal channels, in one."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from superscale.errors import ModelError
from superscale.networks.catalog import config_of, generator_of
from superscale.networks.generator import Generator
from superscale.weights.checkpoint import load_strictly

RGB = 3


def grey_generator(generator: Generator) -> Generator:
    """The network of one channel that makes of grey the mean of what ``generator`` makes of grey repeated as RGB.

    Its first convolution is summed over the three colours it reads, its last averaged over the three it writes; for all catalogued
    networks, whose other layers know no colours. Raises ModelError for a network that does not take RGB.
    """
    config = config_of(generator)
    if config.channels != RGB:
        raise ModelError(f"expected a network of {RGB} channels to make one of grey from, got {config.channels}")
    grey = generator_of(replace(config, channels=1))
    shapes = {key: tensor.shape for key, tensor in grey.state_dict().items()}
    tensors = {key: _collapsed(tensor, shapes[key]) for key, tensor in generator.state_dict().items()}
    load_strictly(grey, tensors, "the network of grey")
    return grey.train(generator.training)


def _collapsed(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Both networks order pixels that are shuffled by channel first: (3 * cells, ...) becomes (3, cells, ...)."""
    if tensor.shape == shape:
        return tensor
    if tensor.shape[0] != shape[0]:
        tensor = tensor.reshape(RGB, shape[0], *tensor.shape[1:]).mean(dim=0)
    if tensor.ndim > 1 and tensor.shape[1] != shape[1]:
        tensor = tensor.reshape(tensor.shape[0], RGB, shape[1], *tensor.shape[2:]).sum(dim=1)
    return tensor
