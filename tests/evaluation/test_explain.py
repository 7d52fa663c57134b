"""Each trap by its published size."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from superscale.data.pairs import PairFolder
from superscale.evaluation.benchmark import benchmark
from superscale.evaluation.explain import USUAL, Explained, explain, to_text
from superscale.image.resize import imresize
from superscale.inference.upscaler import Upscaler


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
