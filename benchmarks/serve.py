"""How many pictures a second the server gives back, beside a bare `Upscaler` in a loop. See README.md for the contract.

Pictures of 256x256, compact-x4, PNG in and out on both sides: the loop reads, enlarges and encodes as the server's worker does. Server and
loop take turns in rounds, at each concurrency; the ratio of each round is printed as median and quartiles, with p50 and p99 of the latency.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from hardware import hardware
from PIL import Image as Pillow

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live_server import Running
from superscale.image.io import encode_with_notices, read_image
from superscale.inference.upscaler import Upscaler
from superscale.machine.threads import cores

WARM_UP = 3


def picture(side: int) -> bytes:
    """A smooth picture with noise, as PNG."""
    waves = np.sin(np.linspace(0, 12, side))[:, None, None] * np.cos(np.linspace(0, 9, side))[None, :, None]
    noise = np.random.default_rng(0).normal(0, 8, (side, side, 3))
    stream = io.BytesIO()
    Pillow.fromarray((128 + 90 * waves + noise).clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def timed(work: Callable[[], object], times: int, concurrency: int) -> tuple[float, list[float]]:
    """Calls a second, and the seconds of each."""

    def one(_: int) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        taken = list(pool.map(one, range(times)))
    return times / (time.perf_counter() - began), taken


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="compact-x4")
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--times", type=int, default=8, help="pictures in a round")
    options.add_argument("--concurrency", type=int, nargs="+", default=[1, 4])
    chosen = options.parse_args()
    sent = picture(chosen.side)
    upscaler = Upscaler(chosen.model, device="cpu")

    def loop() -> bytes:
        return encode_with_notices(upscaler.enlarge(read_image(sent)), ".png", 95, "keep")[0]

    with tempfile.TemporaryDirectory() as spool:
        server = Running({"spool": spool, "model": chosen.model, "devices": ["cpu"]}, dict(os.environ)).wait_until_ready()

        def ask() -> bytes:
            answer = server.client.post("/v1/upscale", files={"image": sent}, data={"model": chosen.model})
            assert answer.status_code == 200, answer.text
            return answer.content

        assert ask() == loop(), "the server's picture is another"
        for _ in range(WARM_UP):
            loop(), ask()
        for concurrency in chosen.concurrency:
            ratios, latencies, rates = [], [], []
            for _ in range(chosen.rounds):
                bare, _taken = timed(loop, chosen.times, 1)
                served, taken = timed(ask, chosen.times, concurrency)
                ratios.append(served / bare)
                latencies += taken
                rates.append((bare, served))
            low, middle, high = statistics.quantiles(ratios, n=4)
            latencies.sort()
            facts = {
                "concurrency": concurrency,
                "loop_per_second": round(statistics.median(bare for bare, _ in rates), 3),
                "server_per_second": round(statistics.median(served for _, served in rates), 3),
                "ratio": [round(value, 3) for value in (low, middle, high)],
                "p50_seconds": round(latencies[len(latencies) // 2], 3),
                "p99_seconds": round(latencies[int(0.99 * len(latencies))], 3),
            }
            print(json.dumps(facts))
        server.close()
    print(json.dumps(hardware(cores())))


if __name__ == "__main__":
    main()
