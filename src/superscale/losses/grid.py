"""Against the artefact of sub-pixel upsampling: a pattern that repeats with every low-resolution pixel.

Pooled features do not see it and a young discriminator does not punish it, while it looks like detail to both; the pixel losses
weigh it no more than honest texture.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# Low-res pixels a side over which a pattern must persist to count as one.
WINDOW = 6


def grid_loss(super_res: Tensor, high_res: Tensor, scale: int) -> Tensor:
    """How far the difference of two batches (B, C, H, W) depends on the place within the scale x scale cell, a scalar.

    The difference is sorted by phase, averaged over windows of 6x6 cells, where texture cancels and a pattern stays, and freed
    of the mean of all phases, which is brightness and not pattern. Mean absolute value.
    """
    phases = F.pixel_unshuffle(super_res - high_res, scale)  # (B, C*scale², h, w)
    window = min(WINDOW, *phases.shape[-2:])
    averaged = F.avg_pool2d(phases, window, stride=max(window // 2, 1))
    persistent = averaged.reshape(averaged.shape[0], -1, scale**2, *averaged.shape[-2:])
    pattern: Tensor = persistent - persistent.mean(dim=2, keepdim=True)
    return pattern.abs().mean()
