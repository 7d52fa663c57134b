"""Each trap by its published size, and published rows only beside numbers of the same convention."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from superscale.data.pairs import PairFolder
from superscale.evaluation.benchmark import Convention, Row, benchmark
from superscale.evaluation.explain import USUAL, Explained, explain, not_antialiased, to_text
from superscale.evaluation.papers import beside_papers, differences, load_papers, low_res_of
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize
from superscale.inference.upscaler import Upscaler

OURS = Convention(scale=4, color="y", border=4, low_res="bicubic, double")


def bicubic(low_res: np.ndarray) -> np.ndarray:
    return imresize(low_res, 4)


def place(color: str, borders: int = 1, more: int = 0, low_res: str = "bicubic, double") -> int:
    return [(usual.color, usual.borders, usual.more_px, usual.low_res) for usual in USUAL].index(
        (color, borders, more, low_res)
    )


@pytest.fixture(scope="module")
def explained(benchmarks: Path) -> list[Explained]:
    """A trained network; bicubic enlargement loses less by each trap, being wrong in other ways first."""
    return explain(Upscaler("srresnet-x4"), PairFolder(benchmarks / "Set5" / "HR", 4), 4)


def test_each_trap_costs_what_is_published(explained: list[Explained]) -> None:
    values = [entry.psnr for entry in explained]
    assert values[0] - values[place("RGB")] == pytest.approx(1.9, abs=0.05)
    # Full swing: the same error spread over 255 instead of 219 steps.
    assert values[0] - values[place("Y of OpenCV's YCrCb")] == pytest.approx(20 * np.log10(255 / 219), abs=0.02)
    assert values[0] - values[place("Y", low_res="bicubic, not antialiased")] > 3


def test_the_page_shows_what_explain_prints(explained: list[Explained]) -> None:
    """Digits may round the other way on another processor."""
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    printed = to_text("srresnet-x4", "Set5", explained, 4).splitlines()
    shown = page[page.index(printed[0]) :].splitlines()[: len(printed)]
    number = re.compile(r"[+-]?\d+\.\d+")
    for ours, theirs in zip(printed, shown, strict=True):
        assert number.sub("#", ours).split() == number.sub("#", theirs).split()
        for new, old in zip(number.findall(ours), number.findall(theirs), strict=True):
            assert float(new) == pytest.approx(float(old), abs=0.011 if len(old.split(".")[1]) == 2 else 0.00011)


@pytest.mark.slow
def test_set14s_grey_bridge_makes_26_09_or_26_00(benchmarks: Path) -> None:
    values = [entry.psnr for entry in explain(bicubic, PairFolder(benchmarks / "Set14" / "HR", 4), 4)]
    assert values[0] == pytest.approx(26.09, abs=0.01)
    assert values[place("Y, grey pictures as luma")] == pytest.approx(26.00, abs=0.01)


def test_the_first_line_is_what_evaluate_measures(photos: Path) -> None:
    pairs = PairFolder(photos, 4)
    rows = benchmark(bicubic, pairs, model="m", data="d", metrics=["psnr", "ssim"], border=4, color="y")
    explained = explain(bicubic, pairs, 4)
    assert explained[0].psnr == pytest.approx(rows[0].mean, abs=1e-4)
    assert explained[0].ssim == pytest.approx(rows[1].mean, abs=1e-6)
    text = to_text("bicubic", "photos", explained, 4)
    for part in ("EDSR", "SRCNN", "ESRGAN", "trap: RGB", "trap: cv2", "10 px", "uint8"):
        assert part in text


def test_without_antialiasing_four_taps_are_read() -> None:
    """a = -0.75 halfway between two samples: weights -3/32, 19/32, 19/32, -3/32."""
    row = np.array([10, 200, 30, 90, 10, 200, 30, 90], np.uint8)
    high_res = np.repeat(np.repeat(row[None, :, None], 8, axis=0), 3, axis=2)
    expected = (-3 * 10 + 19 * 200 + 19 * 30 - 3 * 90) / 32
    assert abs(float(not_antialiased(high_res, 4)[0, 0, 0]) - expected) <= 0.5


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


def rows(data: str = "Set5", count: int = 5) -> list[Row]:
    return [
        Row("mine", data, metric, {str(n): value for n in range(count)}) for metric, value in (("psnr", 31.5), ("ssim", 0.9))
    ]


def lines_of(text: str, data: str = "Set5") -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(f"{data} ")]


def test_ours_stands_beside_papers_of_the_same_convention_only() -> None:
    text = beside_papers(rows(), OURS, {"Set5": "bicubic, double"})
    assert ["Set5", "ESRGAN", "30.45", "–"] in lines_of(text)
    assert ["Set5", "mine", "(ours)", "31.50", "0.9000"] in lines_of(text)
    assert "Set5: EDSR is left out, its low-res is bicubic, uint8, ours bicubic, double" in text
    assert "Ledig et al. 2017" in text
    text = beside_papers(rows(), OURS, {"Set5": "bicubic, uint8"})
    assert ["Set5", "EDSR", "32.46", "0.8968"] in lines_of(text)
    assert not any(line[1] == "ESRGAN" for line in lines_of(text))


@pytest.mark.parametrize("low_res", ["bicubic, double", "bicubic, uint8"])
def test_each_named_method_is_either_beside_ours_or_left_out_with_the_reason(low_res: str) -> None:
    ours = replace(OURS, low_res=low_res)
    text = beside_papers(rows(), ours, {"Set5": low_res})
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
    assert [line[1] for line in lines_of(beside_papers(rows(), other, {"Set5": other.low_res}))] == ["mine"]


def test_a_folder_that_is_only_called_set5_is_not_set5() -> None:
    text = beside_papers(rows(count=4), OURS, {"Set5": "bicubic, double"})
    assert "not a published set of 5 pictures" in text
    assert [line[1] for line in lines_of(text)] == ["mine"]


@pytest.mark.parametrize("rounding", ["double", "uint8"])
def test_stored_low_res_pictures_are_recognised_by_their_pixels(photos: Path, tmp_path: Path, rounding: str) -> None:
    for pair in PairFolder(photos, 4, rounding):  # type: ignore[arg-type]
        write_image(tmp_path / "set" / "HR" / f"{pair.name}.png", Image(pair.high_res))
        write_image(tmp_path / "set" / "LR_x4" / f"{pair.name}.png", Image(pair.low_res))
    assert low_res_of(PairFolder(tmp_path / "set", 4)) == f"bicubic, {rounding}"
    write_image(tmp_path / "set" / "LR_x4" / "photo-0.png", Image(np.zeros((24, 28, 3), np.uint8)))
    assert low_res_of(PairFolder(tmp_path / "set", 4)) == "LR_x4/ as found"
