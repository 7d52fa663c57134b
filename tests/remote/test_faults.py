"""A store that fails now and then: a door before the real server that answers 500 and 503, waits, and cuts answers short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from time import sleep
from urllib.parse import urlsplit

import pytest

from s3_server import S3Server
from superscale.remote.manifest import lines
from superscale.remote.names import Address

pytestmark = pytest.mark.slow
Faults = dict[tuple[str, int], str]
NAMES = ("a.png", "b.png", "c.png")


class Door(ThreadingHTTPServer):
    """Hands requests on. ``faults``: what happens to the n-th request of a method on a picture."""

    daemon_threads = True

    def __init__(self, server: str, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.to, self.faults, self.counts, self.lock = urlsplit(server).netloc, faults, dict[str, int](), Lock()

    def fault(self, method: str, path: str) -> str:
        with self.lock:
            if ".png" not in path.partition("?")[0]:
                return ""
            self.counts[method] = self.counts.get(method, 0) + 1
            return self.faults.get((method, self.counts[method]), "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(self.command, self.path)
        if fault.isdecimal():
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "slow":
            sleep(0.5)
        connection = HTTPConnection(self.server.to)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "lost":  # it is done, and nobody hears of it
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
        self.close_connection = fault == "cut"

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def door(s3: S3Server) -> Iterator[Callable[[Faults], str]]:
    doors: list[Door] = []

    def opened(faults: Faults) -> str:
        doors.append(Door(s3.url, faults))
        Thread(target=doors[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{doors[-1].server_port}"

    yield opened
    for one in doors:
        one.shutdown()
        one.server_close()


def test_faults_that_pass_leave_no_trace_and_an_answer_that_was_lost_is_no_second_output(
    s3: S3Server, bucket: Address, command: Callable[..., int], draw: Callable[..., Path], door: Callable[[Faults], str]
) -> None:
    draw(bucket.below("in/"), *NAMES)
    url = door({("GET", 1): "cut", ("GET", 2): "503", ("PUT", 1): "500", ("PUT", 2): "slow", ("PUT", 3): "lost"})
    assert command(f"{bucket}in/", "-o", f"{bucket}out/", endpoint=url) == 0
    assert command(f"{bucket}in/", "-o", f"{bucket}plain/") == 0
    for name in ("a_x4.png", "b_x4.png", "c_x4.png"):
        assert s3.store.read(bucket.below(f"out/{name}")) == s3.store.read(bucket.below(f"plain/{name}"))
    told = list(lines(s3.store, bucket.below("out/.superscale/manifest/")))
    assert [one["status"] for one in told] == ["done"] * 3


def test_a_store_that_goes_on_failing_fails_the_picture_only_and_it_is_tried_again(
    s3: S3Server,
    bucket: Address,
    command: Callable[..., int],
    draw: Callable[..., Path],
    door: Callable[[Faults], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("superscale.remote.s3.TRIES", 1)
    draw(bucket.below("in/"), *NAMES)
    assert (
        command(f"{bucket}in/", "-o", f"{bucket}out/", endpoint=door({("PUT", number): "503" for number in range(1, 99)})) == 1
    )
    assert "0 done, 0 skipped, 3 failed of 3" in capsys.readouterr().err
    assert command(f"@{bucket}out/.superscale/manifest/") == 0
    assert len([one for one in s3.store.listed(bucket.below("out/")) if ".superscale/" not in one.address.key]) == 3
