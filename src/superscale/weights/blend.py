"""Network interpolation (ESRGAN, section 3.4): between a network trained for PSNR and one trained adversarially."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch

from superscale.errors import ModelError, UsageError
from superscale.networks.catalog import describe
from superscale.weights import store
from superscale.weights.checkpoint import Model


def blend(first: Model, second: Model, alpha: float) -> Model:
    """(1 - alpha) * first + alpha * second, of every parameter and running mean; the card names both.

    Neither is changed. Raises UsageError unless 0 <= alpha <= 1, ModelError when the networks differ in more than their weights.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must be between 0 ({first.name}) and 1 ({second.name}), got {alpha}")
    ours, theirs = describe(first.generator), describe(second.generator)
    if ours != theirs:
        different = [
            f"{key} {ours.get(key)} and {theirs.get(key)}" for key in ours | theirs if ours.get(key) != theirs.get(key)
        ]
        raise ModelError(
            f"{first.name} and {second.name} are different networks ({', '.join(different)}); only equal ones can be blended"
        )
    generator = deepcopy(first.generator)
    other = second.generator.state_dict()
    with torch.no_grad():
        for key, tensor in generator.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_((1 - alpha) * tensor + alpha * other[key])
    parents = [{"name": model.name, "card": model.card} for model in (first, second)]
    name = f"{first.name}+{second.name}@{alpha:g}"
    return Model(name, generator.eval(), {"blend": {"alpha": alpha, "parents": parents}})


def blend_named(first: str | Path, second: str | Path, alpha: float) -> Model:
    """`blend` of two models by name or file; the card also pins their files by sha256, but not runs that go on."""
    blended = blend(store.find_model(first), store.find_model(second), alpha)
    for parent, name in zip(blended.card["blend"]["parents"], (first, second), strict=True):
        path = store.model_path(name)
        parent["sha256"] = "" if path.is_dir() else store.sha256_of(path)
    return blended


def with_fidelity(name: str, fidelity: float) -> Model:
    """Between a bundled adversarial network (0) and its PSNR-oriented partner (1). Either of the two names them both.

    Raises UsageError for a fidelity outside [0, 1], UnknownNameError for a model without a partner.
    """
    if not 0 <= fidelity <= 1:
        raise UsageError(f"fidelity must be between 0 (most detail) and 1 (most faithful), got {fidelity}")
    pairs = {gan: psnr for gan, psnr in store.PSNR_PARTNERS.items() if gan in store.BUNDLED and psnr in store.BUNDLED}
    gan = next((gan for gan, psnr in pairs.items() if name in (gan, psnr)), None)
    if gan is None:
        if not pairs:
            raise UsageError(f"fidelity needs a bundled adversarial model and its PSNR-oriented partner; {name!r} has none")
        raise UsageError(f"{name} has no PSNR-oriented partner; fidelity works with {', '.join(pairs)}")
    return blend_named(gan, pairs[gan], fidelity)
