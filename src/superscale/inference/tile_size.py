"""How large a tile fits into the memory that is left."""

from __future__ import annotations

import torch

from superscale.networks.generator import Generator

# Few sizes, so that a little more or less memory changes neither the tiles nor, by a level, the picture.
SIDES_PX = (512, 384, 256, 192, 128, 96, 64, 48, 32)
# Beyond these the cost of the overlap is small, and a CPU's caches are left.
LARGEST_PX = {"cpu": 192}
# The rest is for the pictures themselves and for what other programs take meanwhile.
SHARE = 0.5
# What is assumed where a system does not tell.
UNKNOWN_BYTES = 2 * 1024**3
FLOAT_BYTES = 4
# As many layers of the output's size are alive at once; measured 2.7 to 3.5 on a CPU for SRResNet and RRDBNet, 0.3 for compact.
LAYERS = 4
FEATURES = 64


def bytes_per_pixel(generator: Generator) -> int:
    """What a network takes at most for one input pixel, in fp32."""
    features = int(getattr(getattr(generator, "config", None), "features", FEATURES))
    return LAYERS * features * FLOAT_BYTES * generator.contract.scale**2


def tile_that_fits(pixel_bytes: int, overlap_px: int, device: torch.device, free: int) -> int:
    """The largest of a few tile sides, in input pixels, that takes no more than half of ``free`` bytes; the smallest if none does."""
    for side in SIDES_PX:
        if side <= LARGEST_PX.get(device.type, side) and (side + 2 * overlap_px) ** 2 * pixel_bytes <= SHARE * free:
            return side
    return SIDES_PX[-1]
