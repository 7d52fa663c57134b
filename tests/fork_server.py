"""Run commands without importing torch each time: one process imports it, and forks for every command.

The executables of `fork_server` send that process their arguments, folder, environment and standard streams. Each command runs in a
process of its own, to which they pass SIGINT and SIGTERM on, and its exit code is theirs.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)])
    socket.send_fds(server, [asked.encode()], [0, 1, 2])
    server.shutdown(socket.SHUT_WR)
    child = int.from_bytes(server.recv(4), "big")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = server.recv(1)
sys.exit(code[0] if code else "the fork server died")
"""
PRELOADED = ("matplotlib.pyplot", "skimage.data", "tifffile", "torch._dynamo", "torch.utils.tensorboard")


@contextmanager
def fork_server() -> Iterator[Path]:
    """Start the server and yield a folder for PATH with the executables ``superscale`` and ``python``."""
    with TemporaryDirectory() as folder:  # not one of pytest's: the path of a socket must be short
        address = f"{folder}/socket"
        for name in ("superscale", "python"):
            client = Path(folder, name)
            client.write_text(CLIENT.format(python=sys.executable, address=address, name=name))
            client.chmod(0o755)
        process = subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == b"ready\n"
            yield Path(folder)
            process.terminate()


def main(address: str) -> None:
    """Import what commands use, then fork for every connection."""
    import superscale

    ours = [module.name for module in pkgutil.walk_packages(superscale.__path__, "superscale.")]
    for name in (*PRELOADED, *ours):
        if name != "superscale.__main__":
            with suppress(ImportError):
                import_module(name)
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        gc.collect()
        gc.freeze()  # what is imported is never collected, so that forks do not copy its memory
        os.write(1, b"ready\n")
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
                return answer(client)
            client.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def answer(client: socket.socket) -> None:
    """Fork once more for the command itself, and send its process id and its exit code."""
    data, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    while more := client.recv(1 << 16):
        data += more
    child = os.fork()
    if child == 0:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        leave(run, *json.loads(data))
    for stream in streams:
        os.close(stream)
    client.sendall(child.to_bytes(4, "big"))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    client.sendall(bytes([code % 256]))
    os._exit(0)


def leave(command: Callable[..., object], *arguments: object) -> NoReturn:
    """Call ``command`` and end this process as the interpreter would, but without tearing down every module."""
    try:
        command(*arguments)
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    threading._shutdown()
    atexit._run_exitfuncs()
    status = int(code or 0) if not isinstance(code, str) else 1
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            status = 120  # as the interpreter ends where the last of the output cannot be written
    os._exit(status % 256)


def run(name: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what the executable ``name`` does, in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
    for number, stream in enumerate(("stdin", "stdout", "stderr")):  # not those of the server: they know what it was given
        setattr(sys, stream, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if name == "superscale":
        from superscale.cli.main import main

        sys.argv = [name, *arguments]
        main()
    elif arguments[0] in ("-c", "-"):
        code, sys.argv = (arguments[1], ["-c", *arguments[2:]]) if arguments[0] == "-c" else (sys.stdin.read(), arguments)
        sys.path[0] = ""
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(sys.argv[1])
