"""A run's numbers as curves."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from superscale.errors import MissingExtraError, UsageError, install_line
from superscale.training.run.curves import draw_curves, panels, read_curves

ROWS: list[dict[str, Any]] = [
    {"stage": "psnr", "images": 100, "learning_rate": 1e-3, "loss": 0.5, "pixel": 0.5},
    {"stage": "psnr", "images": 200, "learning_rate": 1e-3, "loss": 0.25, "pixel": 0.25},
    {"stage": "psnr", "images": 200, "validation_psnr": 30.0},
    {
        "stage": "gan",
        "images": 50,
        "learning_rate": 1e-4,
        "loss": 0.7,
        "accuracy_real": 0.9,
        "accuracy_fake": 0.8,
        "sharpness_ratio": 0.9,
    },
]


def written(run_dir: Path, rows: list[dict[str, Any]], ending: str = "") -> Path:
    run_dir.mkdir()
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + ending)
    return run_dir


def colours(path: Path) -> set[tuple[int, ...]]:
    pixels = np.asarray(PillowImage.open(path).convert("RGB")).reshape(-1, 3)
    return set(map(tuple, np.unique(pixels, axis=0).tolist()))


def test_stages_follow_one_another_over_the_images_seen(tmp_path: Path) -> None:
    curves = read_curves(written(tmp_path / "run", ROWS))
    assert curves.series["loss"] == [(100, 0.5), (200, 0.25), (250, 0.7)]
    assert curves.series["validation_psnr"] == [(200, 30.0)]
    assert curves.borders == (200,)


def test_what_a_run_wrote_again_after_going_back_counts_once(tmp_path: Path) -> None:
    again = [{"stage": "psnr", "images": 200, "loss": 0.2}, {"stage": "psnr", "images": 300, "loss": 0.1}]
    curves = read_curves(written(tmp_path / "run", ROWS[:2] + again, ending='{"stage": "psnr", "ima'))
    assert curves.series["loss"] == [(100, 0.5), (200, 0.2), (300, 0.1)]


def test_every_number_has_its_panel(tmp_path: Path) -> None:
    chosen = panels([read_curves(written(tmp_path / "run", ROWS))])
    assert chosen["discriminator accuracy"] == ("accuracy_real", "accuracy_fake")
    assert "perceptual loss" not in chosen
    assert [title for title in chosen if title.startswith("sharp")] == ["sharpness ratio"]
    assert {name for names in chosen.values() for name in names} == {key for row in ROWS for key in row} - {"stage", "images"}


@pytest.mark.parametrize(
    ("text", "match"),
    [(None, "no metrics.jsonl"), ("", "no rows yet"), ('{"stage": "a"\n{"stage": "a", "images": 1}\n', "line 1: not a row")],
)
def test_a_folder_without_a_runs_numbers_is_refused(text: str | None, match: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(UsageError, match=match):
        read_curves(tmp_path)


def test_each_run_is_drawn_in_its_own_colour(tmp_path: Path) -> None:
    """Matplotlib's first two colours, as its manual gives them: #1f77b4 and #ff7f0e."""
    pytest.importorskip("matplotlib")
    runs = [read_curves(written(tmp_path / name, ROWS)) for name in ("first", "second")]
    blue, orange = (0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)
    draw_curves(runs[:1], tmp_path / "one.png")
    draw_curves(runs, tmp_path / "two.png")
    assert blue in colours(tmp_path / "one.png")
    assert orange not in colours(tmp_path / "one.png")
    assert orange in colours(tmp_path / "two.png")


def test_without_matplotlib_the_install_line_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("plot"))):
        draw_curves([read_curves(written(tmp_path / "run", ROWS))], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize(
    "row", ['{"stage": "a", "images": 1e308, "loss": 1}', f'{{"stage": "a", "images": 1, "loss": 1{"0" * 400}}}']
)
def test_numbers_that_no_axis_holds_are_no_metrics(row: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(row + '\n{"stage": "a", "images": 2, "loss": 1}\n')
    with pytest.raises(UsageError, match="line 1: not a row of metrics"):
        read_curves(tmp_path)
