"""Train the feature network that recipes use where VGG19's own weights are not at hand: it learns another encoder's features.

    python tools/distil_features.py TEACHER.safetensors PACK -o features.safetensors

TEACHER: the weights of "vgg19-distilled" (see `superscale.weights.features`). PACK: photographs made ready by `superscale prepare`.
The student has the teacher's shape and fresh weights. One block of convolutions is trained after the other, then all of them. It sees random
crops; the second half of each batch is the first, blurred, noisy, or of other brightness. The losses, of features before activation: their
squared distance, and that of the difference between the halves, which is what a perceptual loss measures; each divided by the mean power of
the teacher's.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from superscale.data.pack import Pack
from superscale.metrics.features import FEATURE_NETWORKS, FeatureNetwork
from superscale.weights.features import feature_network

LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_1")
BATCH = 16
# Of the first layer, whose inputs are some sixty times as large as those of the others.
FIRST_LAYER_PART = 1 / 30


class Phase(NamedTuple):
    """``blocks``: those that learn; of the deepest, or of all that learn, the features are compared. ``side_px``: of the crops."""

    blocks: tuple[int, ...]
    steps: int
    learning_rate: float
    side_px: int


PHASES = (
    Phase((1,), 3000, 3e-3, 48),
    Phase((2,), 2000, 2e-3, 64),
    Phase((3,), 2000, 2e-3, 96),
    Phase((4,), 2000, 2e-3, 96),
    Phase((5,), 800, 2e-3, 96),
    Phase((1, 2, 3, 4, 5), 700, 5e-4, 96),
)


def crops(pack: Pack, step: int, side_px: int) -> Tensor:
    """A batch of crops (B, 3, S, S) in [0, 1] that depends on the step alone: half of them, then the same, changed."""
    random, half = np.random.default_rng((17, step)), BATCH // 2
    batch = []
    for _ in range(half):
        tile = pack.high_res(int(random.integers(len(pack))))
        top, left = (int(random.integers(side - side_px + 1)) for side in tile.shape[:2])
        crop = tile[top : top + side_px, left : left + side_px]
        batch.append(np.rot90(crop[:, ::-1] if random.random() < 0.5 else crop, int(random.integers(4))).copy())
    clean = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / np.iinfo(np.uint8).max
    kind = torch.from_numpy(random.integers(0, 4, half))
    noise = torch.from_numpy(random.standard_normal(clean.shape, dtype=np.float32)) * random.uniform(0.005, 0.08)
    smaller = [F.interpolate(clean, scale_factor=1 / factor, mode="area") for factor in (2, 4)]
    soft, softer = (F.interpolate(one, size=clean.shape[2:], mode="bicubic") for one in smaller)
    tinted = clean * random.uniform(0.8, 1.1) + random.uniform(-0.05, 0.05)
    changed = torch.stack([clean + noise, soft, softer + noise / 4, tinted])[kind, torch.arange(half)]
    return torch.cat([clean, changed.clamp(0, 1)]).contiguous(memory_format=torch.channels_last)


def initialized(network: FeatureNetwork) -> FeatureNetwork:
    """Fresh weights that neither fade nor grow from layer to layer, and gradients on."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        else:
            torch.nn.init.zeros_(parameter)
    network.requires_grad_(True)
    # VGG's published preprocessing: BGR in 0..255 less the mean of ImageNet.
    weight = torch.zeros(3, 3, 1, 1)
    for out, channel in enumerate((2, 1, 0)):
        weight[out, channel] = 255
    network.get_parameter("conv0.weight").data.copy_(weight)
    network.get_parameter("conv0.bias").data.copy_(-torch.tensor([103.939, 116.779, 123.68]))
    network.get_submodule("conv0").requires_grad_(False)
    return network


def train(student: FeatureNetwork, teacher: FeatureNetwork, pack: Pack, phase: Phase, first: int) -> None:
    """One phase, which begins with crop number ``first``; prints the errors of each layer from time to time."""
    layers = [layer for layer in LAYERS if int(layer[4]) in phase.blocks]
    learning = {name: one for name, one in student.named_parameters() if name[:4] == "conv" and int(name[4]) in phase.blocks}
    first_layer = [one for name, one in learning.items() if name.startswith("conv1_1.")]
    others = [one for name, one in learning.items() if not name.startswith("conv1_1.")]
    groups = [{"params": others, "part": 1.0}, {"params": first_layer, "part": FIRST_LAYER_PART}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]], betas=(0.9, 0.99), fused=True)
    errors: list[list[float]] = []
    for step in range(phase.steps):
        rate = phase.learning_rate * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / phase.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["part"]
        images = crops(pack, first + step, phase.side_px)
        with torch.no_grad():
            truth = teacher(images, frozenset(layers), False)
        seen = student(images, frozenset(layers), False)
        terms = [relative(seen[name], truth[name]) for name in layers]
        terms += [relative(changes(seen[name]), changes(truth[name])) for name in layers]
        optimizer.zero_grad()
        torch.stack(terms).sum().backward()
        optimizer.step()
        errors.append([term.item() for term in terms])
        if step % 200 == 199 or step + 1 == phase.steps:
            print(phase.blocks, step + 1, *(f"{error:.4f}" for error in np.mean(errors, axis=0)), flush=True)
            errors.clear()


def relative(seen: Tensor, truth: Tensor) -> Tensor:
    """The squared distance, divided by the power of the truth."""
    return F.mse_loss(seen, truth) / truth.square().mean()


def changes(features: Tensor) -> Tensor:
    """What changed in the second half of a batch against the first."""
    clean, changed = features.chunk(2)
    return changed - clean


def main() -> None:
    """Train, phase after phase, and write the student after each in half precision."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    pack, first = Pack(given.pack), 0
    teacher = feature_network("vgg19-distilled", LAYERS[-1], given.teacher)
    student = initialized(FeatureNetwork(FEATURE_NETWORKS["vgg19-student"], LAYERS[-1]))
    for phase in PHASES:
        train(student, teacher, pack, phase, first)
        first += phase.steps
        save_file({key: value.contiguous().half() for key, value in student.state_dict().items()}, given.output)


if __name__ == "__main__":
    main()
