"""Evaluations that are refused or disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Run


def test_a_full_disk_leaves_all_results_of_an_evaluation_or_none(faulty: Run, photos: Path) -> None:
    faulty("evaluate", "--data", "photos", "-o", "report", faults=[("full_disk", "*.superscale-*")]).failed_naming("report")
    assert not list((photos.parent / "report").iterdir())


def test_a_folder_in_the_place_of_a_report_is_named_before_the_work(faulty: Run, photos: Path) -> None:
    (photos.parent / "report" / "report.html").mkdir(parents=True)
    ended = faulty("evaluate", "--data", "photos", "-m", "bicubic", "-o", "report", "--overwrite")
    ended.failed_naming("report/report.html: expected a file, got a folder")
    assert not ended.out


@pytest.mark.parametrize("limit", ["psnr=nan", "psnr=inf", "psnr=-inf"])
def test_a_limit_that_is_no_number_is_refused(faulty: Run, photos: Path, limit: str) -> None:
    faulty("evaluate", "--data", "photos", "--fail-below", limit).failed_naming(limit, code=2)
