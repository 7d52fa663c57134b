"""Who may ask, and the headers of every answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from live_server import Running
from superscale.errors import UsageError
from superscale.server.limits import Settings


def test_a_server_that_others_can_reach_needs_a_token() -> None:
    with pytest.raises(UsageError, match="SUPERSCALE_TOKEN"):
        Settings(spool=Path("x"), host="0.0.0.0")
    Settings(spool=Path("x"), host="0.0.0.0", token="secret")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
def test_a_page_that_rebinds_its_name_to_this_machine_is_refused(server: Running, host: str) -> None:
    answer = server.client.get("/v1/models", headers={"Host": host})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:superscale:wrong-host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_web_sites_cannot_send_pictures(server: Running, headers: dict[str, str]) -> None:
    answer = server.post("/v1/upscale", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:superscale:cross-site")
    assert server.client.delete("/v1/jobs/0", headers=headers).status_code == 403


def test_half_an_address_is_refused(server: Running) -> None:
    for name in ("Host", "Origin"):
        answer = server.client.get("/healthz", headers={name: "http://[::1" if name == "Origin" else "[::1"})
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:superscale:bad-request")


def test_the_own_page_can(server: Running) -> None:
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.post("/v1/upscale", headers=own).status_code == 200


def test_no_answer_allows_other_sites_or_foreign_scripts(server: Running) -> None:
    for path in ("/", "/nothing", "/v1/models", "/docs"):
        headers = server.client.get(path, headers={"Origin": "https://evil.example"}).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control")]


def test_a_body_is_not_read_beyond_the_limit(server: Running) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        while sent < 1 << 28:
            sent += 65_536
            yield bytes(65_536)

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}/v1/jobs", content=endless(), headers=kind)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.json()["limit"] == 200_000
    # What the kernels' buffers hold, on both sides, has also left the client.
    assert sent < 200_000 + 1_000_000 + 8_000_000


def test_a_client_that_sends_slowly_still_reads_why_it_is_refused(server: Running) -> None:
    head = b"POST /v1/upscale HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 3000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(head)
        for _ in range(3):
            time.sleep(0.7)
            raw.sendall(bytes(1000))  # would fail, were the connection closed with its answer
        answer = b"".join(iter(partial(raw.recv, 4096), b""))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"urn:superscale:wrong-host" in answer


def test_a_token_is_needed_for_all_but_the_page(serving: Callable[..., Any], tmp_path: Path) -> None:
    how = {"log_format": "json", "root_path": "/big", "allow_hosts": ["pictures.example"]}
    with serving(tmp_path, token="s3cret", **how) as server:
        anonymous = httpx.Client(base_url=server.url)
        for path in ("/v1/models", "/metrics", "/v1/jobs/0", "/v1/jobs/0/result"):
            answer = anonymous.get(path)
            assert (answer.status_code, answer.json()["type"]) == (401, "urn:superscale:token-needed")
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert anonymous.get(path, headers={"Authorization": "Bearer s3cre"}).status_code == 401
        assert anonymous.post("/v1/upscale", files={"image": b"x"}).status_code == 401
        for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json"):
            assert anonymous.get(path).status_code == 200
        anonymous.close()
        assert server.client.get("/v1/models", headers={"Host": "other.example"}).status_code == 403
        # Behind a proxy that removes a path, addresses have it.
        answer = server.post("/v1/jobs", headers={"Host": "pictures.example"})
        assert answer.headers["location"] == f"/big/v1/jobs/{answer.json()['id']}"
        job = answer.json()["id"]
        server.until_over(job)
        lines = [json.loads(line) for line in server.printed().splitlines() if line.startswith("{")]
        assert any({"method": "POST", "path": "/big/v1/jobs", "status": 202}.items() <= line.items() for line in lines)
        assert job not in server.printed()
        assert "s3cret" not in server.printed()
