"""A table -> text for a terminal, and JSON. Every number stands beside its convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from superscale.evaluation.benchmark import Convention, Row
from superscale.evaluation.cost import Cost
from superscale.metrics.catalog import METRICS, heading, number


def to_text(rows: list[Row], convention: Convention) -> str:
    """One line a model and data set, one column a metric (mean over pictures), best per data set starred; then the convention."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    header = ["data", "model", *(heading(metric) for metric in metrics)]
    lines = [header]
    for data, model in dict.fromkeys((row.data, row.model) for row in rows):
        cells = {row.metric: row for row in rows if (row.data, row.model) == (data, model)}
        lines.append([data, model, *(_starred(cells[metric], rows) for metric in metrics)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([text, str(convention), *notes(rows)])


def notes(rows: list[Row]) -> list[str]:
    """What the convention line does not say of the metrics used, a line each."""
    used = dict.fromkeys(row.metric for row in rows)
    return [f"{metric}: {METRICS[metric].note}" for metric in used if METRICS[metric].note]


def _starred(row: Row, rows: list[Row]) -> str:
    means = [other.mean for other in rows if (other.data, other.metric) == (row.data, row.metric)]
    best = max(means) if METRICS[row.metric].higher_is_better else min(means)
    star = "*" if len(means) > 1 and row.mean == best else ""
    return f"{number(row.metric, row.mean)}{star}"


def to_json(rows: list[Row], convention: Convention, costs: Sequence[Cost] = ()) -> dict[str, Any]:
    """The published shape of ``evaluate --json``; a value that is not finite (PSNR of equal pictures) is null."""
    notes = {row.metric: METRICS[row.metric].note for row in rows}
    return {
        "version": 1,
        "convention": convention.to_dict() | {"metrics": {metric: note for metric, note in notes.items() if note}},
        "rows": [
            {
                "model": row.model,
                "data": row.data,
                "metric": row.metric,
                "mean": finite(row.mean),
                "std": finite(row.std),
                "images": {name: finite(value) for name, value in row.images.items()},
            }
            for row in rows
        ],
        "costs": [asdict(cost) for cost in costs],
    }


def finite(value: float) -> float | None:
    return value if isfinite(value) else None
