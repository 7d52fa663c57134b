"""The bundled feature network in place of one whose weights are not on this machine."""

from __future__ import annotations

from dataclasses import replace

from superscale.metrics.features import FEATURE_NETWORKS
from superscale.training.recipe.schema import PerceptualConfig, Recipe
from superscale.weights.features import STUDENT, is_at_hand


def with_features_at_hand(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe with the bundled network where a stage's own has no weights here, and a sentence for each such stage.

    Layers that the bundled one lacks become its deepest. A recipe that says where the weights are (``weights``) is left as it is.
    """
    stages, said = dict(recipe.stage), []
    for name, stage in recipe.stage.items():
        if (wanted := stage.perceptual) is None or wanted.weights or is_at_hand(wanted.network):
            continue
        stages[name] = replace(stage, perceptual=_in_place_of(wanted))
        fetch = "; superscale models pull vgg19 fetches VGG19, for results as published" if wanted.network == "vgg19" else ""
        said.append(f"stage {name}: the weights of {wanted.network} are not on this machine, {STUDENT} takes its place{fetch}")
    return (replace(recipe, stage=stages) if said else recipe), said


def _in_place_of(wanted: PerceptualConfig) -> PerceptualConfig:
    known = FEATURE_NETWORKS[STUDENT].layers
    layers: dict[str, float] = {}
    for layer, weight in wanted.layers.items():
        there = layer if layer in known else known[-1]
        layers[there] = layers.get(there, 0.0) + weight
    return replace(wanted, network=STUDENT, layers=layers)
