"""What every generator promises about its input and output."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Contract:
    """``scale``: output size over input size. ``channels``: colours in and out. ``multiple_of``: height and width must divide by it.

    ``receptive_field_px``: an output pixel depends on input at most this many input pixels away. ``overlap_px``: what lies
    farther away than this hardly matters; tiles that see so much around them equal the whole picture to 60 dB and more.
    """

    scale: int
    channels: int
    multiple_of: int
    receptive_field_px: int
    overlap_px: int


class Generator(nn.Module):
    """Base of every super-resolution network: a module with a contract."""

    contract: Contract

    def __call__(self, low_res: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h*scale, w*scale)."""
        super_res: Tensor = super().__call__(low_res)
        return super_res
