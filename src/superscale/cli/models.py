"""`superscale models`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

models = typer.Typer(help="The bundled models.", no_args_is_help=True)


@models.command("list")
def list_models() -> None:
    """Name, scale, parameters and recipe of every bundled model."""
    from superscale.weights.store import BUNDLED, find_model

    for name in BUNDLED:
        model = find_model(name)
        parameters = sum(parameter.numel() for parameter in model.generator.parameters())
        print(f"{name}  ×{model.generator.contract.scale}  {parameters:,} parameters  {model.card.get('recipe', '')}")


@models.command()
def info(name: Annotated[str, typer.Argument(help="A bundled model's name, or a model file.")]) -> None:
    """The model's card: recipe, data, images seen, hardware, measured results."""
    from superscale.networks.catalog import describe
    from superscale.weights.store import find_model

    model = find_model(name)
    print(json.dumps({"name": model.name, "network": describe(model.generator), **model.card}, indent=2, ensure_ascii=False))
