"""How good is it? Models measured on folders of pictures, tables and reports; `evaluate` is where to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from superscale.evaluation.table import Convention, Row, Table

if TYPE_CHECKING:
    from superscale.evaluation.measuring import evaluate

__all__ = ["Convention", "Row", "Table", "evaluate"]


def __getattr__(name: str) -> Any:
    if name != "evaluate":
        raise AttributeError(f"module 'superscale.evaluation' has no attribute {name!r}")
    from superscale.evaluation.measuring import evaluate  # and torch with it

    return evaluate
