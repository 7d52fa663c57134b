"""tools/gpu_jobs.py, as it is run where a GPU is at hand."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from superscale.data.prepare import prepare_synthetic
from superscale.weights.checkpoint import load_model
from superscale.weights.store import find_model

TOOL = Path(__file__).parents[1] / "tools" / "gpu_jobs.py"


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(TOOL))


def test_blocks_that_are_added_change_nothing_at_first(tool: dict[str, Any]) -> None:
    shallow = find_model("rrdb-lite-x4").generator.double()
    deep = tool["deeper"](shallow, 23).double()
    low_res = torch.rand(1, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(deep(low_res), shallow(low_res), rtol=0, atol=1e-12)
    assert len(deep.body) == 23


@pytest.mark.slow
def test_a_job_leaves_parts_that_the_next_goes_on_from_and_needs_no_imagecodecs(tmp_path: Path) -> None:
    prepare_synthetic(tmp_path / "pack", count=4, side_px=128)
    stand_in = os.environ | {"PYTHONPATH": str(TOOL.parent / "stand_in")}

    def train(*more: str) -> None:
        fixed = [
            "--data",
            str(tmp_path / "pack"),
            "-o",
            str(tmp_path / "out"),
            "--device",
            "cpu",
            "--small",
            "--max-time",
            "300",
            "--images",
            "4",
        ]
        subprocess.run([sys.executable, TOOL, "train", "rrdb-x4", *fixed, *more], check=True, env=stand_in, timeout=600)

    train()
    before = sorted(part.name for part in (tmp_path / "out").glob("weights.*"))
    train("--start", str(tmp_path / "out"))
    assert before == ["weights.00", "weights.01", "weights.02"]
    subprocess.run([sys.executable, TOOL, "join", tmp_path / "out", tmp_path / "joined.safetensors"], check=True)
    assert load_model(tmp_path / "joined.safetensors").generator.config.blocks == 23  # type: ignore[union-attr]
