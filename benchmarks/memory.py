"""How much memory a 100-megapixel output takes at its peak, for each format: the whole command in a process of its own.

The network is a trivially cheap one, so that what is measured is everything else: reading, tiles, the enlarged picture, its encoder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from hardware import hardware

from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import save_model

SIDE_PX, SCALE, THREADS = 2500, 4, 1
LIMIT_BYTES = 2 * 1024**3
# What is written -> the arguments for it, and whether the input has 16 bits
OUTPUTS = {
    "png": (".png", False),
    "jpg": (".jpg", False),
    "webp": (".webp", False),
    "tiff": (".tif", False),
    "png16": (".png", True),
    "tiff16": (".tif", True),
}
ONE = """
import resource, sys, torch
torch.set_num_threads(int(sys.argv.pop(1)))
from superscale.cli.main import main
sys.argv[0] = "superscale"
try: main()
except SystemExit as stop: assert not stop.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measured(folder: Path, output: str, side_px: int, alpha: bool) -> dict[str, object]:
    """Peak memory, seconds and file size of one output. The input is noise: the worst case for encoders that keep symbols."""
    suffix, deep = OUTPUTS[output]
    source, target = folder / "in.tif", folder / f"out{suffix}"
    samples = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3 + alpha), dtype=np.uint8)
    extra = ["unassalpha"] if alpha else None
    tifffile.imwrite(source, samples.astype(np.uint16) * 257 if deep else samples, photometric="rgb", extrasamples=extra)
    del samples
    line = ["upscale", str(source), "-o", str(target), "--model", str(folder / "fast.safetensors"), "--overwrite", "-q"]
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", ONE, str(THREADS), *line], stdout=subprocess.PIPE, text=True, check=True)
    peak = int(ended.stdout) * (1024 if sys.platform == "linux" else 1)
    return {
        "output": output + (" with alpha" if alpha else ""),
        "peak_mebibytes": round(peak / 2**20),
        "within_limit": peak < LIMIT_BYTES,
        "seconds": round(time.monotonic() - began, 1),
        "file_megabytes": round(target.stat().st_size / 1e6, 1),
    }


def main() -> None:
    """Print one JSON object. Exit code 1 when an output without alpha takes more than 2 GiB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", action="append", choices=OUTPUTS, help="once or more; default: all")
    parser.add_argument("--side", type=int, default=SIDE_PX, help="of the input in pixels; the output has four times as many")
    parser.add_argument("--alpha", action="store_true", help="an input with transparency")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        save_model(folder / "fast.safetensors", build_generator("compact", {"features": 8, "convolutions": 1}), {})
        rows = [measured(folder, output, given.side, given.alpha) for output in given.output or OUTPUTS]
    megapixels = (given.side * SCALE) ** 2 / 1e6
    print(
        json.dumps(
            {**hardware(THREADS), "megapixels": megapixels, "limit_mebibytes": LIMIT_BYTES >> 20, "rows": rows}, indent=1
        )
    )
    raise SystemExit(0 if given.alpha or all(row["within_limit"] for row in rows) else 1)


if __name__ == "__main__":
    main()
