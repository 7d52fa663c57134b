"""`superscale models`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from superscale.cli.progress import say

models = typer.Typer(help="The bundled models.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """Name, scale, parameters and recipe of every bundled model."""
    from superscale.weights.store import BUNDLED

    entries = [_facts(name) for name in BUNDLED]
    if as_json:
        print(json.dumps({"version": 1, "models": entries}, ensure_ascii=True))
        return
    for entry in entries:
        more = [str(entry["card"][key]) for key in ("recipe", "licence") if key in entry["card"]]
        print("  ".join([entry["name"], f"×{entry['scale']}", f"{entry['parameters']:,} parameters", *more]))
    if not entries:
        say("no model is bundled with this installation; any model file can be given by its path")


@models.command()
def info(name: Annotated[str, typer.Argument(help="A bundled model's name, or a model file.")]) -> None:
    """The model's card as JSON: network, recipe, data, licence, images seen, hardware, measured results, sha256."""
    facts = _facts(name)
    card = facts.pop("card")
    # A card may say anything; what we know ourselves is not overruled by it.
    print(json.dumps({**card, **facts}, indent=2, ensure_ascii=True))


@models.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="A bundled model's name; default: all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the sha256 of bundled models with the published one."""
    from superscale.errors import ModelError
    from superscale.weights.store import BUNDLED, verify_model

    results: list[dict[str, Any]] = []
    for one in [name] if name is not None else BUNDLED:
        try:
            results.append({"name": one, "sha256": verify_model(one), "ok": True, "error": None})
        except ModelError as error:
            results.append({"name": one, "sha256": None, "ok": False, "error": str(error)})
            say(f"failed: {one}: {error}")
        else:
            if not as_json:
                print(f"{one}  ok  {results[-1]['sha256']}")
    if as_json:
        print(json.dumps({"version": 1, "models": results}))
    if not all(result["ok"] for result in results):
        raise SystemExit(1)


@models.command()
def pull(name: Annotated[str, typer.Argument(help="A bundled model's name.")]) -> None:
    """Make a model available offline. Every published model is bundled, so this only checks that it is there and whole."""
    from superscale.weights.store import verify_model

    verify_model(name)
    print(f"{name}: bundled, nothing to download")


def _facts(name: str) -> dict[str, Any]:
    from superscale.networks.catalog import describe
    from superscale.weights.store import find_model, model_path, sha256_of

    model = find_model(name)
    return {
        "name": model.name,
        "network": describe(model.generator),
        "scale": model.generator.contract.scale,
        "parameters": sum(parameter.numel() for parameter in model.generator.parameters()),
        "sha256": sha256_of(model_path(name)),
        "card": model.card,
    }
