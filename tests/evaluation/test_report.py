"""Every file of a report is parsed and holds the same numbers."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import combinations
from math import isnan
from pathlib import Path

from superscale.data.pairs import PairFolder
from superscale.evaluation.benchmark import benchmark
from superscale.evaluation.cost import Cost
from superscale.evaluation.crops import Crops
from superscale.evaluation.page import to_html, worst_first
from superscale.evaluation.plane import LETTER_WIDTH, LINE_HEIGHT, Axis, planes
from superscale.evaluation.report import summary, to_csv, to_json, to_latex, to_markdown
from superscale.evaluation.table import Convention, Row, Table
from superscale.image.resize import imresize

CONVENTION = Convention(scale=4, color="y", border=4, low_res="bicubic, double")
ROWS = [
    Row("bicubic", "Set5", "psnr", {"a_1": 20.125, "b": 31.0}),
    Row("bicubic", "Set5", "lpips-alex", {"a_1": 0.51239, "b": 0.7}),
    Row("ours <&|", "Set5", "psnr", {"a_1": 24.0, "b": 32.0}),
    Row("ours <&|", "Set5", "lpips-alex", {"a_1": 0.05, "b": 0.08}),
]
COSTS = [Cost("bicubic", "Set5", 0.5, 1.25, 2**20 * 300), Cost("ours <&|", "Set5", None, 1.25, None)]
TABLE = Table(ROWS, CONVENTION, COSTS)


class Tables(HTMLParser):
    """Every table's cells by line, every image's address, and the embedded JSON."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.line: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "table":
            self.lines = self.tables.setdefault(str(attributes["class"]), [])
        elif tag == "tr":
            self.line = []
            self.lines.append(self.line)
        elif tag in ("td", "th"):
            self.line.append("")
        elif tag == "script":
            self.scripts.append("")
        self.addresses += [str(attributes[name]) for name in ("src", "href") if name in attributes]
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, text: str) -> None:
        if self.inside in ("td", "th"):
            self.line[-1] += text
        elif self.inside == "script":
            self.scripts[-1] += text


def plain(cell: str) -> str:
    return cell.replace("\\*", "*").replace("\\|", "|").strip()


def untex(cell: str) -> str:
    for tex, text in {r"$\uparrow$": "↑", r"$\downarrow$": "↓", r"$\pm$": "±", r"\&": "&", r"\_": "_"}.items():
        cell = cell.replace(tex, text)
    return cell.strip()


