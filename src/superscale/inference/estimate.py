"""What a job would take, before it is done."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from superscale.image.io import Image
from superscale.image.region import Region
from superscale.inference.channels import grouped
from superscale.inference.sizes import enlarged
from superscale.inference.upscaler import Upscaler

# A probe's side: large enough that a GPU's start of a kernel is not all that is measured.
PROBE_PX = 48
PROBES = 3
# Of a scene that is read and written by windows: GDAL's blocks and a strip.
WINDOWS_BYTES = 500_000_000


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


def memory_bytes(height: int, width: int, pixel_bytes: int, upscaler: Upscaler) -> int:
    """What enlarging a picture of ``height`` x ``width`` in memory would take; ``pixel_bytes``: of all samples of one pixel."""
    pixels = height * width + math.prod(enlarged(height, width, upscaler.scale))
    # Three pictures are under way at once: read, enlarged, written.
    return 2 * pixels * pixel_bytes + tile_bytes(height, width, upscaler)


def tile_bytes(height: int, width: int, upscaler: Upscaler) -> int:
    """What the network takes for the largest tile of a picture."""
    return max(_areas(height, width, upscaler)) * upscaler.contract.bytes_per_pixel


def _areas(height: int, width: int, upscaler: Upscaler) -> list[int]:
    return [part.seen.height * part.seen.width for part in upscaler.parts(height, width)]


def estimate(image: Image, upscaler: Upscaler, pixel_seconds: float, by_windows: bool = False) -> Estimate:
    """What enlarging a picture would take, in memory or ``by_windows``."""
    height, width, areas = image.height, image.width, _areas(image.height, image.width, upscaler)
    output_height, output_width = enlarged(height, width, upscaler.scale)
    groups = grouped(image.part(Region(0, 0, 1, 1)), upscaler.options.bands, upscaler.contract.channels)[1]
    pixel_bytes = image.pixels.itemsize * (image.channels + (image.alpha is not None))
    window_bytes = WINDOWS_BYTES + tile_bytes(height, width, upscaler)
    return Estimate(
        width=width,
        height=height,
        output_width=output_width,
        output_height=output_height,
        tiles=len(areas),
        memory_bytes=window_bytes if by_windows else memory_bytes(height, width, pixel_bytes, upscaler),
        seconds=sum(areas) * len(groups) * pixel_seconds,
    )
