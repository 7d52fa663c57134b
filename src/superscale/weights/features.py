"""Published weights of the networks whose features the perceptual loss compares, by path or from the cache, sha256 checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from superscale.errors import ModelError, UnknownNameError
from superscale.metrics.features import FEATURE_NETWORKS, FeatureNetwork
from superscale.weights.checkpoint import load_strictly, load_tensors
from superscale.weights.foreign import read_pickled
from superscale.weights.published import PUBLISHED
from superscale.weights.store import Published, bundled_folder, cache_folder

RANDOM_SEED = 0
VGG19 = PUBLISHED["vgg19"]


def torchvision_vgg19(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``features.0.weight`` ... (torchvision's numbering of layers and activations) -> ``conv1_1.weight`` ...; classifier dropped."""
    renamed: dict[str, Tensor] = {}
    number = 0
    for name in FEATURE_NETWORKS["vgg19"].layers:
        number += 1 if name.endswith("_1") and name != "conv1_1" else 0  # the max-pool before it
        for part in ("weight", "bias"):
            key = f"features.{number}.{part}"
            if key not in tensors:
                raise ModelError(f"not torchvision's VGG19: {key} is missing")
            renamed[f"{name}.{part}"] = tensors[key]
        number += 2  # the convolution and its ReLU
    return renamed


def distilled_vgg19(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``conv11.weight`` ... (Collaborative Distillation) -> ``conv1_1.weight`` ...; ``conv0`` kept, auxiliary projections dropped."""
    kept = {key: tensor for key, tensor in tensors.items() if "_aux" not in key}
    return {key if key.startswith("conv0.") else f"{key[:5]}_{key[5:]}": tensor for key, tensor in kept.items()}


# name -> the published file, and the translation of its keys
FEATURE_FILES: dict[str, tuple[Published, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]]] = {
    "vgg19": (
        Published(VGG19.file, VGG19.sha256, f"{VGG19.address} (superscale models pull vgg19)"),
        torchvision_vgg19,
    ),
    "vgg19-distilled": (
        Published(
            "vgg19-distilled-16x.safetensors",
            "912054bfa4e3912ed27003d900ea23196d4de5043e532a7195965b0114729af1",
            "Collaborative Distillation's 16x VGG19 encoder (MIT), converted to safetensors",
        ),
        distilled_vgg19,
    ),
    "vgg19-student": (
        Published(
            "vgg19-student.safetensors",
            "82bc8080c6b952b97a3bd1fa94e2cf384052894d1c6352e22083922a34f172b1",
            "superscale's own package: install it again",
        ),
        dict,
    ),
}


# The one that is bundled.
STUDENT = "vgg19-student"


def is_at_hand(name: str) -> bool:
    """Whether a feature network can be used now: its weights lie where they are looked for, or are not needed."""
    return name not in FEATURE_FILES or _place(name).is_file()


def _place(name: str) -> Path:
    return (bundled_folder() if name == STUDENT else cache_folder()) / FEATURE_FILES[name][0].file


def feature_network(name: str, deepest: str, weights: str | Path | None = None) -> FeatureNetwork:
    """A frozen `FeatureNetwork` as far as ``deepest``, weights from ``weights`` (a path) or from where they are looked for: the cache folder,
    the package for the bundled one.

    Raises ModelError, with what to fetch and where to put it, when the file is absent or its sha256 is another.
    """
    if name not in FEATURE_NETWORKS:
        raise UnknownNameError("feature network", name, FEATURE_NETWORKS)
    if name not in FEATURE_FILES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return FeatureNetwork(FEATURE_NETWORKS[name], deepest)
    network = FeatureNetwork(FEATURE_NETWORKS[name], deepest)
    published, translate = FEATURE_FILES[name]
    path = Path(weights) if weights else _place(name)
    published.check(
        path, f"the feature network {name!r}", "for a training say in the recipe where it is: stage.gan.perceptual.weights=FILE"
    )
    tensors = translate(load_tensors(path) if path.suffix == ".safetensors" else read_pickled(path))
    wanted = network.state_dict().keys()
    load_strictly(network, {key: tensor for key, tensor in tensors.items() if key in wanted}, str(path))
    return network
