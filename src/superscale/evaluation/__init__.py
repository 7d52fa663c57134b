"""How good is it? Models measured on folders of pictures, tables and reports; `evaluate` is where to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superscale.evaluation.measuring import evaluate
    from superscale.evaluation.table import Convention, Row, Table

__all__ = ["Convention", "Row", "Table", "evaluate"]

# public name -> its module; torch is imported when `evaluate` is first used, not before
_MODULES = dict.fromkeys(("Convention", "Row", "Table"), "table") | {"evaluate": "measuring"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'superscale.evaluation' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"superscale.evaluation.{_MODULES[name]}"), name)
