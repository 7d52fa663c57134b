"""What a run tells."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from superscale.training.run.live_table import Progress, table
from superscale.training.run.log import RunLog


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def short_run(run_dir: Path) -> None:
    """Two steps reported, a validation, two more steps."""
    log = RunLog(run_dir)
    log.begin("gan", images=0, total=80, step_images=16)
    log.step()
    log.step()
    log.report(32, 1e-4, {"loss": 0.5, "pixel": 0.375})
    log.write({"stage": "gan", "images": 32, "validation_psnr": 30.25})
    log.step()
    log.step()
    log.report(64, 5e-5, {"loss": 0.5})
    log.close()


def rows(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_report_is_a_row_with_its_rates(tmp_path: Path) -> None:
    short_run(tmp_path)
    first, validation, second = rows(tmp_path)
    assert (first["images"], first["loss"], first["pixel"], first["learning_rate"]) == (32, 0.5, 0.375, 1e-4)
    assert validation == {"stage": "gan", "images": 32, "validation_psnr": 30.25}
    assert (second["images"], second["loss"], second["learning_rate"]) == (64, 0.5, 5e-5)
    assert "pixel" not in second
    assert first["images_per_second"] > 0
    assert 0 <= first["data_wait"] <= 1


def test_tensorboard_reads_the_numbers_of_metrics_jsonl(tmp_path: Path) -> None:
    short_run(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path)).Reload()
    expected = {
        (f"gan/{name}", row["images"], value)
        for row in rows(tmp_path)
        for name, value in row.items()
        if name not in ("stage", "images")
    }
    seen = {(tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}
    assert len(seen) == len(expected)
    for got, wanted in zip(sorted(seen), sorted(expected), strict=True):
        assert got[:2] == wanted[:2]
        assert got[2] == pytest.approx(wanted[2], rel=1e-6)  # TensorBoard keeps single precision


def test_without_a_terminal_a_report_is_one_plain_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short_run(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("gan 32/80  loss 0.5  pixel 0.375")
    assert "images/s" in lines[0]
    assert lines[1].endswith("left in this stage")
    assert "\x1b" not in "".join(lines)


def test_on_a_terminal_the_reports_become_one_table_that_is_redrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    short_run(tmp_path)
    shown = terminal.getvalue()
    assert "gan 32/80" not in shown
    assert "[bold]" not in shown
    for text in ("64 of 80 images", "30.25 dB", "data wait", "images/s", "left in stage", "learning rate"):
        assert text in shown
    assert "\x1b[?25h" in shown.rpartition("\x1b[?25l")[2], "the cursor comes back"


def test_a_stage_knows_its_place_and_what_comes_after_it(tmp_path: Path) -> None:
    log = RunLog(tmp_path, stages={"psnr": 100, "gan": 80, "polish": 20})
    log.begin("gan", images=0, total=80, step_images=16)
    assert (log.progress.number, log.progress.stages, log.progress.images_after) == (2, 3, 20)
    log.close()


def test_a_resumed_stage_still_knows_its_best_validation(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.begin("psnr", images=32, total=80, step_images=16, best_psnr=31.5)
    log.write({"stage": "psnr", "images": 48, "validation_psnr": 30.25})
    assert (log.progress.psnr, log.progress.best_psnr) == (30.25, 31.5)
    log.begin("gan", images=0, total=80, step_images=16)
    assert (log.progress.psnr, log.progress.best_psnr) == (None, None), "another stage is another measure"
    log.close()


def test_the_table_shows_each_number_with_its_name() -> None:
    console = Console(file=io.StringIO(), width=100)
    progress = Progress("gan", 1600, 3200, {"loss": 0.12345, "gradient_norm": 2.0}, 1e-4, 12.34, 0.015, 3661.0, 30.0, 31.5)
    progress.number, progress.stages, progress.images_after, progress.step_images = 2, 3, 2100, 16
    progress.began = time.monotonic() - 65
    console.print(table(progress))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    shown = {" ".join(line.split()) for line in text.splitlines()}
    assert {"loss 0.1235", "gradient norm 2", "PSNR 30.00 dB, best 31.50 dB", "learning rate 0.0001"} <= shown
    assert {
        "images/s 12.3 (0.771 steps/s)",
        "left in all 1:03:51 at this rate",
        "elapsed 0:01:05",
        "data wait 1.5%",
        "left in stage 1:01:01",
    } <= shown
    assert "1,600 of 3,200 images" in text
    assert "gan (2 of 3)" in text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["metrics.jsonl", "health.jsonl", "environment.json"])
def test_a_pipe_in_place_of_a_log_is_named_and_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    reader = os.open(tmp_path / name, os.O_RDONLY | os.O_NONBLOCK)  # with one, not even a faulty log waits
    try:
        with pytest.raises(FileExistsError, match="expected a file, got a pipe"):
            RunLog(tmp_path)
    finally:
        os.close(reader)
