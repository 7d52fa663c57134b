"""How fast is our SSIM beside scikit-image's, at equal value? See README.md for the contract."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from hardware import hardware
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from superscale.metrics.ssim import ssim

SIZES = {"BSD100": (321, 481), "2K": (1400, 2040)}


def pictures(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo-like luma plane and a noisy copy, 8-bit values in float64."""
    random = np.random.default_rng(0)
    first = gaussian_filter(random.normal(0, 600, (height, width)), 3) + 128
    return first.clip(0, 255).round(), (first + random.normal(0, 5, first.shape)).clip(0, 255).round()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    for name, (height, width) in SIZES.items():
        first, second = pictures(height, width)
        batches = [torch.from_numpy(plane)[None, None] for plane in (first, second)]

        def ours(batches: list[torch.Tensor] = batches) -> float:
            return float(ssim(*batches, data_range=255, border=0, color="y"))

        def peer(first: np.ndarray = first, second: np.ndarray = second) -> float:
            options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
            return float(structural_similarity(first, second, data_range=255, **options))

        difference = abs(ours() - peer())
        # In turns, so that whatever else the machine does falls on both.
        pairs = [(seconds(ours), seconds(peer)) for _ in range(options.runs + 3)][3:]
        ratios = sorted(theirs / mine for mine, theirs in pairs)
        quarter = len(ratios) // 4
        results.append(
            {
                "picture": f"{name} {width}x{height}",
                "ours_ms": round(1e3 * statistics.median(mine for mine, _ in pairs), 2),
                "scikit_image_ms": round(1e3 * statistics.median(theirs for _, theirs in pairs), 2),
                "ratio_median": round(statistics.median(ratios), 2),
                "ratio_quartiles": [round(ratios[quarter], 2), round(ratios[-1 - quarter], 2)],
                "value_difference": difference,
            }
        )
    print(json.dumps({"hardware": hardware(options.threads), "results": results}, indent=1))


if __name__ == "__main__":
    main()
