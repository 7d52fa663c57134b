"""`superscale evaluate` under torchrun: two processes against one."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from superscale.data.pairs import PairFolder
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize

ONE = ("-m", "superscale", "evaluate")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *ONE)


def run(command: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, *command, *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def test_two_processes_make_the_table_of_one_to_the_last_digit_and_say_it_once(photos: Path, tmp_path: Path) -> None:
    (photos / "photo-4.png").unlink()  # five: the shares are not equal
    arguments = ("--data", photos, "--model", "bicubic", "--model", "bilinear", "--metric", "psnr,ssim,lr-psnr,delta-e,grid")
    one = run(ONE, *arguments, "--json", "-o", tmp_path / "one")
    two = run(TWO, *arguments, "--json", "-o", tmp_path / "two")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    first, second = (json.loads(result.stdout) for result in (one, two))
    assert second["rows"] == first["rows"]
    assert list(second["rows"][0]["images"]) == [path.stem for path in sorted(photos.iterdir())]
    assert second["convention"] == first["convention"]
    assert [cost["megapixels"] for cost in second["costs"]] == [cost["megapixels"] for cost in first["costs"]]
    assert two.stderr.count("wrote results.csv") == 1
    tables = [list(csv.reader((tmp_path / name / "results.csv").read_text().splitlines())) for name in ("one", "two")]
    assert tables[0] == tables[1]
    crops = [
        (tmp_path / name / "report.html").read_text().split('id="viewers"')[1].split("</div>\n")[0] for name in ("one", "two")
    ]
    assert crops[0] == crops[1]
    assert crops[0].count("<section") == 5


@pytest.mark.slow
def test_what_fails_at_one_process_is_told_once_and_all_fail(photos: Path, tmp_path: Path) -> None:
    for number, pair in enumerate(PairFolder(photos, 4)):
        pixels = np.zeros((8, 8, 3), np.uint8) if number == 1 else imresize(pair.low_res, 4)
        write_image(tmp_path / "tool" / f"{pair.name}.png", Image(pixels))
    result = run(TWO, "--data", photos, "--outputs", tmp_path / "tool")
    assert result.returncode != 0
    assert result.stdout == ""
    told = [line for line in result.stderr.splitlines() if line.startswith("superscale: ")]
    assert len(told) == 1
    assert told[0].endswith("photo-1.png: 8x8, expected 112x96 as the truth photo-1")
