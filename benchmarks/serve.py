"""How many pictures a second the server gives back, beside a bare `Upscaler` in a loop. See README.md for the contract.

Pictures of 256x256, compact-x4, PNG in and out on both sides: the loop reads, enlarges and encodes as the server's worker does. Server and
loop take turns in rounds, at each concurrency; the ratio of each round is printed as median and quartiles, with p50 and p99 of the latency.
Where LitServe is installed, it serves the loop's function in the same rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from hardware import hardware
from PIL import Image as Pillow

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live_server import Running
from superscale.image.io import encode_with_notices, read_image
from superscale.inference.upscaler import Upscaler
from superscale.machine.threads import cores

WARM_UP = 3
LITSERVE = """
import sys
import litserve
from starlette.responses import Response
from superscale.image.io import encode_with_notices, read_image
from superscale.inference.upscaler import Upscaler

class Enlarging(litserve.LitAPI):
    def setup(self, device):
        self.upscaler = Upscaler(sys.argv[2], device="cpu")

    def decode_request(self, request):
        return request["image"].file.read()

    def predict(self, content):
        return encode_with_notices(self.upscaler.enlarge(read_image(content)), ".png", 95, "keep")[0]

    def encode_response(self, output):
        return Response(output, media_type="image/png")

if __name__ == "__main__":
    server = litserve.LitServer(Enlarging(), accelerator="cpu", timeout=600)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
"""


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


@contextmanager
def litserve(model: str, folder: Path) -> Iterator[httpx.Client | None]:
    """A client of LitServe with the loop's function; None where it is not installed."""
    if find_spec("litserve") is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "peer.py").write_text(LITSERVE)
    process = subprocess.Popen(
        [sys.executable, "peer.py", str(port), model],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)
    try:
        for _ in range(120):
            time.sleep(0.5)
            with suppress(httpx.TransportError):
                if client.get("/health").status_code == 200:
                    break
        yield client
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers would outlive it
        process.wait()


def ask(client: httpx.Client, path: str, sent: bytes) -> bytes:
    """The picture that a server makes of one."""
    answer = client.post(path, files={"image": sent})
    assert answer.status_code == 200, answer.text
    return answer.content


def summary(bare: list[float], rounds: list[tuple[float, list[float]]]) -> dict[str, Any]:
    """The rates of the loop and of a server, their ratio (quartiles), and the latencies."""
    low, middle, high = statistics.quantiles((rate / loop for loop, (rate, _) in zip(bare, rounds, strict=True)), n=4)
    latencies = sorted(seconds for _, taken in rounds for seconds in taken)
    return {
        "loop_per_second": round(statistics.median(bare), 3),
        "served_per_second": round(statistics.median(rate for rate, _ in rounds), 3),
        "ratio": [round(value, 3) for value in (low, middle, high)],
        "p50_seconds": round(latencies[len(latencies) // 2], 3),
        "p99_seconds": round(latencies[int(0.99 * len(latencies))], 3),
    }


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

    with tempfile.TemporaryDirectory() as spool, litserve(chosen.model, Path(spool)) as peer:
        facts = {"spool": f"{spool}/serve", "model": chosen.model, "devices": ["cpu"]}
        server = Running(facts, dict(os.environ)).wait_until_ready()
        sides: dict[str, Callable[[], bytes]] = {"server": partial(ask, server.client, "/v1/upscale", sent)}
        if peer is not None:
            sides["litserve"] = partial(ask, peer, "/predict", sent)
        assert all(side() == loop() for side in sides.values()), "a server's picture is another"
        for _ in range(WARM_UP):
            loop(), *(side() for side in sides.values())
        for concurrency in chosen.concurrency:
            bare: list[float] = []
            found: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in sides}
            for _ in range(chosen.rounds):
                bare.append(timed(loop, chosen.times, 1)[0])
                for name, side in sides.items():
                    found[name].append(timed(side, chosen.times, concurrency))
            for name, rounds in found.items():
                print(json.dumps({"side": name, "concurrency": concurrency, **summary(bare, rounds)}))
        server.close()
    print(json.dumps(hardware(cores())))


if __name__ == "__main__":
    main()
