"""Published rows beside ours: only for the same set, scale, colour, border and low-res pictures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from superscale.evaluation.table import Convention, Row, Table, aligned
from superscale.metrics.notation import heading, number

UNSTATED = "bicubic, rounding not stated"
BICUBIC = ("bicubic, double", "bicubic, uint8")


@dataclass(frozen=True)
class Paper:
    """One published model: ``results`` data set -> metric -> mean."""

    model: str
    source: str
    convention: Convention
    results: Mapping[str, Mapping[str, float]]


def load_papers() -> tuple[list[Paper], dict[str, int]]:
    """The shipped rows, and how many pictures each set has."""
    content = tomllib.loads(files("superscale.evaluation").joinpath("papers.toml").read_text(encoding="utf-8"))
    pictures: dict[str, int] = content["pictures"]
    papers = [
        Paper(
            entry["model"],
            entry["source"],
            Convention(**entry["convention"]),
            {name: entry[name] for name in pictures if name in entry},
        )
        for entry in content["paper"]
    ]
    return papers, pictures


def differences(ours: Convention, theirs: Convention) -> list[str]:
    """In what two conventions differ, in words; nothing when their numbers may stand beside each other."""
    found = []
    for name in ("scale", "color", "border"):
        mine, published = getattr(ours, name), getattr(theirs, name)
        if mine != published:
            found.append(f"its {name} is {published}, ours {mine}")
    if ours.bits != theirs.bits:
        found.append(f"its pictures have {theirs.bits[0]} bits, ours {' and '.join(map(str, ours.bits))}")
    elif ours.peaks != theirs.peaks:
        found.append(f"its peak is {theirs.peaks[0]}, ours {ours.peaks[0]}")
    same = ours.low_res == theirs.low_res or (theirs.low_res == UNSTATED and ours.low_res in BICUBIC)
    if not same:
        found.append(f"its low-res is {theirs.low_res}, ours {ours.low_res}")
    return found


def beside_papers(table: Table, low_res: Mapping[str, str]) -> str:
    """Our means and the published ones of the same set and convention; then which were left out and why; then the sources.

    ``low_res``: data set -> how its low-res pictures came about.
    """
    papers, pictures = load_papers()
    lines = [["data", "model", *map(heading, table.metrics)]]
    left_out: list[str] = []
    used: list[Paper] = []
    for data in dict.fromkeys(row.data for row in table):
        own = [row for row in table if row.data == data]
        lines += _our_lines(own, table.metrics)
        count = len(own[0].images)
        if data not in pictures or count != pictures[data]:
            left_out.append(f"{data}: not a published set of {pictures.get(data, count)} pictures, nothing to compare with")
            continue
        ours = replace(table.convention, low_res=low_res[data])
        for paper in (paper for paper in papers if data in paper.results):
            if reasons := differences(ours, paper.convention):
                left_out.append(f"{data}: {paper.model} is left out, {'; '.join(reasons)}")
            elif paper.results[data].keys() & table.metrics:
                lines.append([data, paper.model, *_cells(paper.results[data], table.metrics)])
                used.append(paper)
    sources = [f"{paper.model}: {paper.source}; low-res: {paper.convention.low_res}" for paper in used]
    return "\n".join([aligned(lines), *left_out, *dict.fromkeys(sources)])


def _our_lines(own: Sequence[Row], metrics: Sequence[str]) -> list[list[str]]:
    lines = []
    for model in dict.fromkeys(row.model for row in own):
        means = {row.metric: row.mean for row in own if row.model == model}
        lines.append([own[0].data, f"{model} (ours)", *_cells(means, metrics)])
    return lines


def _cells(means: Mapping[str, float], metrics: Sequence[str]) -> list[str]:
    return [number(metric, means[metric]) if metric in means else "–" for metric in metrics]
