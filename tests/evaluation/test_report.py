"""Every file of a report is parsed and holds the same numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from superscale.data.pairs import Pair, PairFolder
from superscale.errors import DataError
from superscale.evaluation.benchmark import Convention, Row, benchmark, measure_outputs
from superscale.evaluation.cost import Cost
from superscale.evaluation.crops import Crops, telling_region
from superscale.evaluation.outputs import OutputFolder
from superscale.evaluation.page import to_html, worst_first
from superscale.evaluation.report import to_json, to_text
from superscale.evaluation.tables import summary, to_csv, to_latex, to_markdown
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize
from superscale.metrics.catalog import METRICS, heading

CONVENTION = Convention(scale=4, color="y", border=4, low_res="bicubic, double")
ROWS = [
    Row("bicubic", "Set5", "psnr", {"a_1": 20.125, "b": 31.0}),
    Row("bicubic", "Set5", "lpips-alex", {"a_1": 0.51239, "b": 0.7}),
    Row("ours <&|", "Set5", "psnr", {"a_1": 24.0, "b": 32.0}),
    Row("ours <&|", "Set5", "lpips-alex", {"a_1": 0.05, "b": 0.08}),
]
COSTS = [Cost("bicubic", "Set5", 0.5, 1.25, 2**20 * 300), Cost("ours <&|", "Set5", None, 1.25, None)]


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
    expected = summary(ROWS)
    assert expected[1][2:] == ["25.56 ± 5.44", "0.6062 ± 0.0938"]
    assert expected[2] == ["Set5", "ours <&|", "28.00 ± 4.00*", "0.0650 ± 0.0150*"]
    table = to_json(ROWS, CONVENTION, COSTS)
    assert json.loads(json.dumps(table)) == table
    for row, entry in zip(ROWS, table["rows"], strict=True):
        assert (entry["images"], entry["mean"], entry["std"]) == (row.images, row.mean, row.std)

    lines = list(csv.DictReader(io.StringIO(to_csv(ROWS, CONVENTION))))
    for entry in table["rows"]:
        own = [line for line in lines if (line["model"], line["metric"]) == (entry["model"], entry["metric"])]
        assert {line["image"]: float(line["value"]) for line in own if line["statistic"] == "image"} == entry["images"]
        assert [float(line["value"]) for line in own if line["statistic"] != "image"] == [entry["mean"], entry["std"]]
        assert {(line["color"], line["border"], line["low_res"]) for line in own} == {("y", "4", "bicubic, double")}

    markdown = to_markdown(ROWS, CONVENTION, COSTS)
    printed = [
        [plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in markdown.splitlines() if line.startswith("|")
    ]
    printed = [line for line in printed if not line[0].startswith("---")]
    assert printed[:3] == expected
    latex = [line.removesuffix(r" \\") for line in to_latex(ROWS, CONVENTION).splitlines() if line.endswith(r"\\")]
    assert [[untex(cell) for cell in line.split(" & ")] for line in latex] == expected

    page = Tables(to_html(ROWS, CONVENTION, COSTS))
    assert page.tables["summary"] == expected
    assert page.tables["images"] == printed[-3:]
    assert page.tables["costs"] == printed[3:6]
    assert json.loads(page.scripts[0]) == table
    terminal = to_text(ROWS, CONVENTION)
    for line in expected[1:]:
        for cell in line[2:]:
            assert cell.split(" ± ")[0] in terminal
    for text in (markdown, to_latex(ROWS, CONVENTION), terminal, to_html(ROWS, CONVENTION)):
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
    page = to_html(rows, CONVENTION, [], crops.keep(worst_first(rows)[:3]))
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
    page = to_html(ROWS, CONVENTION)
    assert page.count("<circle") == 2
    assert "(28.00, 0.0650)" in page
    assert "<svg" not in to_html([row for row in ROWS if row.metric == "psnr"], CONVENTION)


def test_worst_first_goes_by_the_direction_of_the_metric() -> None:
    assert worst_first(ROWS) == [("Set5", "a_1"), ("Set5", "b")]
    assert worst_first([row for row in ROWS if row.metric == "lpips-alex"]) == [("Set5", "b"), ("Set5", "a_1")]


def test_equal_pictures_are_null_in_json_and_inf_in_tables() -> None:
    rows = [Row("truth", "Set5", "psnr", {"a": float("inf"), "b": 30.0})]
    entry = to_json(rows, CONVENTION)["rows"][0]
    assert (entry["mean"], entry["images"]) == (None, {"a": None, "b": 30.0})
    assert isnan(rows[0].std)
    assert "inf" in to_markdown(rows, CONVENTION)
    assert "Infinity" not in to_html(rows, CONVENTION)


def test_every_metric_says_which_way_is_better() -> None:
    assert {name for name, metric in METRICS.items() if not metric.higher_is_better} == {
        "delta-e", "grid", "lpips-alex", "lpips-vgg", "lpips-squeeze", "dists", "niqe",
    }  # fmt: skip
    assert (heading("psnr"), heading("delta-e")) == ("PSNR dB ↑", "DELTA-E ΔE00 ↓")


def test_the_crop_lies_where_bicubic_loses_most() -> None:
    high_res = np.full((128, 160, 3), 90, np.uint8)
    high_res[70:90:2, 100:120] = 255
    region = telling_region(Pair("a", imresize(high_res, 1 / 4), high_res), 32)
    assert (region.height, region.width) == (32, 32)
    assert region.top % 4 == region.left % 4 == 0
    assert 58 <= region.top <= 70
    assert 88 <= region.left <= 100


def test_ready_made_outputs_are_found_by_name_and_mistakes_name_the_file(photos: Path, tmp_path: Path) -> None:
    pairs = PairFolder(photos, 4)
    names = [path.stem for path in pairs.high_res]
    folder = tmp_path / "tool"
    for number, pair in enumerate(pairs):
        suffix = ("", "_x4", "x4", "_out")[number % 4]
        write_image(folder / f"{pair.name}{suffix}.png", Image(imresize(pair.low_res, 4)))
    options = {"model": "tool", "data": "photos", "metrics": ["psnr"], "border": 4, "color": "y"}
    got = measure_outputs(OutputFolder(folder, "photos", names, 4), pairs, **options)  # type: ignore[arg-type]
    expected = benchmark(lambda low_res: imresize(low_res, 4), pairs, **options)  # type: ignore[arg-type]
    assert got == expected
    write_image(folder / "photo-3_second.png", Image(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DataError, match=r"several outputs for photo-3: photo-3_out\.png, photo-3_second\.png"):
        OutputFolder(folder, "photos", names, 4)
    (folder / "photo-3_second.png").unlink()
    write_image(folder / "photo-0.png", Image(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DataError, match=r"photo-0\.png: 8x8, expected 112x96"):
        OutputFolder(folder, "photos", names, 4)(pairs[0])
    (folder / "photo-0.png").unlink()
    (folder / "photo-5_x4.png").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"no output for photo-0, photo-5"):
        OutputFolder(folder, "photos", names, 4)


def test_two_pictures_of_one_name_are_refused(photos: Path) -> None:
    write_image(photos / "sub" / "photo-0.png", Image(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(DataError, match="two pictures are called photo-0"):
        benchmark(
            lambda low_res: imresize(low_res, 4),
            PairFolder(photos, 4),
            model="m",
            data="d",
            metrics=["psnr"],
            border=4,
            color="y",
        )


def test_peak_memory_sees_what_a_model_held() -> None:
    """In a process of its own: this one may hold freed memory that the array would be given without growing."""
    code = (
        "import numpy as np\n"
        "from superscale.evaluation.cost import peak_memory\n"
        "with peak_memory() as idle: pass\n"
        "with peak_memory() as busy: np.ones(2**25)\n"
        "print(-1 if idle.bytes is None or busy.bytes is None else busy.bytes - idle.bytes)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if int(result.stdout) == -1:
        pytest.skip("this system does not tell a process its peak memory")
    assert int(result.stdout) > 2**27
