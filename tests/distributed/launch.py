"""Two processes as torchrun would start them, and torchrun itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 1200


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def environment(**more: object) -> dict[str, str]:
    """One thread each, and torchrun on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | {key: str(value) for key, value in more.items()}


def two_processes(cases: str, folder: Path) -> tuple[list[int], str]:
    """Run cases of worker.py at ranks 0 and 1; their exit codes and all they said."""
    port, processes = free_port(), []
    for rank in range(2):
        told = environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        command = [sys.executable, str(WORKER), cases, str(folder)]
        processes.append(subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        said = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
            process.communicate()
        raise
    return [process.returncode for process in processes], "\n".join(said)


def start(command: list[str], folder: Path, **more: object) -> subprocess.Popen[str]:
    """A command in a folder, its output kept."""
    return subprocess.Popen(
        command, cwd=folder, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; torchrun that takes too long is ended with its processes."""
    try:
        out, errors = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate()
    return process.returncode, out, errors


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.1)


def process_of_rank(torchrun: int, rank: int) -> int | None:
    """The id of torchrun's child with this rank, if that is one of its (Linux)."""
    for child in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    return None
