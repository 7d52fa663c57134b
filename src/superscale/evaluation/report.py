"""A table -> text for a terminal, and JSON. Every number stands beside its convention."""

from __future__ import annotations

from typing import Any

from superscale.evaluation.benchmark import METRICS, Convention, Row

DIGITS = {"psnr": 2, "ssim": 4}
UP, DOWN = "↑", "↓"


def to_text(rows: list[Row], convention: Convention) -> str:
    """One line a model and data set, one column a metric (mean over pictures), best per data set starred; then the convention."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    header = ["data", "model", *(_heading(metric) for metric in metrics)]
    lines = [header]
    for data, model in dict.fromkeys((row.data, row.model) for row in rows):
        cells = {row.metric: row for row in rows if (row.data, row.model) == (data, model)}
        lines.append([data, model, *(_number(cells[metric], rows) for metric in metrics)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return f"{text}\n{convention}"


def _heading(metric: str) -> str:
    entry = METRICS[metric]
    unit = f" {entry.unit}" if entry.unit else ""
    return f"{metric.upper()}{unit} {UP if entry.higher_is_better else DOWN}"


def _number(row: Row, rows: list[Row]) -> str:
    means = [other.mean for other in rows if (other.data, other.metric) == (row.data, row.metric)]
    best = max(means) if METRICS[row.metric].higher_is_better else min(means)
    star = "*" if len(means) > 1 and row.mean == best else ""
    return f"{row.mean:.{DIGITS.get(row.metric, 4)}f}{star}"


def to_json(rows: list[Row], convention: Convention) -> dict[str, Any]:
    """The published shape of ``evaluate --json``."""
    return {
        "version": 1,
        "convention": convention.to_dict(),
        "rows": [
            {
                "model": row.model,
                "data": row.data,
                "metric": row.metric,
                "mean": row.mean,
                "std": row.std,
                "images": row.images,
            }
            for row in rows
        ],
    }
