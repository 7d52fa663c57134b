"""Published rows stand only beside numbers of the same convention."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from superscale.evaluation.papers import beside_papers, differences, load_papers
from superscale.evaluation.table import Convention, Row, Table

OURS = Convention(scale=4, color="y", border=4, low_res="bicubic, double")


def test_published_rows_say_their_source_and_convention() -> None:
    papers, pictures = load_papers()
    assert {"SRCNN", "SRResNet", "SRGAN", "EDSR", "RRDB (PSNR-oriented)", "ESRGAN"} <= {paper.model for paper in papers}
    assert pictures["Set14"] == 14
    for paper in papers:
        assert paper.source
        assert (paper.convention.scale, paper.convention.color, paper.convention.border) == (4, "y", 4)
    by_name = {paper.model: paper.results for paper in papers}
    assert by_name["RRDB (PSNR-oriented)"]["Set5"] == {"psnr": 32.73, "ssim": 0.9011}
    assert "ssim" not in by_name["SRGAN"]["Set5"]


def table(convention: Convention = OURS, count: int = 5) -> Table:
    rows = [
        Row("mine", "Set5", metric, {str(n): value for n in range(count)}) for metric, value in (("psnr", 31.5), ("ssim", 0.9))
    ]
    return Table(rows, convention)


def lines_of(text: str, data: str = "Set5") -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(f"{data} ")]


def test_ours_stands_beside_papers_of_the_same_convention_only() -> None:
    text = beside_papers(table(), {"Set5": "bicubic, double"})
    assert ["Set5", "ESRGAN", "30.45", "–"] in lines_of(text)
    assert ["Set5", "mine", "(ours)", "31.50", "0.9000"] in lines_of(text)
    assert "Set5: EDSR is left out, its low-res is bicubic, uint8, ours bicubic, double" in text
    assert "Ledig et al. 2017" in text
    text = beside_papers(table(), {"Set5": "bicubic, uint8"})
    assert ["Set5", "EDSR", "32.46", "0.8968"] in lines_of(text)
    assert not any(line[1] == "ESRGAN" for line in lines_of(text))


@pytest.mark.parametrize("low_res", ["bicubic, double", "bicubic, uint8"])
def test_each_named_method_is_either_beside_ours_or_left_out_with_the_reason(low_res: str) -> None:
    ours = replace(OURS, low_res=low_res)
    text = beside_papers(table(ours), {"Set5": low_res})
    beside = {" ".join(line[1:-2]) for line in lines_of(text)} - {"mine (ours)"}
    left_out = set(re.findall(r"^Set5: (.+) is left out, its ", text, re.MULTILINE))
    assert beside | left_out >= {"SRCNN", "SRResNet", "SRGAN", "EDSR", "RRDB (PSNR-oriented)", "ESRGAN"}
    assert not beside & left_out
    conventions = {paper.model: paper.convention for paper in load_papers()[0]}
    assert {conventions[model].low_res for model in beside} == {low_res, "bicubic, rounding not stated"}
    assert all(conventions[model].low_res not in (low_res, "bicubic, rounding not stated") for model in left_out)


@pytest.mark.parametrize("change", [{"color": "rgb"}, {"border": 0}, {"scale": 2}, {"low_res": "LR_x4/ as found"}])
def test_another_convention_leaves_every_published_row_out(change: dict[str, object]) -> None:
    other = replace(OURS, **change)  # type: ignore[arg-type]
    assert all(differences(other, paper.convention) for paper in load_papers()[0])
    assert [line[1] for line in lines_of(beside_papers(table(other), {"Set5": other.low_res}))] == ["mine"]


def test_a_folder_that_is_only_called_set5_is_not_set5() -> None:
    text = beside_papers(table(count=4), {"Set5": "bicubic, double"})
    assert "not a published set of 5 pictures" in text
    assert [line[1] for line in lines_of(text)] == ["mine"]
