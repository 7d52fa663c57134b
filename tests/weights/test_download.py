"""Downloads from a server on the loopback that cuts, lies, redirects and ignores."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from superscale.errors import ModelError
from superscale.weights import download as module
from superscale.weights.download import download
from superscale.weights.published import PublishedModel

DATA = bytes(range(256)) * 4096


class Handler(BaseHTTPRequestHandler):
    """Serves DATA below a path that says how."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))  # type: ignore[attr-defined]
        kind = self.path.split("/")[1]
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "/whole/model.pth")
            self.end_headers()
            return
        if kind == "missing":
            self.send_error(404)
            return
        data = DATA[:-1] + b"!" if kind == "wrong" else DATA + b"more" if kind == "long" else DATA
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if kind == "deaf":
            first = 0
        if first >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        rest = data[first:]
        if kind == "cut" or (kind == "deaf" and len(self.server.asked) == 1):  # type: ignore[attr-defined]
            rest = rest[:300_000]
        self.wfile.write(rest)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def at(server: ThreadingHTTPServer, kind: str) -> PublishedModel:
    address = f"http://127.0.0.1:{server.server_port}/{kind}/model.pth"
    return PublishedModel(
        file="model.pth", address=address, sha256=sha256(DATA).hexdigest(), size=len(DATA), scale=4, licence="MIT", use=""
    )


@pytest.mark.parametrize("kind", ["whole", "redirect", "cut", "deaf"])
def test_the_file_arrives_whole(kind: str, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = download("m", at(server, kind), tmp_path, lambda here, total: seen.append((here, total)))
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert os.listdir(tmp_path) == ["model.pth"]
    asked = len(server.asked)  # type: ignore[attr-defined]
    assert download("m", at(server, kind), tmp_path) == path
    assert len(server.asked) == asked  # type: ignore[attr-defined]


def test_a_transfer_that_was_cut_goes_on_where_it_ended(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / ".model.pth.partial").write_bytes(DATA[:1000])
    assert download("m", at(server, "whole"), tmp_path).read_bytes() == DATA
    assert server.asked == [("/whole/model.pth", "bytes=1000-")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "match"), [("wrong", "not the published file"), ("missing", "404"), ("long", "more than the 1048576 bytes")]
)
def test_what_is_not_the_published_file_gets_no_name(
    kind: str, match: str, server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    model = at(server, kind)
    with pytest.raises(ModelError, match=match):
        download("m", model, tmp_path)
    assert not (tmp_path / "model.pth").exists()


def test_a_longer_leftover_and_a_size_that_is_not_reached_end(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / ".model.pth.partial").write_bytes(DATA + b"older")
    assert download("m", at(server, "whole"), tmp_path).read_bytes() == DATA
    with pytest.raises(ModelError, match="again to continue"):
        download("m", replace(at(server, "whole"), file="other.pth", size=len(DATA) + 9), tmp_path)


def test_offline_nothing_is_asked(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSCALE_OFFLINE", "1")
    with pytest.raises(ModelError, match="put it at"):
        download("m", at(server, "whole"), tmp_path)
    assert not server.asked  # type: ignore[attr-defined]


def test_a_mirror_is_asked_for_the_files_name(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERSCALE_MIRROR", f"http://127.0.0.1:{server.server_port}/whole/")
    model = replace(at(server, "missing"), address="https://nowhere.invalid/x.pth")
    assert download("m", model, tmp_path).read_bytes() == DATA


def test_two_at_once_fetch_it_once(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    both = [threading.Thread(target=download, args=("m", at(server, "whole"), tmp_path)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert (tmp_path / "model.pth").read_bytes() == DATA
    assert len(server.asked) == 1  # type: ignore[attr-defined]
    assert os.listdir(tmp_path) == ["model.pth"]


def test_a_full_disk_is_told_and_the_transfer_can_go_on(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes) -> None:
        os.write(file, data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write_all", full)
        with pytest.raises(ModelError, match="No space left"):
            download("m", at(server, "whole"), tmp_path)
    assert not (tmp_path / "model.pth").exists()
    assert download("m", at(server, "whole"), tmp_path).read_bytes() == DATA
