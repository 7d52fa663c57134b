"""The properties of an upscaling network that tiling and memory estimates depend on."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT_BYTES = 4
# Layers of the output's size alive at once; measured on a CPU: 2.7 to 3.5 for SRResNet and RRDBNet, 0.3 for compact.
LAYERS = 4


@dataclass(frozen=True, kw_only=True)
class Contract:
    """``scale``: output size / input size. ``channels``: of input and output. ``multiple_of``: of height and width of the input.

    ``receptive_field_px``: the largest distance, in input pixels, of an input pixel that an output pixel depends on. ``overlap_px``:
    input around a tile with which the tiled result equals the whole image to 60 dB or more. ``features``: channels of the widest
    layer, which determine the memory.
    """

    scale: int
    channels: int
    multiple_of: int
    receptive_field_px: int
    overlap_px: int
    features: int = 64

    @property
    def bytes_per_pixel(self) -> int:
        """The most memory that the network takes for one input pixel, in fp32."""
        return LAYERS * self.features * FLOAT_BYTES * self.scale**2
