"""Pieces that more than one figure uses, and two exact rewritings that make them fast on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PReLU(nn.PReLU):
    """``nn.PReLU`` with one slope for all channels and, on a CPU, a backward pass several times faster."""

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() and input.requires_grad and input.device.type == "cpu":
            output: Tensor = _SharedSlope.apply(input, self.weight)  # type: ignore[no-untyped-call]
            return output
        return super().forward(input)


class _SharedSlope(torch.autograd.Function):
    """max(x, 0) + slope * min(x, 0), whose own backward in torch visits memory far more often than it must."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(features, slope)
        return F.leaky_relu(features, float(slope))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        features, slope = ctx.saved_tensors
        (gradient,) = gradients
        to_features = torch.ops.aten.leaky_relu_backward(gradient, features, float(slope), False)
        to_slope = features.clamp(max=0).mul_(gradient).sum().to(slope.dtype).reshape(slope.shape)
        return to_features, to_slope


def conv_after_shuffle(features: Tensor, weight: Tensor, bias: Tensor, factor: int) -> Tensor:
    """``conv2d(pixel_shuffle(features, factor), weight, bias, padding=kernel // 2)`` without the large tensor in between.

    (B, C*factor², h, w) -> (B, O, h*factor, w*factor). Each output phase reads its taps straight from the channels that
    the shuffle would have moved; the few extra products by zero cost less than moving the features.
    """
    unshuffled = F.conv2d(
        features,
        phase_weight(weight, factor),
        bias.repeat_interleave(factor**2),
        padding=_phase_radius(weight.shape[-1], factor),
    )
    return F.pixel_shuffle(unshuffled, factor)


def _phase_radius(kernel: int, factor: int) -> int:
    return -(-(kernel // 2) // factor)


def phase_weight(weight: Tensor, factor: int) -> Tensor:
    """Kernel (O, C, k, k) on the fine grid -> the same map (O*factor², C*factor², k', k') between unshuffled grids."""
    outputs, inputs, kernel, _ = weight.shape
    radius = _phase_radius(kernel, factor)
    coarse = 2 * radius + 1
    spread = weight.new_zeros(outputs, factor, factor, inputs, factor, factor, coarse, coarse)
    offset = torch.arange(kernel, device=weight.device) - kernel // 2
    for row in range(factor):
        row_phase, row_tap = (row + offset) % factor, torch.div(row + offset, factor, rounding_mode="floor") + radius
        for column in range(factor):
            fine = column + offset
            column_phase, column_tap = fine % factor, torch.div(fine, factor, rounding_mode="floor") + radius
            spread[:, row, column][:, :, row_phase[:, None], column_phase, row_tap[:, None], column_tap] = weight
    return spread.reshape(outputs * factor**2, inputs * factor**2, coarse, coarse)


def initialize_residual(module: nn.Module, gain: float = 0.1) -> None:
    """He initialisation scaled down, for convolutions on residual branches (ESRGAN §3.1, "smaller initialization")."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def power_of_two(number: int) -> int | None:
    """The exponent of a power of two, or None."""
    return number.bit_length() - 1 if number > 0 and number & (number - 1) == 0 else None
