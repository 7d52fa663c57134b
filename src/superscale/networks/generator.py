"""`Generator`, the base of every super-resolution network."""

from __future__ import annotations

from torch import Tensor, nn

from superscale.contract import Contract


class Generator(nn.Module):
    """A module that upscales, with a ``contract`` that states its scale, channels and receptive field."""

    contract: Contract

    def __call__(self, low_res: Tensor) -> Tensor:
        """Upscale a batch: (B, C, h, w) -> (B, C, h*scale, w*scale)."""
        super_res: Tensor = super().__call__(low_res)
        return super_res
