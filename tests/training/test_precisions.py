"""bf16 is for speed: what a run ends with must not show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from skimage import data

from superscale.image.io import Image, write_image
from superscale.training.loop.train import train
from superscale.training.recipe.schema import Recipe, parse_recipe

# As the papers print it for x4, e.g. Ledig et al. 2017, table 2.
BICUBIC_ON_SET5_DB = 28.43


# A small SRResNet takes four minutes of a CPU; it was within 0.05 dB on 2026-11-28.
GENERATOR: dict[str, Any] = {"name": "compact", "features": 24, "convolutions": 4}


def short_schedule(photos: Path, set5: Path, precision: str) -> Recipe:
    """800 steps as in the recipes for CPUs and a hundred in fp32, on a small network."""
    stage = {
        "images": 6400,
        "learning_rate": 1e-3,
        "betas": [0.9, 0.99],
        "schedule": "cosine",
        "warmup_images": 160,
        "gradient_clip": 2.0,
        "ema_decay": 0.99,
        "pixel": {"loss": "l1"},
    }
    tables = {
        "name": "short",
        "precision": precision,
        "generator": GENERATOR,
        "data": {"path": str(photos), "patch_px": 48, "batch": 8},
        "validation": {"path": str(set5), "every_images": 7200, "samples": 1},
        "stage": {
            "psnr": stage,
            "polish": stage | {"images": 800, "precision": "fp32", "learning_rate": 1e-4, "warmup_images": 0},
        },
    }
    return parse_recipe(tables)


@pytest.mark.slow
def test_bf16_and_fp32_end_within_a_twentieth_of_a_decibel_on_set5(benchmarks: Path, tmp_path: Path) -> None:
    for name in ("astronaut", "coffee", "rocket", "cat"):
        write_image(tmp_path / "photos" / f"{name}.png", Image(getattr(data, name)()))
    ends = {}
    for precision in ("fp32", "bf16"):
        run_dir = tmp_path / precision
        train(short_schedule(tmp_path / "photos", benchmarks / "Set5", precision), run_dir, device="cpu", quiet=True)
        ends[precision] = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])["validation_psnr"]
    assert min(ends.values()) > BICUBIC_ON_SET5_DB + 0.5, f"long enough to have learnt something: {ends}"
    assert ends["bf16"] != ends["fp32"], "bf16 was computed in"
    assert ends["bf16"] == pytest.approx(ends["fp32"], abs=0.05)
