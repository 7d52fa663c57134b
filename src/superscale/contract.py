"""What every upscaling network promises about its input and output."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT_BYTES = 4
# As many layers of the output's size are alive at once; measured 2.7 to 3.5 on a CPU for SRResNet and RRDBNet, 0.3 for compact.
LAYERS = 4


@dataclass(frozen=True, kw_only=True)
class Contract:
    """``scale``: output size over input size. ``channels``: colours in and out. ``multiple_of``: height and width must divide by it.

    ``receptive_field_px``: an output pixel depends on input at most this many input pixels away. ``overlap_px``: what lies
    farther away than this hardly matters; tiles that see so much around them equal the whole picture to 60 dB and more.
    ``features``: channels of the widest layer, on which the memory depends.
    """

    scale: int
    channels: int
    multiple_of: int
    receptive_field_px: int
    overlap_px: int
    features: int = 64

    @property
    def bytes_per_pixel(self) -> int:
        """What the network takes at most for one input pixel, in fp32."""
        return LAYERS * self.features * FLOAT_BYTES * self.scale**2
