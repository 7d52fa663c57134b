"""Clients that mean no good, and many that do."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from live_server import Running, png

pytestmark = pytest.mark.slow
Serving = Callable[..., Any]
REQUESTS = int(os.environ.get("SUPERSCALE_HOSTILE_REQUESTS", "2000"))
SECONDS = float(os.environ.get("SUPERSCALE_LOAD_SECONDS", "20"))
CLIENTS = 200
FORM = "multipart/form-data; boundary=b"
# The seconds of health checks, from a process that does nothing else.
PROBE = """
import http.client, json, sys, time
times, end = [], time.monotonic() + float(sys.argv[2])
client = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
while time.monotonic() < end:
    began = time.perf_counter()
    client.request("GET", "/healthz")
    answer = client.getresponse()
    answer.read()
    assert answer.status == 200
    times.append(time.perf_counter() - began)
    time.sleep(0.02)
print(json.dumps(times))
"""


def resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def part(name: str, content: bytes, filename: str = "") -> bytes:
    called = f'; filename="{filename}"' if filename else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{called}\r\n\r\n'.encode() + content + b"\r\n"


def hostile(draw: random.Random, pictures: list[bytes]) -> bytes:
    """A request, whole or not, that no honest client sends."""
    picture = bytearray(draw.choice(pictures))
    for _ in range(draw.randrange(8)):
        picture[draw.randrange(len(picture))] = draw.randrange(256)
    picture = picture[: draw.randrange(1, len(picture) + 1)] if draw.random() < 0.5 else picture
    fields = {"model": "quick", "scale": draw.choice(["4", "-1", "1e308", "nan", "٣", "0x10", "4" * 2000])}
    body = b"".join(part(name, value.encode()) for name, value in fields.items() if draw.random() < 0.5)
    body += part(
        draw.choice(["image", "image", "image", "file", "\x00", "image[]"]),
        bytes(picture),
        draw.choice(["a.png", "../../x", "\udcff".encode("utf-8", "surrogateescape").hex()]),
    )
    body += draw.choice([b"--b--\r\n", b"--b--\r\n", b"", b"--b", b"--c--\r\n"])
    length = draw.choice([len(body)] * 4 + [len(body) // 2, len(body) + 100, 10**12])
    path = draw.choice(["/v1/upscale", "/v1/jobs", "/v1/jobs/../x", "/%00", "/static/%2e%2e/app.py", "/v1/jobs/" + "a" * 5000])
    kind = draw.choice([FORM] * 4 + ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 500, "text/plain"])
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    head += draw.choice(
        [
            "",
            "",
            "Last-Event-ID: \x01\r\n",
            "Idempotency-Key: " + "k" * 1000 + "\r\n",
            "Transfer-Encoding: chunked\r\n",
            "X: " + "y" * 70000 + "\r\n",
        ]
    )
    return head.encode("latin-1", "replace") + b"Connection: close\r\n\r\n" + body


def answered(port: int, request: bytes) -> bytes:
    """The first bytes of the answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(request)
            return raw.recv(4096)
    except OSError:
        return b""


def bad_files(shared: Path, tmp_path: Path) -> list[bytes]:
    script = shared / "tools" / "make_bad_inputs.py"
    if script.is_file():
        subprocess.run([sys.executable, script, tmp_path / "bad"], check=False, capture_output=True, timeout=120)
    files = [path for path in (tmp_path / "bad").rglob("*") if path.is_file() and 0 < path.stat().st_size < 200_000]
    return [path.read_bytes() for path in files]


