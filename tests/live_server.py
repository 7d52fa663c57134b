"""A real server process, and a client of it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx
import numpy as np
from PIL import Image

START = """
import json, sys
from pathlib import Path
from superscale.server.limits import Settings
from superscale.server.run import run
facts = json.loads(sys.argv[1])
run(Settings(**{**facts, "spool": Path(facts["spool"]), "devices": ("cpu",), "allow_hosts": tuple(facts.get("allow_hosts", ()))}))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def png(height: int = 24, width: int = 32, seed: int = 0) -> bytes:
    """A picture of noise."""
    stream = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


class Running:
    """A server process and a client of it."""

    def __init__(self, settings: dict[str, Any], environment: dict[str, str]) -> None:
        self.port = settings.setdefault("port", free_port())
        self.settings = settings
        self.log = TemporaryFile("w+")  # noqa: SIM115 - closed with the server
        command = [sys.executable, "-c", START, json.dumps(settings)]
        self.process = subprocess.Popen(command, env=environment, stderr=self.log)
        token = settings.get("token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def wait_until_ready(self) -> Running:
        for _ in range(600):
            try:
                if self.client.get("/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                assert self.process.poll() is None, self.printed()
            time.sleep(0.05)
        raise AssertionError("the server was not ready in 30 seconds")

    def post(self, path: str = "/v1/jobs", picture: bytes | None = None, headers: Any = None, **fields: Any) -> Any:
        files = {"image": ("picture.png", png() if picture is None else picture)}
        data = {"model": "quick"} | {name: str(value) for name, value in fields.items()}
        return self.client.post(path, files=files, data=data, headers=headers)

    def submit(self, picture: bytes | None = None, **fields: Any) -> str:
        """The id of a new job."""
        answer = self.post("/v1/jobs", picture, **fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def submit_slow(self, side: int = 256) -> str:
        """The id of a job that takes seconds, in many tiles."""
        return self.submit(png(side, side), model="slow")

    def job(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return document

    def until(self, job_id: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not holds(document := self.job(job_id)):
            assert time.monotonic() < end, document
            time.sleep(0.02)
        return document

    def until_over(self, job_id: str) -> dict[str, Any]:
        return self.until(job_id, lambda job: job["state"] in ("done", "failed", "cancelled"))

    def events(self, job_id: str, last: int | None = None) -> list[tuple[str, int, dict[str, Any]]]:
        """(event, id, data) until the stream ends."""
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        answer = self.client.get(f"/v1/jobs/{job_id}/events", headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = []
        for block in answer.text.strip().split("\n\n"):
            facts = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if facts:
                found.append((facts["event"], int(facts["id"]), json.loads(facts["data"])))
        return found

    def worker(self, role: str = "worker") -> int:
        """The process id of its worker."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    status, command = (entry / "status").read_text(), (entry / "cmdline").read_text()
                except OSError:
                    continue
                if f"PPid:\t{self.process.pid}\n" in status and f'"role": "{role}"' in command:
                    return int(entry.name)
        raise AssertionError(f"no {role}")

    def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.client.close()
        return code

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()

    def printed(self) -> str:
        """What it wrote to stderr."""
        self.log.seek(0)
        return self.log.read()
