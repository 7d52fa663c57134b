"""What JPEG does to a picture, batched on any device: baseline coding (ITU-T T.81) of JFIF's YCbCr with halved chroma, and back.

Only the losses are made: rounding to 8 bits, halving, quantisation, and the decoder's smooth doubling of chroma; the bits in between
would lose nothing. Equal to libjpeg but for the last bit of its integer transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import cos, pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from superscale.image.pixels import PEAK_8BIT

BLOCK = 8
MCU_PX = 2 * BLOCK  # with halved chroma, the coder works on squares of this side
MIDDLE = 128

# RGB -> YCbCr of full swing (ITU-T T.871, §7).
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))

# The example tables of ITU-T T.81, Annex K, tables K.1 and K.2, which libjpeg scales by quality.
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)


def jpeg(planes: Tensor, qualities: Sequence[int]) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] -> the same after coding and decoding picture i at ``qualities[i]`` (1 to 100, as libjpeg counts)."""
    height, width = planes.shape[-2:]
    samples = (planes.clamp(0, 1) * PEAK_8BIT).round()
    samples = F.pad(samples, (0, -width % MCU_PX, 0, -height % MCU_PX), mode="replicate")
    ycc = _mixed(samples, TO_YCC).round()  # both chroma around 0, luma around 128
    luma = _quantized(ycc[:, :1] - MIDDLE, _tables(LUMA_TABLE, qualities, planes)) + MIDDLE
    chroma = _quantized(F.avg_pool2d(ycc[:, 1:], 2).round(), _tables(CHROMA_TABLE, qualities, planes))
    doubled = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False).round()
    decoded = _mixed(torch.cat((luma, doubled), dim=1), TO_RGB).round().clamp(0, PEAK_8BIT)
    return decoded[..., :height, :width] / PEAK_8BIT


def scaled_table(table: Sequence[Sequence[int]], quality: int) -> list[list[int]]:
    """Quantisation steps at a quality, by libjpeg's rule: as printed at 50, twice at 25, all ones at 100."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [[min(max((step * percent + 50) // 100, 1), PEAK_8BIT) for step in row] for row in table]


def _tables(table: Sequence[Sequence[int]], qualities: Sequence[int], like: Tensor) -> Tensor:
    """(B, 1, 1, 8, 1, 8), to divide coefficients (B, C, rows, 8, columns, 8)."""
    steps = torch.tensor([scaled_table(table, quality) for quality in qualities], dtype=like.dtype)
    return steps.to(like.device, non_blocking=True)[:, None, None, :, None, :]


def _quantized(samples: Tensor, steps: Tensor) -> Tensor:
    """Samples around 0 (B, C, H, W) -> what is left of them after each 8x8 block's cosine coefficients were rounded to ``steps``."""
    transform = _cosines().to(samples)
    shape = samples.shape
    rows = transform @ samples.reshape(*shape[:2], -1, BLOCK, shape[-1])  # (B, C, H/8, 8, W)
    coefficients = rows.reshape(*rows.shape[:-1], -1, BLOCK) @ transform.T  # (B, C, H/8, 8, W/8, 8)
    kept = (coefficients / steps).round() * steps
    columns = (kept @ transform).reshape(rows.shape)
    return (transform.T @ columns).reshape(shape).round().clamp(-MIDDLE, MIDDLE - 1)


@cache
def _cosines() -> Tensor:
    """The orthonormal DCT-II of 8 samples as a matrix (T.81, A.3.3)."""
    rows = [
        [cos((2 * x + 1) * u * pi / (2 * BLOCK)) * sqrt((1 if u == 0 else 2) / BLOCK) for x in range(BLOCK)]
        for u in range(BLOCK)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _mixed(planes: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Each output plane a weighted sum of the three input planes."""
    return torch.einsum("oc,bchw->bohw", torch.tensor(matrix, dtype=planes.dtype).to(planes.device), planes)
