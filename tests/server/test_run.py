"""The life of the process: kills, stops, time-outs, full quotas, slow clients."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from live_server import png

Serving = Callable[..., Any]


@pytest.mark.slow
def test_a_killed_server_loses_no_accepted_job_and_does_none_twice(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        done = server.submit()
        server.until_over(done)
        facts = tmp_path / "jobs" / done / "facts.json"
        written = facts.stat().st_mtime_ns
        running = server.submit_slow(140)
        waiting = server.submit(png(140, 140))
        server.until(running, lambda job: job["state"] == "running")
        processes = [server.worker(), server.worker("inspector")]  # one at work, one idle
        server.process.kill()
        server.process.wait()
        end = time.monotonic() + 10
        while any(Path(f"/proc/{one}").exists() for one in processes):
            assert time.monotonic() < end, "a worker outlives its server"
            time.sleep(0.02)
    with serving(tmp_path) as server:
        assert [server.until_over(one)["state"] for one in (running, waiting)] == ["done", "done"]
        assert server.job(done)["state"] == "done"
        assert facts.stat().st_mtime_ns == written
        assert server.stop() == 0


@pytest.mark.slow
def test_a_killed_worker_ends_one_job_and_is_replaced(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        running = server.submit_slow()
        waiting = server.submit(png(140, 140))
        server.until(running, lambda job: job["progress"] > 0)
        os.kill(server.worker(), signal.SIGKILL)
        document = server.until_over(running)
        assert (document["state"], document["error"]["type"]) == ("failed", "urn:superscale:worker-died")
        assert server.until_over(waiting)["state"] == "done"
        os.kill(server.worker("inspector"), signal.SIGKILL)
        assert server.post("/v1/upscale").status_code in (200, 503)  # 503 where its end was noticed before the request
        server.wait_until_ready()
        # A worker that does not answer a cancel is killed too.
        stuck = server.submit_slow()
        server.until(stuck, lambda job: job["state"] == "running")
        os.kill(worker := server.worker(), signal.SIGSTOP)
        server.client.delete(f"/v1/jobs/{stuck}")
        assert server.until_over(stuck)["state"] == "cancelled"
        server.wait_until_ready()
        assert server.worker() != worker


@pytest.mark.slow
def test_a_preview_that_is_given_up_behind_a_long_tile_does_not_end_the_job(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        running = server.submit_slow(140)
        server.until(running, lambda job: job["progress"] > 0)
        os.kill(worker := server.worker(), signal.SIGSTOP)  # a tile that takes its time
        preview = server.submit()
        server.until(preview, lambda job: job["state"] == "running")
        server.client.delete(f"/v1/jobs/{preview}")
        time.sleep(6)  # more than a worker has to answer a cancel
        os.kill(worker, signal.SIGCONT)
        assert server.until_over(running)["state"] == "done"
        assert server.until_over(preview)["state"] == "cancelled"
        assert server.worker() == worker


@pytest.mark.slow
def test_a_stop_lets_the_running_job_end_and_keeps_those_that_wait(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        running, waiting = server.submit_slow(140), server.submit(png(140, 140))
        server.until(running, lambda job: job["progress"] > 0)
        with server.client.stream("GET", f"/v1/jobs/{waiting}/events") as waits:
            server.process.send_signal(signal.SIGTERM)
            assert "event: restarting" in waits.read().decode()
        answer = server.post("/v1/jobs")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:superscale:draining")
        assert int(answer.headers["retry-after"]) >= 1
        assert server.client.get("/readyz").status_code == 503
        assert server.client.get("/healthz").status_code == 200
        assert server.events(running)[-1][0] == "done"
        assert server.process.wait(30) == 0
        assert not (tmp_path / "jobs" / waiting / "facts.json").exists()
    with serving(tmp_path, grace=0) as server:
        assert server.job(running)["state"] == "done"
        assert server.until_over(waiting)["state"] == "done"
        # What does not end in time waits for the next start.
        long = server.submit_slow()
        server.until(long, lambda job: job["progress"] > 0)
        assert server.stop() == 0
    with serving(tmp_path) as server:
        assert server.job(long)["state"] in ("waiting", "running")


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_ended_and_the_next_is_done(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path, timeout=1.0) as server:
        answer = server.post("/v1/upscale", png(300, 300), model="slow")
        assert (answer.status_code, answer.json()["type"]) == (504, "urn:superscale:timed-out")
        assert server.post("/v1/upscale").status_code == 200


@pytest.mark.slow
def test_a_full_quota_refuses_until_results_expire(serving: Serving, tmp_path: Path) -> None:
    # 60 kB are a table of jobs, and the upload and result of one small picture.
    with serving(tmp_path, quota=250_000, keep=3.0) as server:
        first = server.submit(png(40, 300))
        document = server.until_over(first)
        assert document["state"] == "failed"
        assert document["error"]["type"] == "urn:superscale:disk-full"
        assert not list((tmp_path / "jobs" / first).glob("result*"))
        answer = server.post("/v1/jobs", png(250, 300))
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:superscale:disk-full")
        assert 1 <= int(answer.headers["retry-after"]) <= 4
        used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert used <= 250_000
        end = time.monotonic() + 30
        while server.client.get(f"/v1/jobs/{first}").status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert not (tmp_path / "jobs" / first).exists()
        assert server.post("/v1/jobs", png(10, 10)).status_code == 202


def said_to(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What a server says to a client that sends so, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        try:
            for piece in pieces:
                raw.sendall(piece)
                time.sleep(pause)
        except OSError:
            pass
        with raw.makefile("rb") as answer:
            return answer.read()


@pytest.mark.slow
def test_clients_that_are_slow_on_purpose_are_cut(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path, header_seconds=0.5, body_seconds=0.5, least_rate=1_000_000, stall_seconds=0.5) as server:
        assert b" 408 " in said_to(server.port, b"GET / HT")
        first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert b" 408 " in said_to(server.port, first, b"GET / HT", pause=0.2)
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n"
        answer = said_to(server.port, head + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n")
        assert b" 408 " in answer
        assert b"urn:superscale:too-slow" in answer
        job = server.submit(png(300, 300))
        server.until_over(job)
        ask = f"GET /v1/jobs/{job}/result HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 20
        server.client.close()  # whose idle connection would end meanwhile
        time.sleep(0.2)
        before = sockets(server.process.pid)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            raw.sendall(ask)  # and reads nothing
            end = time.monotonic() + 10
            while sockets(server.process.pid) <= before:
                assert time.monotonic() < end
            while sockets(server.process.pid) > before:
                assert time.monotonic() < end
                time.sleep(0.05)


def sockets(process: int) -> int:
    return sum(
        str(path.readlink()).startswith("socket:") for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()
    )


@pytest.mark.slow
def test_two_servers_do_not_share_a_folder(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path), serving(tmp_path, ready=False) as second:
        assert second.process.wait(30) != 0
        assert "another server uses" in second.printed()
