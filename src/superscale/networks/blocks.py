"""Layers that several networks share, two of them rewritten to run faster on a CPU with the same results."""

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
        """Apply the activation; the shape stays the same."""
        if torch.is_grad_enabled() and input.requires_grad and input.device.type == "cpu":
            output: Tensor = _SharedSlope.apply(input, self.weight)  # type: ignore[no-untyped-call]
            return output
        return super().forward(input)


class _SharedSlope(torch.autograd.Function):
    """max(x, 0) + slope * min(x, 0); torch's own backward pass of it reads and writes memory far more often than needed."""

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
    """``conv2d(pixel_shuffle(features, factor), weight, bias, padding=kernel // 2)`` without the large intermediate tensor.

    (B, C*factor², h, w) -> (B, O, h*factor, w*factor). Each output phase reads its taps directly from the unshuffled channels;
    the few extra products by zero cost less than moving the features.
    """
    padding = _phase_radius(weight.shape[-1], factor)
    unshuffled = F.conv2d(features, phase_weight(weight, factor), bias.repeat_interleave(factor**2), padding=padding)
    return F.pixel_shuffle(unshuffled, factor)


def _phase_radius(kernel: int, factor: int) -> int:
    return -(-(kernel // 2) // factor)


def phase_weight(weight: Tensor, factor: int) -> Tensor:
    """Kernel (O, C, k, k) on the fine grid -> the equal kernel (O*factor², C*factor², k', k') on the unshuffled grid."""
    outputs, inputs, kernel, _ = weight.shape
    radius = _phase_radius(kernel, factor)
    coarse = 2 * radius + 1
    spread = weight.new_zeros(outputs, factor, factor, inputs, factor, factor, coarse, coarse)
    offset = torch.arange(kernel, device=weight.device) - kernel // 2
    for row in range(factor):
        row_tap = torch.div(row + offset, factor, rounding_mode="floor") + radius
        for column in range(factor):
            column_tap = torch.div(column + offset, factor, rounding_mode="floor") + radius
            phases = ((row + offset) % factor)[:, None], (column + offset) % factor
            spread[:, row, column][:, :, *phases, row_tap[:, None], column_tap] = weight
    return spread.reshape(outputs * factor**2, inputs * factor**2, coarse, coarse)


def initialize_residual(module: nn.Module, gain: float = 0.1) -> None:
    """He initialisation scaled by ``gain``, for convolutions on residual branches (ESRGAN §3.1, "smaller initialization")."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
