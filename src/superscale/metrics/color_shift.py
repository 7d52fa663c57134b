"""ΔE2000: how far colours have moved, in units of just noticeable differences (CIE 142-2001; Sharma, Wu, Dalal 2005)."""

from __future__ import annotations

import torch
from torch import Tensor

from superscale.errors import UsageError
from superscale.metrics.planes import measured_planes

# Linear sRGB -> CIE XYZ, divided by the white point D65 (IEC 61966-2-1).
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
FULL_TURN = 2 * torch.pi


def delta_e(super_res: Tensor, high_res: Tensor, *, data_range: float, border: int) -> Tensor:
    """Mean ΔE2000 over the pixels of each picture, (B,) float64, 0 for equal ones, lower is better; about 1 is just noticeable.

    ``super_res``, ``high_res``: sRGB (B, 3, H, W), values 0 to ``data_range``. Colour is what it measures, so there is no
    choice of luma. Raises UsageError for other channels.
    """
    if super_res.shape[1] != 3:
        raise UsageError(f"ΔE2000 compares RGB planes (B, 3, H, W), got shape {tuple(super_res.shape)}")
    pair = measured_planes(super_res, high_res, data_range=data_range, border=border, color="rgb")
    first, second = (lab(planes / data_range) for planes in pair)
    return ciede2000(first, second).mean(dim=(-2, -1))


def lab(planes: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] -> CIE L*a*b* under D65."""
    linear = torch.where(planes <= 0.04045, planes / 12.92, ((planes.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(TO_XYZ, dtype=planes.dtype, device=planes.device)
    matrix = matrix / matrix.sum(dim=1, keepdim=True)
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29).unbind(dim=1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """L*a*b* (B, 3, ...) twice -> ΔE00 (B, ...), parametric factors 1 (Sharma, Wu, Dalal 2005, eq. 2 to 22)."""
    light1, a1, b1 = first.unbind(dim=1)
    light2, a2, b2 = second.unbind(dim=1)
    stretch = 1.5 - 0.5 * _ratio7((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2)
    a1, a2 = a1 * stretch, a2 * stretch
    chroma1, chroma2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    hue1, hue2 = torch.atan2(b1, a1) % FULL_TURN, torch.atan2(b2, a2) % FULL_TURN
    grey = chroma1 * chroma2 == 0
    turn = hue2 - hue1
    turn = torch.where(turn > torch.pi, turn - FULL_TURN, torch.where(turn < -torch.pi, turn + FULL_TURN, turn))
    turn = torch.where(grey, torch.zeros_like(turn), turn)
    hue_step = 2 * (chroma1 * chroma2).sqrt() * torch.sin(turn / 2)
    apart = (hue1 - hue2).abs() > torch.pi
    total = hue1 + hue2
    around = torch.where(total < FULL_TURN, total + FULL_TURN, total - FULL_TURN)
    hue = torch.where(grey, total, torch.where(apart, around, total) / 2)
    light, chroma = (light1 + light2) / 2, (chroma1 + chroma2) / 2
    weight = 1 - 0.17 * _cos(hue, 1, 30) + 0.24 * _cos(hue, 2, 0) + 0.32 * _cos(hue, 3, -6) - 0.20 * _cos(hue, 4, 63)
    off_middle = (light - 50) ** 2
    light_step = (light2 - light1) / (1 + 0.015 * off_middle / (20 + off_middle).sqrt())
    chroma_step = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    hue_step = hue_step / (1 + 0.015 * chroma * weight)
    blue = torch.exp(-(((hue.rad2deg() - 275) / 25) ** 2))
    rotation = -torch.sin(torch.deg2rad(60 * blue)) * 2 * _ratio7(chroma)
    return (light_step**2 + chroma_step**2 + hue_step**2 + rotation * chroma_step * hue_step).clamp(min=0).sqrt()


def _ratio7(chroma: Tensor) -> Tensor:
    seventh = chroma**7
    return (seventh / (seventh + 25.0**7)).sqrt()


def _cos(hue: Tensor, multiple: int, shift_degrees: float) -> Tensor:
    """A term of eq. 15: cos(multiple * hue - shift)."""
    return torch.cos(multiple * hue - torch.deg2rad(torch.tensor(shift_degrees, dtype=hue.dtype, device=hue.device)))
