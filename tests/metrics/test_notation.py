"""How metrics are written."""

from __future__ import annotations

from superscale.metrics.catalog import MEASURES
from superscale.metrics.notation import METRICS, PERCEPTUAL, heading


def test_every_metric_says_which_way_is_better() -> None:
    assert {name for name, metric in METRICS.items() if not metric.higher_is_better} == {
        "delta-e", "grid", "lpips-alex", "lpips-vgg", "lpips-squeeze", "dists", "niqe", "grain", "mesh", "features",
        "warping", "flicker",
    }  # fmt: skip
    assert (heading("psnr"), heading("delta-e")) == ("PSNR dB ↑", "DELTA-E ΔE00 ↓")


def test_every_metric_that_is_written_is_measured_and_the_other_way_round() -> None:
    assert list(MEASURES) == list(METRICS)
    assert set(PERCEPTUAL) < METRICS.keys()
