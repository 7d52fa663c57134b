"""What a job would take, before it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from superscale.image.io import Image
from superscale.image.region import covering
from superscale.inference.channels import grouped
from superscale.inference.sizes import enlarged
from superscale.inference.upscaler import Upscaler

# A probe's side: large enough that a GPU's start of a kernel is not all that is measured.
PROBE_PX = 48
PROBES = 3


@dataclass(frozen=True)
class Estimate:
    """Sizes in pixels are exact; ``memory_bytes`` and ``seconds`` are rough."""

    width: int
    height: int
    output_width: int
    output_height: int
    tiles: int
    memory_bytes: int
    seconds: float


def seconds_per_pixel(upscaler: Upscaler) -> float:
    """Time of the network for one input pixel, measured on a small tile after a warm-up."""
    contract, backend = upscaler.contract, upscaler.engine.backend
    side = -(-PROBE_PX // contract.multiple_of) * contract.multiple_of
    probe = np.zeros((1, contract.channels, side, side), np.float32)
    backend(probe)
    taken: list[float] = []
    for _ in range(PROBES):
        began = time.monotonic()
        backend(probe)
        taken.append(time.monotonic() - began)
    return min(taken) / side**2


def estimate(image: Image, upscaler: Upscaler, pixel_seconds: float) -> Estimate:
    """What enlarging a picture would take."""
    contract, engine = upscaler.contract, upscaler.engine
    plan = covering(image.height, image.width, engine.tile_px, contract.multiple_of)
    seen = [region.grown(engine.overlap_px, image.height, image.width) for region in plan]
    areas = [region.height * region.width for region in seen]
    width = enlarged(image.width, upscaler.scale)
    height = enlarged(image.height, upscaler.scale)
    # Measurements pass through floats on their way.
    on_the_way = 0 if image.pixels.dtype in (np.uint8, np.uint16) else 2 * np.dtype(np.float32).itemsize
    sample_bytes = (image.pixels.itemsize + on_the_way) * (image.pixels.shape[2] + (image.alpha is not None))
    enlarged_bytes = max(width * height, image.height * image.width * contract.scale**2) * sample_bytes
    network_bytes = max(areas) * contract.bytes_per_pixel
    return Estimate(
        width=image.width,
        height=image.height,
        output_width=width,
        output_height=height,
        tiles=len(plan),
        # Three pictures are under way at once: read, enlarged, written.
        memory_bytes=image.pixels.nbytes * 2 + enlarged_bytes * 2 + network_bytes,
        seconds=sum(areas) * len(grouped(image, upscaler.options.bands)[1]) * pixel_seconds,
    )
