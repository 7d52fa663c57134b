"""How good the average is on pictures it never saw: PSNR-Y, SSIM-Y and the sample sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from superscale.data.pairs import Pair, PairFolder
from superscale.errors import Cancelled, DataError
from superscale.image.io import image_size
from superscale.image.picture import RGB
from superscale.image.pixels import change_depth, to_float, to_pixels
from superscale.machine import processes
from superscale.metrics.catalog import measure
from superscale.metrics.planes import Color
from superscale.metrics.ssim import WINDOW as SSIM_WINDOW_PX
from superscale.training.recipe.schema import Recipe
from superscale.training.run.log import write_sample_sheet

METRICS = ("psnr", "ssim")


def validation_pairs(recipe: Recipe) -> PairFolder | None:
    """The recipe's validation pictures, or None where it names none.

    Raises DataError when they do not fit, two share a name, or one is too small to be measured: all that their headers tell.
    """
    path = recipe.validation.path
    if not path:
        return None
    pairs = PairFolder(path, recipe.scale, recipe.data.rounding)
    names = Counter(picture.stem for picture in pairs.high_res)
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"{path}: two pictures are called {twice[0]}; rename one, since values are kept by name")
    for picture in pairs.high_res:
        size = image_size(picture)
        if min(size) // recipe.scale * recipe.scale < (least := SSIM_WINDOW_PX + 2 * recipe.scale):
            raise DataError(f"{picture}: {size[0]}x{size[1]} pixels are too few to validate on; at least {least}x{least}")
    return pairs


def validate(
    network: nn.Module, pairs: PairFolder, recipe: Recipe, device: torch.device, sheet: Path, stop: Callable[[], bool]
) -> dict[str, float]:
    """{"validation_psnr": dB, "validation_ssim": 0..1}, means over the pictures in the papers' convention (of bands: over
    all bands); writes ``sheet``.

    Several processes share the pictures, and all have the numbers. Raises Cancelled when ``stop``, asked before every picture
    and by all processes equally often, says so; one process asks before every module too, since a picture may take minutes.
    """

    channels = recipe.channels
    color: Color = "y" if channels in (1, 3) else "rgb"

    def upscale(pair: Pair) -> Any:
        require_channels(pair, channels)
        low_res = pair.low_res
        with torch.inference_mode(), _heeding(network, stop):
            planes = torch.from_numpy(to_float(low_res)).to(device)
            # A network of one channel sees grey once and colours one by one; the batch's planes become the output's channels again.
            batch = planes[:, None] if channels == 1 else planes[None]
            batch = batch[:1] if pair.one_channel else batch
            super_res = network(batch).flatten(0, 1)
            return to_pixels(super_res.expand(pair.high_res.shape[2], -1, -1), low_res.dtype)

    def asking(indices: range) -> Iterator[int]:
        for index in indices:
            _ask(stop)
            yield index

    everyones_turns = asking(range(0, len(pairs), processes.world_size()))
    own = processes.rank()
    own_pairs = (pairs[turn + own] for turn in everyones_turns if turn + own < len(pairs))
    own_values = [measure(upscale(pair), pair.high_res, METRICS, border=recipe.scale, color=color) for pair in own_pairs]
    values = processes.in_order(own_values)
    shown = []
    for index in asking(range(min(recipe.validation.samples, len(pairs)))):
        if own == 0:
            pair = pairs[index]
            shown.append(tuple(_shown(pixels) for pixels in (pair.low_res, upscale(pair), pair.high_res)))
    if own == 0:
        write_sample_sheet(sheet, shown)
    return {f"validation_{name}": sum(picture[name] for picture in values) / len(values) for name in METRICS}


def require_channels(pair: Pair, channels: int) -> None:
    """Raise DataError when a network of so many channels cannot take a validation picture."""
    own = pair.high_res.shape[2]
    if own != channels and not (channels == 1 and own == RGB):
        raise DataError(f"validation picture {pair.name}: has {own} channels, the generator takes {channels}")


def _shown(pixels: Any) -> Any:
    """As the sample sheet has it: uint8 (H, W, 3), of bands the first three."""
    return change_depth(pixels[..., np.minimum(np.arange(3), pixels.shape[2] - 1)], np.uint8)


def _ask(stop: Callable[[], bool]) -> None:
    if stop():
        raise Cancelled("asked to stop while validating")


@contextmanager
def _heeding(network: nn.Module, stop: Callable[[], bool]) -> Iterator[None]:
    """Ask before each of the network's modules, unless other processes would have to ask as often."""
    modules = network.modules() if processes.world_size() == 1 else ()
    hooks = [module.register_forward_pre_hook(lambda *_: _ask(stop)) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
