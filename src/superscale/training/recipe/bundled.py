"""The recipes that come with the package."""

from __future__ import annotations

from importlib.resources import files

from superscale.errors import UnknownNameError


def bundled_recipes() -> list[str]:
    """The names of the bundled recipes, sorted."""
    folder = files("superscale") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """A bundled recipe as TOML. Raises UnknownNameError."""
    if name not in bundled_recipes():
        raise UnknownNameError("recipe", name, bundled_recipes())
    return (files("superscale") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
