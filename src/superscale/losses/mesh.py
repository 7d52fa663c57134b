"""A loss against meshes: waves of any direction and a period of 2 to 4 pixels that a network lays over texture wherever it is unsure.

A perceptual loss rewards them as detail, and `losses.grid` sees horizontal and vertical ones alone. Texture spreads over all directions
in the spectrum; a wave that repeats is a peak.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from superscale.errors import UsageError
from superscale.metrics.mesh import WINDOW_PX, alone, excess

# Added to both ratios, to keep the logarithm finite. So little that a softer output has no lower loss: with 0.02, and the ratio
# around taken for a constant, a network learnt to blur.
FAINT = 1e-3
# How many times the power of its surroundings a wave may have: outputs without a mesh differ as much from their originals.
TOLERATED = 1.5


def mesh_loss(super_res: Tensor, high_res: Tensor, everywhere: Callable[[Tensor], Tensor] = alone) -> Tensor:
    """Measure how far single waves stand out of the spectrum of ``super_res``; (B, C, H, W) in [0, 1] -> a scalar.

    Power is averaged over the batch as in `metrics.mesh`, a channel at a time. ``everywhere``: from a tensor to the stack of those of all
    processes, so that many average over the batches of all. The result is the mean square of log(ratio / 1.5 / ratio of waves of about
    the same period in other directions), where positive, weighed by the original's power. Raises UsageError when a side is below 32
    pixels.
    """
    if min(super_res.shape[-2:]) < WINDOW_PX:
        raise UsageError(f"the spectrum of a mesh needs patches of {WINDOW_PX} pixels a side, got {tuple(super_res.shape)}")
    # A channel's images are laid side by side, as one plane's windows: (B, C, H, W) -> (C, B, H, W).
    waves = excess(super_res.transpose(0, 1), high_res.transpose(0, 1), everywhere)
    above = ((waves.ratio + FAINT) / (TOLERATED * (waves.around + FAINT))).log().clamp(min=0)
    return (waves.share * above.square()).mean()