def test_hostile_requests_are_answered_without_a_trace_and_without_growth(
    serving: Serving, shared: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    pictures = [png(), png(40, 40, 1), *bad_files(shared, tmp_path)]
    assert len(pictures) > 10
    limits = {"max_bytes": 200_000, "max_pixels": 1_000_000, "timeout": 5, "queue": 50, "keep": 5}
    patience = {"header_seconds": 0.3, "body_seconds": 0.3, "least_rate": 10_000_000}
    with (
        serving(tmp_path / "spool", **limits, **patience) as server,
        concurrent.futures.ThreadPoolExecutor(8) as clients,
    ):
        for _ in clients.map(lambda request: answered(server.port, request), [hostile(draw, pictures) for _ in range(200)]):
            pass
        before = resident(server.process.pid)
        statuses: Counter[bytes] = Counter()
        for answer in clients.map(lambda _: answered(server.port, hostile(draw, pictures)), range(REQUESTS)):
            statuses[answer[9:12]] += 1
            assert b"Traceback" not in answer
            assert str(tmp_path).encode() not in answer
        assert statuses.keys() <= {
            b"",
            *(b"%d" % status for status in (200, 202, 400, 404, 405, 408, 413, 415, 422, 429, 503, 504)),
        }
        assert statuses[b""] < REQUESTS / 10
        assert len(statuses) > 5  # they came to different layers
        assert resident(server.process.pid) - before < 50_000_000
        server.wait_until_ready()
        assert server.post("/v1/upscale").status_code in (200, 429)
        print(statuses, (resident(server.process.pid) - before) / 1e6, "MB")  # noqa: T201


def test_many_clients_get_an_answer_each_and_the_health_check_stays_quick(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path, queue=20) as server:
        end = time.monotonic() + SECONDS
        statuses: Counter[int] = Counter()
        accepted: list[str] = []
        probe = subprocess.Popen(
            [sys.executable, "-c", PROBE, str(server.port), str(SECONDS)], stdout=subprocess.PIPE, text=True
        )
        picture = png(140, 140)

        trust = ssl.create_default_context()  # one for all: each takes 20 ms to make

        async def client(number: int) -> None:
            async with httpx.AsyncClient(base_url=server.url, timeout=60, verify=trust) as one:
                while time.monotonic() < end:
                    path = "/v1/upscale" if number % 2 else "/v1/jobs"
                    answer = await one.post(path, files={"image": picture}, data={"model": "quick"})
                    statuses[answer.status_code] += 1
                    if answer.status_code == 202:
                        accepted.append(answer.json()["id"])
                    elif answer.status_code == 429:
                        assert int(answer.headers["retry-after"]) >= 1
                        await asyncio.sleep(1)

        async def clients() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(client(number))

        asyncio.run(clients())
        assert statuses.keys() <= {200, 202, 429}
        assert accepted
        assert {server.until_over(one)["state"] for one in accepted} == {"done"}
        health = sorted(json.loads(probe.communicate(timeout=60)[0]))
        assert health
        print(statuses, f"p99 of /healthz: {1000 * health[int(0.99 * len(health))]:.0f} ms of {len(health)}")  # noqa: T201


def test_what_the_document_of_the_routes_says_holds(server: Running, tmp_path: Path) -> None:
    if (schemathesis := shutil.which("schemathesis", path=str(Path(sys.executable).parent))) is None:
        pytest.skip("schemathesis is not installed")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [schemathesis, "run", f"{server.url}/openapi.json", "--max-examples", "20", "--checks", checks, "--workers", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-6000:]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 600 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_is_told_and_loses_nothing(serving: Serving, small: Path) -> None:
    with serving(small / "spool", keep=2.0) as server:
        (small / "fill").write_bytes(bytes(300_000))
        statuses = {server.post("/v1/jobs", png(200, 200, seed)).status_code for seed in range(6)}
        assert 503 in statuses
        assert statuses <= {202, 503, 429}
        assert server.client.get("/healthz").status_code == 200
        (small / "fill").unlink()
        end = time.monotonic() + 30
        while server.post("/v1/upscale").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.5)


def test_a_full_disk_does_not_keep_a_server_from_stopping(serving: Serving, small: Path) -> None:
    with serving(small / "spool", grace=0.5) as server:
        job = server.submit_slow(140)
        server.until(job, lambda one: one["progress"] > 0)
        with suppress(OSError), open(small / "fill", "wb", 0) as fill:
            while True:
                fill.write(bytes(4096))
        assert server.stop() == 0
        (small / "fill").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)  # the result is larger than what was there
    with serving(small / "spool") as server:
        assert server.until_over(job)["state"] == "done"


def test_a_memory_bomb_ends_its_own_job(serving: Serving, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (6000, 6000)).save(stream, "PNG")
    with serving(tmp_path, memory=200_000_000, max_pixels=40_000_000, max_output_pixels=10**9) as server:
        answer = server.post("/v1/upscale", stream.getvalue())
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:superscale:out-of-memory")
        server.wait_until_ready()
        assert server.post("/v1/upscale").status_code == 200


def test_a_stopped_worker_is_no_reason_not_to_answer(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        os.kill(worker := server.worker(), signal.SIGSTOP)
        assert server.client.get("/healthz").status_code == 200
        job = server.submit()
        server.client.delete(f"/v1/jobs/{job}")
        os.kill(worker, signal.SIGCONT)
        assert server.until_over(job)["state"] in ("cancelled", "done")
