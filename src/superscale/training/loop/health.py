"""Is the run well? Steps that are not finite, statistics they must not spoil, and the signs by which a GAN is known to fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superscale.data.loader import Batch
from superscale.errors import TrainingError
from superscale.metrics.low_res_psnr import lr_psnr
from superscale.training.loop.steps import Numbers

# A GPU works ahead of Python; its flags are read together, every so many steps.
READ_EVERY_STEPS = 16
# Low-res pixels at a patch's border whose reduction reads beyond the patch (bicubic reaches two).
PATCH_BORDER_PX = 2


class Diverged(TrainingError):
    """The weights, or several steps in a row, are not finite: only an earlier state helps."""


@dataclass(frozen=True)
class Fault:
    """A step that moved nothing: its number, the images it saw, and what was not finite in it."""

    step: int
    patches: tuple[int, ...]
    not_finite: tuple[str, ...]


class FiniteCheck:
    """Tells for each step, on the device, whether all its numbers are finite; read on the host when asked."""

    def __init__(self) -> None:
        self.unread: list[tuple[int, tuple[int, ...], tuple[str, ...], Tensor]] = []

    def add(self, step: int, patches: tuple[int, ...], numbers: Numbers) -> Tensor:
        """A scalar bool. ``numbers``: losses and norms of gradients; the norm is not finite if one entry is not."""
        finite = torch.isfinite(torch.stack([value.float() for value in numbers.values()]))
        self.unread.append((step, patches, tuple(numbers), finite))
        return finite.all()

    def read(self, in_a_row: int) -> tuple[list[Fault], int]:
        """The faults since the last reading, and how many steps in a row are now bad, ``in_a_row`` having been so before."""
        faults = []
        for step, patches, names, finite in self.unread:
            bad = tuple(name for name, good in zip(names, finite.tolist(), strict=True) if not good)
            if bad:
                faults.append(Fault(step, patches, bad))
            in_a_row = in_a_row + 1 if bad else 0
        self.unread.clear()
        return faults, in_a_row


class RunningStatistics:
    """The buffers of networks (batch norm, spectral norm): a forward pass moves them before anyone knows whether it was good."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        self.live = [buffer for network in networks for buffer in network.buffers()]
        self.kept = [buffer.clone() for buffer in self.live]

    def keep(self) -> None:
        """Remember what they are now."""
        for kept, live in zip(self.kept, self.live, strict=True):
            kept.copy_(live)

    def restore_unless(self, good: Tensor) -> None:
        """Go back to what was kept, unless ``good``: a scalar bool on the device."""
        for kept, live in zip(self.kept, self.live, strict=True):
            live.copy_(torch.where(good, live, kept))


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raises Diverged when a tensor that would be saved is not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Diverged(f"{name} is not finite")


def norm_of_gradients(network: nn.Module) -> Tensor:
    """The Euclidean norm over all parameters."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def signals(super_res: Tensor, batch: Batch, scale: int) -> dict[str, float]:
    """What the losses do not show, of one batch: ``lr_psnr``, whether the output still is its input (dB between the output
    reduced by MATLAB's bicubic and the input, see `evaluation.reduction`), and ``sharpness_ratio``.
    """
    output, low_res, high_res = (planes.detach().float().cpu() for planes in (super_res, batch.low_res, batch.high_res))
    border = min(PATCH_BORDER_PX, (low_res.shape[-1] - 1) // 2)
    consistency = lr_psnr(output, low_res, scale=scale, data_range=1.0, border=border, color="rgb").mean()
    values = {"lr_psnr": float(consistency), "sharpness_ratio": float(sharpness(output) / sharpness(high_res))}
    return {name: value for name, value in values.items() if isfinite(value)}


def sharpness(image: Tensor) -> Tensor:
    """The mean absolute Laplacian (four neighbours) of a batch (B, C, H, W), a scalar."""
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return F.conv2d(image.flatten(0, 1)[:, None], kernel[None, None]).abs().mean()


# Reports in a row that a verdict rests on; how much the generator's loss grows over them before it counts as losing the game.
HISTORY = 4
RISE = 1.1


def verdicts(history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """What ails a GAN, from its latest reports, oldest first: a name each, and a sentence in plain English.

    Empty while all is well or too little is known.
    """
    latest = history[-HISTORY:]
    if len(latest) < HISTORY or any("accuracy_real" not in report for report in latest):
        return {}
    return dict(found for found in (_game(latest), _consistency(latest), _sharpness(latest)) if found is not None)


def _game(latest: Sequence[Mapping[str, float]]) -> tuple[str, str] | None:
    real, fake = ([report[f"accuracy_{kind}"] for report in latest] for kind in ("real", "fake"))
    adversarial = [report["adversarial"] for report in latest if "adversarial" in report]
    rising = len(adversarial) == HISTORY and all(a < b for a, b in pairwise(adversarial))
    if min(real + fake) > 0.97 and rising and adversarial[-1] > RISE * adversarial[0]:
        return "overpowered", (
            f"the discriminator overpowers the generator: it knows {100 * real[-1]:.0f} % of the real and {100 * fake[-1]:.0f} % of "
            f"the generated pictures, and the adversarial loss has risen for {HISTORY} reports; lower adversarial.learning_rate"
        )
    if max((a + b) / 2 for a, b in zip(real, fake, strict=True)) < 0.55:
        return "ignorant", (
            f"the discriminator has learnt nothing: it is right on {50 * (real[-1] + fake[-1]):.0f} % of the pictures, a coin on 50 %; "
            "raise adversarial.learning_rate or give it adversarial.alone_images"
        )
    return None


def _consistency(latest: Sequence[Mapping[str, float]]) -> tuple[str, str] | None:
    consistency = [report["lr_psnr"] for report in latest if "lr_psnr" in report]
    if len(consistency) == HISTORY and max(consistency) < 20:
        return "collapsed", (
            f"the GAN has collapsed: its output, reduced again, is {consistency[-1]:.0f} dB from its input, so it no longer shows "
            "what it was given; lower adversarial.weight or raise the weight of the pixel loss"
        )
    return None


def _sharpness(latest: Sequence[Mapping[str, float]]) -> tuple[str, str] | None:
    ratios = [report["sharpness_ratio"] for report in latest if "sharpness_ratio" in report]
    if len(ratios) == HISTORY and min(ratios) > 2:
        return "noise", (
            f"the generator invents noise: its output is {ratios[-1]:.1f} times as sharp as the truth; lower adversarial.weight"
        )
    if len(ratios) == HISTORY and max(ratios) < 0.2:
        return "blur", (
            f"the generator blurs: its output has {100 * ratios[-1]:.0f} % of the truth's sharpness; the adversarial loss does not "
            "reach it, raise adversarial.weight or train the stage before for longer"
        )
    return None
