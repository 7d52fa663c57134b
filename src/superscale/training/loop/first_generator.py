"""What a run begins with: the generator its recipe describes, with fresh weights or with those of a model."""

from __future__ import annotations

from dataclasses import replace

import torch

from superscale.errors import ModelError, RecipeError
from superscale.networks.catalog import config_of, describe, generator_of
from superscale.networks.generator import Generator
from superscale.training.recipe.schema import Recipe
from superscale.weights.checkpoint import load_strictly
from superscale.weights.grey import grey_generator
from superscale.weights.store import find_model


def with_generator(recipe: Recipe) -> Recipe:
    """The recipe with its generator written out: where it names none, that of the model it starts from.

    Raises RecipeError when that model has another scale; ModelError or UnknownNameError when there is no such model.
    """
    if recipe.generator is not None:
        return recipe
    generator = find_model(recipe.start).generator
    contract = generator.contract
    if contract.scale != recipe.scale:
        raise RecipeError(
            f"scale is {recipe.scale}, but {recipe.start} enlarges {contract.scale} times",
            ways_out=(f"scale={contract.scale}",),
        )
    return replace(recipe, generator=config_of(generator))


def first_generator(recipe: Recipe) -> Generator:
    """The network of the first step, drawn from the seed or the start's.

    Where the recipe's takes grey, a start that takes RGB is made one of grey. Raises RecipeError when the model to start from is another
    network than the recipe's.
    """
    config = with_generator(recipe).generator
    assert config is not None
    torch.manual_seed(recipe.seed)
    generator = generator_of(config)
    if recipe.start:
        start = find_model(recipe.start).generator
        if config.channels == 1 and start.contract.channels == 3:
            start = grey_generator(start)
        try:
            load_strictly(generator, start.state_dict(), recipe.start)
        except ModelError as error:
            raise RecipeError(
                f"start: {recipe.start} is {_shown(describe(start))}, the recipe trains {_shown(describe(generator))}; "
                "leave [generator] out to train the model's own network"
            ) from error
    return generator


def _shown(network: dict[str, object]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in network.items() if key != "name")
    return f"{network['name']} ({options})"
