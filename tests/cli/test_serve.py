"""The command `superscale serve`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
httpx = pytest.importorskip("httpx")


def serve(commands: Path, tmp_path: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    where = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"} | environment
    command = [str(commands / "superscale"), "serve", "--spool", str(tmp_path / "spool"), *options]
    return subprocess.Popen(command, env=where, stderr=subprocess.PIPE, text=True)


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def said(process: subprocess.Popen[str]) -> str:
    _, text = process.communicate(timeout=60)
    return text


def test_what_cannot_be_is_refused_with_a_line_and_the_right_exit_code(commands: Path, tmp_path: Path) -> None:
    cases: list[tuple[int, str, list[str]]] = [
        (2, "there is no token; set SUPERSCALE_TOKEN", ["--host", "0.0.0.0"]),
        (2, "--log-format must be text or json", ["--log-format", "xml"]),
        (2, "--root-path must begin with /", ["--root-path", "x"]),
        (2, "--tile must be 'auto' or a number", ["--tile", "x"]),
    ]
    running = [(serve(commands, tmp_path, *options), code, words) for code, words, options in cases]
    for process, code, words in running:
        text = said(process)
        assert words in text
        assert "Traceback" not in text
        assert process.returncode == code


@pytest.mark.slow
def test_it_serves_until_ctrl_c_and_says_when_its_port_is_taken(commands: Path, tmp_path: Path) -> None:
    port = free_port()
    first = serve(commands, tmp_path, "--port", port, "--model", "compact-x4", SUPERSCALE_TOKEN="s3cret")
    try:
        answer: Any = None
        for _ in range(300):
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/readyz")
                if answer.status_code == 200:
                    break
            except httpx.TransportError:
                assert first.poll() is None
            time.sleep(0.1)
        assert answer is not None
        assert answer.status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 401
        second = serve(commands, tmp_path / "other", "--port", port)
        assert f"cannot listen on 127.0.0.1:{port}" in said(second)
        assert second.returncode == 1
    finally:
        first.send_signal(signal.SIGINT)
    assert f"http://127.0.0.1:{port}/" in said(first)
    assert first.returncode == 0


def test_a_model_that_does_not_exist_is_told(commands: Path, tmp_path: Path) -> None:
    process = serve(commands, tmp_path, "--port", free_port(), "--model", "no-such-model")
    text = said(process)
    assert process.returncode == 1
    assert "unknown model 'no-such-model'" in text
    assert "Traceback" not in text
