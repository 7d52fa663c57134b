"""The table as one self-contained HTML page: `report.html` filled with the printed numbers, plots and crops."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from math import ceil, inf, isnan
from pathlib import Path, PurePath

from superscale.evaluation.plane import planes
from superscale.evaluation.report import cost_lines, per_image, summary, to_csv, to_json, to_latex, to_markdown
from superscale.evaluation.table import Row, Table
from superscale.files import write_texts
from superscale.metrics.notation import METRICS, heading

# A report shows this many of the worst pictures.
MOST_CROPS = 24
# Figures of a picture side by side; more are spread evenly over several lines.
MOST_COLUMNS = 4
# What a crop shows, beside "model NAME".
TRUTH = "truth"
INPUT = "input"
# (data, picture) -> what -> the crop's address
Gallery = Mapping[tuple[str, str], Mapping[str, str]]
NO_CROPS: Gallery = {}
# When and with what the table was measured: name -> value, e.g. date, command, device.
Made = Mapping[str, str]
NOT_STATED: Made = {}
REPORT = "report.html"
# The files of a report.
FILES = ("results.csv", "results.json", "results.md", "results.tex", REPORT)


def write_report(folder: Path, table: Table, crops: Gallery = NO_CROPS, made: Made = NOT_STATED) -> list[str]:
    """Write the table as CSV, JSON, Markdown, LaTeX and a page to a folder, created if needed; return the files' names."""
    as_json = json.dumps(to_json(table), indent=1, ensure_ascii=False) + "\n"
    texts = (to_csv(table), as_json, to_markdown(table), to_latex(table), to_html(table, crops, made))
    write_texts(folder, dict(zip(FILES, texts, strict=True)))
    return list(FILES)


def to_html(table: Table, crops: Gallery = NO_CROPS, made: Made = NOT_STATED) -> str:
    """The whole page as text; it loads nothing from a network. ``crops``: of `Crops.keep`, in the order in which they are shown."""
    drawn = "".join(planes(table))
    body = {
        "title": escape(_title(table)),
        "measured": escape(_measured(table)),
        "made": f"<dl>{''.join(_fact(*item) for item in made.items())}</dl>" if made else "",
        "order": escape(_order(table, len(crops))),
        "summary": _table(summary(table), "summary"),
        "convention": "<br>".join(map(escape, [str(table.convention), *table.notes])),
        "costs": _table(cost_lines(table.costs), "costs") if table.costs else "",
        "planes": f'<section><h2>Perception and distortion</h2><div class="planes">{drawn}</div></section>' if drawn else "",
        "images": "".join(f"<h3>{escape(data)}</h3>{_table(lines, 'images')}" for data, lines in per_image(table)),
        "crops": "".join(_viewer(*key, pieces, table) for key, pieces in crops.items()),
        "results": _script_json(to_json(table)),
    }
    page = files("superscale.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    # One pass over the template: what is filled in is never searched for marks again.
    parts = page.split("{{")
    return parts[0] + "".join(body[name] + rest for name, rest in (part.split("}}", 1) for part in parts[1:]))


def _title(table: Table) -> str:
    data = list(dict.fromkeys(row.data for row in table))
    return f"Image super-resolution ×{table.convention.scale} on {', '.join(data)}"


def _measured(table: Table) -> str:
    """What was measured on what: models, data sets with their number of pictures."""
    models = list(dict.fromkeys(PurePath(row.model).name for row in table))
    sizes = _sizes(table)
    data = ", ".join(f"{name} ({size} {'picture' if size == 1 else 'pictures'})" for name, size in sizes.items())
    return f"{', '.join(models)} · {data}"


def _sizes(table: Table) -> dict[str, int]:
    """The pictures of each data set; a row over time has one less."""
    return {
        data: max(len(row.images) for row in table if row.data == data) for data in dict.fromkeys(row.data for row in table)
    }


def _fact(name: str, value: str) -> str:
    code = ("<code>", "</code>") if name == "command" else ("", "")
    return f"<dt>{escape(name)}</dt><dd>{code[0]}{escape(value)}{code[1]}</dd>"


def _order(table: Table, shown: int) -> str:
    """By what the pictures are sorted, and how many of them there are."""
    pictures = sum(_sizes(table).values())
    last = table[-1]
    count = f"All {pictures} pictures" if shown == pictures else f"{shown} of {pictures} pictures"
    by = f"{table[0].metric.upper()} of {PurePath(last.model).name}"
    return f"{count}, sorted by {by}. Each crop is the place where bicubic enlargement differs most from the original."


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
    figures = [_figure(INPUT, "input", ["low-res, pixels repeated"], pieces[INPUT])]
    for what in models:
        model = what.removeprefix("model ")
        own = [row for row in rows if (row.data, row.model) == (data, model)]
        values = [f"{heading(row.metric)} {row.of(name)}" for row in own]
        figures.append(_figure("model", PurePath(model).name, values, pieces[what]))
    figures.append(_figure("original", "original", ["high-res"], pieces[TRUTH]))
    lines = ceil(len(figures) / MOST_COLUMNS)
    return (
        f'<section class="viewer" tabindex="0" aria-label="{title}" data-name="{title}"><h3>{title}</h3>'
        f'<div class="row" style="--columns:{ceil(len(figures) / lines)}">{"".join(figures)}</div></section>'
    )


def _figure(kind: str, title: str, values: Sequence[str], url: str) -> str:
    title = escape(title, quote=True)
    facts = " ".join(f"<span>{escape(value)}</span>" for value in values)
    return (
        f'<figure class="{kind}" data-what="{title}"><div class="pane"><img src="{url}" alt="{title}"></div>'
        f"<figcaption><b>{title}</b> {facts}</figcaption></figure>"
    )