def test_every_format_is_parsed_and_equal() -> None:
    expected = summary(TABLE)
    assert expected[1][2:] == ["25.56 ± 5.44", "0.6062 ± 0.0938"]
    assert expected[2] == ["Set5", "ours <&|", "28.00 ± 4.00*", "0.0650 ± 0.0150*"]
    content = to_json(TABLE)
    assert json.loads(json.dumps(content)) == content
    for row, entry in zip(ROWS, content["rows"], strict=True):
        assert (entry["images"], entry["mean"], entry["std"]) == (row.images, row.mean, row.std)

    lines = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    for entry in content["rows"]:
        own = [line for line in lines if (line["model"], line["metric"]) == (entry["model"], entry["metric"])]
        assert {line["image"]: float(line["value"]) for line in own if line["statistic"] == "image"} == entry["images"]
        assert [float(line["value"]) for line in own if line["statistic"] != "image"] == [entry["mean"], entry["std"]]
        assert {(line["color"], line["border"], line["low_res"]) for line in own} == {("y", "4", "bicubic, double")}

    markdown = to_markdown(TABLE)
    printed = [
        [plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in markdown.splitlines() if line.startswith("|")
    ]
    printed = [line for line in printed if not line[0].startswith("---")]
    assert printed[:3] == expected
    latex = [line.removesuffix(r" \\") for line in to_latex(TABLE).splitlines() if line.endswith(r"\\")]
    assert [[untex(cell) for cell in line.split(" & ")] for line in latex] == expected

    page = Tables(to_html(TABLE))
    assert page.tables["summary"] == expected
    assert page.tables["images"] == printed[-3:]
    assert page.tables["costs"] == printed[3:6]
    assert json.loads(page.scripts[0]) == content
    terminal = str(TABLE)
    for line in expected[1:]:
        for cell in line[2:]:
            assert cell.split(" ± ")[0] in terminal
    for text in (markdown, to_latex(TABLE), terminal, to_html(TABLE)):
        assert "border 4 px" in text
        assert "always RGB" in text


def test_the_page_asks_nothing_of_a_network_and_cannot_be_broken_by_names(photos: Path) -> None:
    crops = Crops(side_px=32)
    name = "</script><b>{{results}}"
    rows = []
    for model in ("bicubic", name):
        rows += benchmark(
            lambda low_res: imresize(low_res, 4),
            PairFolder(photos, 4),
            model=model,
            data="photos",
            metrics=["psnr"],
            border=4,
            color="y",
            observe=lambda seen, model=model: crops.add("photos", model, seen),
        )
    page = to_html(Table(rows, CONVENTION), crops.keep(worst_first(rows)[:3]))
    parsed = Tables(page)
    assert len(parsed.addresses) == 3 * 4
    assert all(address.startswith("data:image/png;base64,") for address in parsed.addresses)
    assert not re.search(r"https?://", page)
    assert json.loads(parsed.scripts[0])["rows"][1]["model"] == name
    assert parsed.tables["summary"][2][1] == name
    shown = re.findall(r'data-name="photos / ([^"]+)"', page)
    values = rows[-1].images
    assert shown == sorted(values, key=lambda picture: values[picture])[:3]


def test_the_plane_has_one_point_a_model_and_only_when_two_metrics_allow_it() -> None:
    page = to_html(TABLE)
    assert page.count("<circle") == 2
    assert "(28.00, 0.0650)" in page
    assert "<svg" not in to_html(Table(ROWS[::2], CONVENTION))


def test_labels_of_models_that_measure_alike_do_not_cover_one_another() -> None:
    models = [f"model-number-{number}" for number in range(6)]
    rows = [Row(model, "Set5", "psnr", {"a": 30 + number / 100}) for number, model in enumerate(models)]
    rows += [Row(model, "Set5", "niqe", {"a": 5 - number / 100}) for number, model in enumerate(models)]
    figure = next(planes(Table(rows, CONVENTION)))
    labels = [(float(x), float(y)) for x, y in re.findall(r'class="point" x="([\d.]+)" y="([\d.]+)"', figure)]
    assert len(labels) == len(models)
    for (x, y), (other_x, other_y) in combinations(labels, 2):
        assert abs(y - other_y) >= LINE_HEIGHT - 0.1 or abs(x - other_x) >= LETTER_WIDTH * len(models[0])


def test_ticks_are_round_and_inside() -> None:
    assert [f"{tick:.6g}" for tick in Axis(27.2, 32.4, 0, 1).ticks()] == ["28", "30", "32"]
    assert [f"{tick:.6g}" for tick in Axis(0.13, 0.52, 0, 1).ticks()] == ["0.2", "0.3", "0.4", "0.5"]


def test_the_head_says_what_was_measured_when_and_with_what() -> None:
    page = to_html(TABLE, made={"date": "2026-11-28", "command": "superscale evaluate --data '<x>'"})
    assert "<title>Image super-resolution ×4 on Set5</title>" in page
    assert "Set5 (2 pictures)" in page
    assert "superscale evaluate --data &#x27;&lt;x&gt;&#x27;" in page
    assert "sorted by PSNR of ours &lt;&amp;|" in page


def test_worst_first_goes_by_the_direction_of_the_metric() -> None:
    assert worst_first(ROWS) == [("Set5", "a_1"), ("Set5", "b")]
    assert worst_first([row for row in ROWS if row.metric == "lpips-alex"]) == [("Set5", "b"), ("Set5", "a_1")]


def test_equal_pictures_are_null_in_json_and_inf_in_tables() -> None:
    table = Table([Row("truth", "Set5", "psnr", {"a": float("inf"), "b": 30.0})], CONVENTION)
    entry = to_json(table)["rows"][0]
    assert (entry["mean"], entry["images"]) == (None, {"a": None, "b": 30.0})
    assert isnan(table[0].std)
    assert "inf" in to_markdown(table)
    assert "Infinity" not in to_html(table)
