"""The stateless routes on Ray Serve, with two replicas on this machine."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from live_server import png
from superscale.inference.upscaler import Upscaler

pytest.importorskip("ray.serve", reason="the extra 'ray-serve' is not installed")
pytestmark = pytest.mark.slow
START_SECONDS = 120


@pytest.fixture(scope="module")
def ray(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of `serve run superscale.server.ray:app` with two networks and a queue of two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("ray")
    config = folder / "config.yaml"
    arguments = "{replicas: 2, cpus: 0.5, model: quick, queue: 2, max_output_pixels: 1000000}"
    config.write_text(
        f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
        f"applications: [{{name: superscale, route_prefix: /, import_path: 'superscale.server.ray:app', args: {arguments}}}]\n"
    )
    environment = os.environ | {"SUPERSCALE_CACHE": str(models_folder), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [Path(sys.executable).with_name("serve"), "run", config]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
    try:
        end = time.monotonic() + START_SECONDS
        while not _ready(client):
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < end, (folder / "log").read_text()[-3000:]
            time.sleep(0.5)
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            _kill(process.pid)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _kill(session: int) -> None:
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_a_picture_comes_back_as_the_upscaler_makes_it(ray: httpx.Client, models_folder: Path) -> None:
    answer = ray.post("/v1/upscale", files={"image": ("a.png", png(40, 30))})
    assert answer.status_code == 200, answer.text
    network = Upscaler(str(models_folder / "models" / "quick.safetensors"), device="cpu")
    here = np.asarray(network(Image.open(io.BytesIO(png(40, 30)))))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), here)
    assert {"quick", "slow"} <= {one["name"] for one in ray.get("/v1/models").json()["models"]}


@pytest.mark.parametrize(
    ("content", "fields", "status", "kind"),
    [
        (b"no picture", {}, 415, "not-a-picture"),
        (png(40, 40)[:-20], {}, 422, "damaged"),
        (png(40, 40), {"scale": "64"}, 413, "output-too-large"),
        (png(40, 40), {"model": "nobody"}, 422, "bad-field"),
    ],
)
def test_what_cannot_be_enlarged_is_a_problem_document(
    ray: httpx.Client, content: bytes, fields: dict[str, str], status: int, kind: str
) -> None:
    answer = ray.post("/v1/upscale", files={"image": content}, data=fields)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:superscale:{kind}")


def test_whom_the_queue_has_no_place_for_is_told_when_to_come_again(ray: httpx.Client) -> None:
    def ask(_: int) -> tuple[int, str]:
        answer = ray.post("/v1/upscale", files={"image": png(140, 140)}, data={"model": "slow"})
        return answer.status_code, answer.headers.get("retry-after", "0")

    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(ask, range(10)))
    statuses = Counter(status for status, _ in answers)
    assert statuses.keys() == {200, 429}
    assert statuses[200] >= 4  # two are computed and two wait
    assert all(int(seconds) >= 1 for status, seconds in answers if status == 429)
    assert ray.get("/healthz").status_code == 200
