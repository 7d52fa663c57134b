"""Train the feature network that recipes use where VGG19's own weights are not at hand: it learns another encoder's features.

    python tools/distil_features.py TEACHER.safetensors PACK -o features.safetensors --minutes 60

TEACHER: the weights of "vgg19-distilled" (see `superscale.weights.features`). PACK: photographs made ready by `superscale prepare`.
The student has the teacher's shape and fresh weights. It sees random crops, some of them blurred or noisy, as outputs of a generator
are. The loss is the squared distance of features before activation, each layer divided by the mean power of the teacher's.
A state is kept beside the output, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from superscale.data.pack import Pack
from superscale.metrics.features import FEATURE_NETWORKS, FeatureNetwork
from superscale.weights.features import feature_network

LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_1")
SIDE_PX, BATCH = 96, 16
LEARNING_RATE = 2e-3


def crops(pack: Pack, step: int) -> Tensor:
    """A batch of crops (B, 3, S, S) in [0, 1] that depends on the step alone; a third blurred, a third noisy."""
    random = np.random.default_rng((17, step))
    batch = []
    for _ in range(BATCH):
        tile = pack.high_res(int(random.integers(len(pack))))
        top, left = (int(random.integers(side - SIDE_PX + 1)) for side in tile.shape[:2])
        crop = tile[top : top + SIDE_PX, left : left + SIDE_PX]
        batch.append(np.rot90(crop[:, ::-1] if random.random() < 0.5 else crop, int(random.integers(4))).copy())
    planes = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / np.iinfo(np.uint8).max
    third = BATCH // 3
    small = F.interpolate(planes[:third], scale_factor=0.5, mode="area")
    planes[:third] = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    noise = torch.from_numpy(random.standard_normal(planes[third : 2 * third].shape, dtype=np.float32))
    planes[third : 2 * third] = (planes[third : 2 * third] + noise * random.uniform(0.01, 0.06)).clamp(0, 1)
    return planes.contiguous(memory_format=torch.channels_last)


def initialized(network: FeatureNetwork) -> FeatureNetwork:
    """Fresh weights that neither fade nor grow from layer to layer, and gradients on."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        else:
            torch.nn.init.zeros_(parameter)
    return network.requires_grad_(True)


def main() -> None:
    """Train until the time is over, and print the error of each layer from time to time."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=12_000)
    given = parser.parse_args()
    pack, wanted = Pack(given.pack), frozenset(LAYERS)
    teacher = feature_network("vgg19-distilled", LAYERS[-1], given.teacher)
    student = initialized(FeatureNetwork(FEATURE_NETWORKS["vgg19-distilled"], LAYERS[-1]))
    optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE, fused=True)
    state, first = given.output.with_suffix(".state"), 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        student.load_state_dict(saved["student"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    end = time.monotonic() + 60 * given.minutes
    errors: list[list[float]] = []
    for step in range(first, given.steps):
        rate = LEARNING_RATE * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * step / given.steps))
        optimizer.param_groups[0]["lr"] = float(rate)
        images = crops(pack, step)
        with torch.no_grad():
            truth = teacher(images, wanted, False)
        seen = student(images, wanted, False)
        terms = [F.mse_loss(seen[name], truth[name]) / truth[name].square().mean() for name in LAYERS]
        torch.stack(terms).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append([term.item() for term in terms])
        if step % 200 == 199 or time.monotonic() > end:
            print(
                step + 1,
                " ".join(f"{name} {error:.4f}" for name, error in zip(LAYERS, np.mean(errors, 0), strict=True)),
                flush=True,
            )
            errors.clear()
            torch.save({"student": student.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, state)
            save_file({key: value.contiguous().half() for key, value in student.state_dict().items()}, given.output)
        if time.monotonic() > end:
            break
    print(json.dumps({key: list(value.shape) for key, value in load_file(given.output).items()}))


if __name__ == "__main__":
    main()
