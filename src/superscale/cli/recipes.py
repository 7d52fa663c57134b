"""`superscale recipes`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from superscale.cli.completion import recipe_names
from superscale.cli.help import Command
from superscale.errors import UsageError

recipes = typer.Typer(help="The bundled recipes of training.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A bundled recipe's name.", autocompletion=recipe_names)]


@recipes.command("list", cls=Command)
def list_recipes() -> None:
    """Every bundled recipe and what it trains."""
    from superscale.training.recipe.bundled import bundled_recipes, recipe_text

    names = bundled_recipes()
    width = max(map(len, names))
    for name in names:
        print(f"{name:{width}}  {_purpose(recipe_text(name))}")


@recipes.command(cls=Command)
def show(name: Name) -> None:
    """Print a recipe."""
    from superscale.training.recipe.bundled import recipe_text

    print(recipe_text(name), end="")


@recipes.command(cls=Command)
def copy(
    name: Name,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Default: NAME.toml here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a recipe to a file that you can edit and train with."""
    from superscale.files import write_text
    from superscale.training.recipe.bundled import recipe_text

    text = recipe_text(name)
    target = output if output is not None else Path(f"{name}.toml")
    if target.suffix != ".toml":
        raise UsageError(f"{target}: a recipe's file ends in .toml")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; choose another file or add --overwrite")
    write_text(target, text)
    print(target)


def _purpose(text: str) -> str:
    """The first sentence of the comment that a recipe begins with."""
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<!et al)\.(?: |$)|: ", " ".join(comment))[0]
