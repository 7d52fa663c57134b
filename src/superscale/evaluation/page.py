"""The table as one self-contained HTML page: `report.html` filled with the printed numbers, a plot and crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from math import inf, isnan
from pathlib import Path, PurePath

from superscale.evaluation.report import cost_lines, per_image, summary, to_csv, to_json, to_latex, to_markdown
from superscale.evaluation.table import Row, Table
from superscale.files import write_texts
from superscale.metrics.notation import METRICS, PERCEPTUAL, heading, number

# A report shows this many of the worst pictures.
MOST_CROPS = 24
# What a crop shows, beside "model NAME".
TRUTH = "truth"
INPUT = "input"
# (data, picture) -> what -> the crop's address
Gallery = Mapping[tuple[str, str], Mapping[str, str]]
NO_CROPS: Gallery = {}


def write_report(folder: Path, table: Table, crops: Gallery = NO_CROPS) -> list[str]:
    """The table as CSV, JSON, Markdown, LaTeX and a page, in a folder that is made if need be; the files' names."""
    texts = {
        "results.csv": to_csv(table),
        "results.json": json.dumps(to_json(table), indent=1, ensure_ascii=False) + "\n",
        "results.md": to_markdown(table),
        "results.tex": to_latex(table),
        "report.html": to_html(table, crops),
    }
    write_texts(folder, texts)
    return list(texts)


def to_html(table: Table, crops: Gallery = NO_CROPS) -> str:
    """The whole page as text; it asks nothing of a network. ``crops``: of `Crops.keep`, in the order in which they are shown."""
    body = {
        "summary": _table(summary(table), "summary"),
        "convention": "<br>".join(map(escape, [str(table.convention), *table.notes])),
        "costs": _table(cost_lines(table.costs), "costs") if table.costs else "",
        "planes": f'<div class="planes">{"".join(planes)}</div>' if (planes := _planes(table)) else "",
        "images": "".join(f"<h3>{escape(data)}</h3>{_table(lines, 'images')}" for data, lines in per_image(table)),
        "crops": "".join(_viewer(data, name, pieces, table) for (data, name), pieces in crops.items()),
        "results": _script_json(to_json(table)),
    }
    page = files("superscale.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    # One pass over the template: what is filled in is never searched for marks again.
    parts = page.split("{{")
    return parts[0] + "".join(body[name] + rest for name, rest in (part.split("}}", 1) for part in parts[1:]))


def _script_json(content: object) -> str:
    # "<" would let a file name end the script element.
    return json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")


def _table(lines: list[list[str]], kind: str) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in lines[0])
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in line)}</tr>" for line in lines[1:])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{kind}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(text: str) -> str:
    return f"<td{' class=best' if text.endswith('*') else ''}>{escape(text)}</td>"


def worst_first(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(data, picture), by the first metric of the last model, the worst first."""
    metric = rows[0].metric
    model = rows[-1].model
    sign = 1 if METRICS[metric].higher_is_better else -1
    values = [
        (sign * value if not isnan(value) else -inf, row.data, name)
        for row in rows
        if (row.metric, row.model) == (metric, model)
        for name, value in row.images.items()
    ]
    return [(data, name) for _, data, name in sorted(values)]


def _viewer(data: str, name: str, pieces: Mapping[str, str], rows: Sequence[Row]) -> str:
    title = escape(f"{data} / {name}", quote=True)
    models = [what for what in pieces if what not in (TRUTH, INPUT)]
    figures = [_figure(INPUT, "input", ["low-res, pixels enlarged"], pieces[INPUT])]
    for what in models:
        model = what.removeprefix("model ")
        own = [row for row in rows if (row.data, row.model) == (data, model)]
        values = [f"{heading(row.metric)} {number(row.metric, row.images[name])}" for row in own]
        figures.append(_figure("model", model, values, pieces[what]))
    figures.append(_figure(TRUTH, "truth", ["high-res"], pieces[TRUTH]))
    return (
        f'<section class="viewer" tabindex="0" aria-label="{title}" data-name="{title}">'
        f'<h3>{title}</h3><div class="row">{"".join(figures)}</div></section>'
    )


def _figure(kind: str, title: str, values: Sequence[str], url: str) -> str:
    title = escape(title, quote=True)
    # A number stays beside its name when the line is full.
    facts = " · ".join(f"<span>{escape(value)}</span>" for value in values)
    return (
        f'<figure class="{kind}"><div class="pane"><img src="{url}" alt="{title}"></div>'
        f"<figcaption><b>{title}</b> {facts}</figcaption></figure>"
    )


def _planes(table: Table) -> list[str]:
    """The perception-distortion plane (Blau, Michaeli 2018) of each data set, one point a model."""
    perceptual = next((metric for metric in PERCEPTUAL if metric in table.metrics), None)
    if "psnr" not in table.metrics or perceptual is None:
        return []
    plots = []
    for data in dict.fromkeys(row.data for row in table):
        means = {(row.model, row.metric): row.mean for row in table if row.data == data}
        models = list(dict.fromkeys(row.model for row in table if row.data == data))
        points = [(model, means[model, "psnr"], means[model, perceptual]) for model in models]
        finite = [point for point in points if point[1] < inf]
        if finite:
            plots.append(_plane(data, perceptual, finite))
    return plots


def _plane(data: str, perceptual: str, points: list[tuple[str, float, float]]) -> str:
    width, height, margin = 640, 400, 60
    across = _axis([point[1] for point in points], margin, width - margin)
    # Lower is better: the best corner is at the right and below.
    down = _axis([point[2] for point in points], height - margin, margin)
    marks = "".join(
        f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="6"/><text class="point" x="{across(x):.1f}" '
        f'y="{down(y) - 11:.1f}" text-anchor="{_anchor(across(x), width)}">{_point(model, perceptual, x, y)}</text>'
        for model, x, y in points
    )
    title = escape(f"{data}: perception against distortion")
    return (
        f'<figure class="plane"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
        f'<path d="M{margin} {margin - 30}V{height - margin + 15}H{width - margin + 30}"/>{marks}'
        f'<text x="{width / 2}" y="{height - 14}" text-anchor="middle">{heading("psnr")}</text>'
        f'<text transform="translate(22 {height / 2}) rotate(-90)" text-anchor="middle">{heading(perceptual)}</text></svg>'
        f"<figcaption>{title}; better is right and down</figcaption></figure>"
    )


def _point(model: str, perceptual: str, x: float, y: float) -> str:
    return escape(f"{PurePath(model).name} ({number('psnr', x)}, {number(perceptual, y)})")


def _anchor(x: float, width: float) -> str:
    """Which end of a label stands at its point, so that it stays inside."""
    return "start" if x < width / 3 else "end" if x > 2 * width / 3 else "middle"


def _axis(values: list[float], start: float, stop: float) -> Callable[[float], float]:
    """Values -> pixels, with room at both ends."""
    low, high = min(values), max(values)
    room = (high - low or 1) * 0.15

    def place(value: float) -> float:
        return start + (value - low + room) / (high - low + 2 * room) * (stop - start)

    return place
