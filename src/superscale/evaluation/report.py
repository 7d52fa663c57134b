"""The table as files: JSON, CSV, Markdown, LaTeX. JSON and CSV hold whole values, the others what the terminal prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from superscale.evaluation.cost import Cost
from superscale.evaluation.table import Row, Table
from superscale.image.pixels import PEAK_8BIT
from superscale.metrics.notation import METRICS, heading, number

CSV_HEADER = ("data", "model", "metric", "statistic", "image", "value", "scale", "color", "border", "low_res")
TEX = {"\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
TEX |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$", "Δ": r"$\Delta$", "±": r"$\pm$", "–": "--"}
TEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def to_json(table: Table) -> dict[str, Any]:
    """The published shape of a table; a value that is not finite (PSNR of equal pictures) is null."""
    notes = {metric: METRICS[metric].note for metric in table.metrics if METRICS[metric].note}
    return {
        "version": 1,
        "convention": table.convention.to_dict() | {"metrics": notes},
        "rows": [_row_json(row) for row in table],
        "costs": [asdict(cost) for cost in table.costs],
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "model": row.model,
        "data": row.data,
        "metric": row.metric,
        "mean": _finite(row.mean),
        "std": _finite(row.std),
        "images": {name: _finite(value) for name, value in row.images.items()},
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def to_csv(table: Table) -> str:
    """Long form: one line a value, its convention on every line; ``statistic`` is image, mean or std.

    Other depths and peaks than those of 8 bits have the last columns ``bits`` and ``peak``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    convention = table.convention
    is_plain = (convention.bits, convention.peaks) == ((8,), (PEAK_8BIT,))
    depths = () if is_plain else (" ".join(map(str, convention.bits)), " ".join(map(str, convention.peaks)))
    writer.writerow((*CSV_HEADER, *(() if is_plain else ("bits", "peak"))))
    tail = (convention.scale, convention.color, convention.border, convention.low_res, *depths)
    for row in table:
        head = (row.data, row.model, row.metric)
        writer.writerows((*head, "image", name, repr(value), *tail) for name, value in row.images.items())
        writer.writerow((*head, "mean", "", repr(row.mean), *tail))
        writer.writerow((*head, "std", "", repr(row.std), *tail))
    return stream.getvalue()


def summary(table: Table) -> list[list[str]]:
    """A heading and one line a data set and model: mean ± std of every metric, the best mean of a data set starred."""
    return table.lines(lambda row: f"{row.printed} ± {number(row.metric, row.std)}")


def per_image(table: Table) -> Iterator[tuple[str, list[list[str]]]]:
    """For each data set: a heading and one line a picture, models side by side under each metric."""
    for data in dict.fromkeys(row.data for row in table):
        own = sorted((row for row in table if row.data == data), key=lambda row: table.metrics.index(row.metric))
        lines = [["image", *(f"{row.model}: {heading(row.metric)}" for row in own)]]
        for name in dict.fromkeys(name for row in own for name in row.images):
            lines.append([name, *(row.of(name) for row in own)])
        yield data, lines


def cost_lines(costs: Sequence[Cost]) -> list[list[str]]:
    """A heading and one line a data set and model: time and peak memory."""
    lines = [["data", "model", "time ↓", "peak memory ↓"]]
    return lines + [[cost.data, cost.model, cost.time, cost.memory] for cost in costs]


def to_markdown(table: Table) -> str:
    """Mean ± std, cost, then every picture; GitHub's tables."""
    parts = [_markdown_table(summary(table)), _sentence(table)]
    if table.costs:
        parts.append(_markdown_table(cost_lines(table.costs)))
    for data, lines in per_image(table):
        parts += [f"## {data}", _markdown_table(lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(lines: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("*", "\\*") for cell in line] for line in lines]
    ruled = [escaped[0], ["---"] * len(lines[0]), *escaped[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def _sentence(table: Table) -> str:
    return "; ".join([f"Mean ± standard deviation over pictures. {table.convention}", *table.notes])


def to_latex(table: Table) -> str:
    """A booktabs table of mean ± std, the convention as its caption."""
    head, *body = (" & ".join(map(_tex, line)) + r" \\" for line in summary(table))
    columns = "ll" + "r" * len(table.metrics)
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, rf"\caption{{{_tex(_sentence(table))}}}", r"\end{table}", ""])


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)
