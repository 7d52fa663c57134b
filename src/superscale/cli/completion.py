"""Names that a shell completes: models, metrics' baselines and recipes."""

from __future__ import annotations


def model_names(incomplete: str) -> list[str]:
    """Models that ``--model`` takes by name, beginning with ``incomplete``."""
    from superscale.weights.store import BUNDLED, added, downloaded

    return [name for name in (*BUNDLED, *added(), *downloaded()) if name.startswith(incomplete)]


def measured_names(incomplete: str) -> list[str]:
    """What ``evaluate --model`` takes: models, bicubic and bilinear."""
    return [*model_names(incomplete), *(name for name in ("bicubic", "bilinear") if name.startswith(incomplete))]


def recipe_names(incomplete: str) -> list[str]:
    """Bundled recipes."""
    from superscale.training.recipe.bundled import bundled_recipes

    return [name for name in bundled_recipes() if name.startswith(incomplete)]
