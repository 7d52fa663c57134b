"""The table as files: CSV, Markdown, LaTeX. CSV holds the values whole, as JSON does; the others print what the terminal prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from superscale.evaluation.benchmark import Convention, Row
from superscale.evaluation.cost import Cost
from superscale.evaluation.report import notes
from superscale.metrics.catalog import METRICS, heading, number

CSV_HEADER = ("data", "model", "metric", "statistic", "image", "value", "scale", "color", "border", "low_res")
TEX = {"\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
TEX |= {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "–": "--",
    "~": r"\textasciitilde{}",
}
TEX |= {"^": r"\textasciicircum{}"}


def to_csv(rows: Sequence[Row], convention: Convention) -> str:
    """Long form: one line a value, its convention on every line; ``statistic`` is image, mean or std."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    tail = (convention.scale, convention.color, convention.border, convention.low_res)
    for row in rows:
        head = (row.data, row.model, row.metric)
        writer.writerows((*head, "image", name, repr(value), *tail) for name, value in row.images.items())
        writer.writerow((*head, "mean", "", repr(row.mean), *tail))
        writer.writerow((*head, "std", "", repr(row.std), *tail))
    return stream.getvalue()


def metrics_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.metric for row in rows))


def summary(rows: Sequence[Row]) -> list[list[str]]:
    """A heading and one line a data set and model: mean ± std of every metric, the best mean of a data set starred."""
    metrics = metrics_of(rows)
    lines = [["data", "model", *map(heading, metrics)]]
    for data, model in dict.fromkeys((row.data, row.model) for row in rows):
        cells = {row.metric: row for row in rows if (row.data, row.model) == (data, model)}
        lines.append([data, model, *(_spread(cells[metric], rows) for metric in metrics)])
    return lines


def _spread(row: Row, rows: Sequence[Row]) -> str:
    means = [other.mean for other in rows if (other.data, other.metric) == (row.data, row.metric)]
    best = max(means) if METRICS[row.metric].higher_is_better else min(means)
    star = "*" if len(means) > 1 and row.mean == best else ""
    return f"{number(row.metric, row.mean)} ± {number(row.metric, row.std)}{star}"


def per_image(rows: Sequence[Row]) -> Iterator[tuple[str, list[list[str]]]]:
    """For each data set: a heading and one line a picture, models side by side under each metric."""
    for data in dict.fromkeys(row.data for row in rows):
        own = [row for row in rows if row.data == data]
        own.sort(key=lambda row: metrics_of(rows).index(row.metric))
        lines = [["image", *(f"{row.model}: {heading(row.metric)}" for row in own)]]
        for name in own[0].images:
            lines.append([name, *(number(row.metric, row.images[name]) for row in own)])
        yield data, lines


def cost_lines(costs: Sequence[Cost]) -> list[list[str]]:
    lines = [["data", "model", "time ↓", "peak memory ↓"]]
    return lines + [[cost.data, cost.model, cost.time, cost.memory] for cost in costs]


def to_markdown(rows: Sequence[Row], convention: Convention, costs: Sequence[Cost] = ()) -> str:
    """Mean ± std, cost, then every picture; GitHub's tables."""
    parts = [_markdown_table(summary(rows)), _sentence(rows, convention)]
    if costs:
        parts.append(_markdown_table(cost_lines(costs)))
    for data, lines in per_image(rows):
        parts += [f"## {data}", _markdown_table(lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(lines: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("*", "\\*") for cell in line] for line in lines]
    ruled = [escaped[0], ["---"] * len(lines[0]), *escaped[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def _sentence(rows: Sequence[Row], convention: Convention) -> str:
    return "; ".join([f"Mean ± standard deviation over pictures. {convention}", *notes(list(rows))])


def to_latex(rows: Sequence[Row], convention: Convention) -> str:
    """A booktabs table of mean ± std, the convention as its caption."""
    lines = [[_tex(cell) for cell in line] for line in summary(rows)]
    body = [" & ".join(line) + r" \\" for line in lines]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            r"\begin{tabular}{ll" + "r" * (len(lines[0]) - 2) + "}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\caption{" + _tex(_sentence(rows, convention)) + "}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)
