"""`Store`: an object store, through one of fsspec's file systems. An object appears whole, by one conditional request.

Credentials are never handled here: each file system finds them as every client of its store does.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from superscale.errors import StoreError, UsageError
from superscale.remote.names import Address

Value = TypeVar("Value")
# Of a request that may succeed when it is asked again.
TRIES = 4
# What we keep below an output prefix for ourselves.
OWN = ".superscale/"
PROOF = OWN + "conditions"
SECRET = re.compile(r"(X-Amz-\w+|AWSAccessKeyId|Signature|Authorization|Credential|sig|AccountKey)=[^&\s\"',;]+", re.IGNORECASE)
MISSING, CONFLICT, LOST = 404, 409, 412


@dataclass(frozen=True)
class Access:
    """How a store is reached; no secrets. ``requester_pays``: the reader agrees to pay for requests; ``scheme``: s3, gs or az."""

    endpoint_url: str | None = None
    requester_pays: bool = False
    scheme: str = "s3"


@dataclass(frozen=True)
class Entry:
    """An object of a listing. ``etag``: changes when the object does."""

    address: Address
    etag: str
    size: int


class LostRace(Exception):
    """A conditional request was refused: the object is there already, or not as it was."""


class Client(Protocol):
    """The requests of one kind of store. ``etag`` and ``replaces``: of an object that must be as it was. All raise LostRace where a
    condition does not hold, and StoreError."""

    loop: Any

    async def page(self, prefix: Address, token: str | None) -> tuple[list[Entry], str | None]:
        """Some objects below a prefix, in the order of their keys, and what asks for those behind them."""

    async def head(self, address: Address) -> tuple[Entry, dict[str, str]]:
        """An object and the facts that were written with it."""

    async def get(self, address: Address, etag: str | None) -> bytes:
        """All bytes of an object."""

    async def put(self, address: Address, data: bytes | Path, facts: dict[str, str], replaces: str | None) -> str:
        """Write an object whole; its etag. ``replaces`` None: nothing may be there."""

    async def sweep(self, prefix: Address) -> int:
        """Abort what nobody goes on with below a prefix. How many."""


def _client(access: Access) -> Client:
    if access.scheme == "gs":
        from superscale.remote.google import Google

        return Google(access)
    if access.scheme == "az":
        from superscale.remote.azure import Azure

        return Azure(access)
    from superscale.remote.s3 import S3

    return S3(access)


class Store:
    """One store; thread-safe. All methods raise StoreError for what the store refuses and what it does not answer in several tries."""

    def __init__(self, access: Access) -> None:
        self.access = access

    @cached_property
    def client(self) -> Client:
        """What sends the requests."""
        return _client(self.access)

    def _run(self, work: Callable[..., Awaitable[Value]], *arguments: Any) -> Value:
        from fsspec.asyn import sync

        value: Value = sync(self.client.loop, work, *arguments)
        return value

    def listed(self, prefix: Address) -> Iterator[Entry]:
        """The objects below a prefix, page by page, in the order of their keys."""
        token: str | None = None
        while True:
            entries, token = self._run(self.client.page, prefix, token)
            yield from entries
            if token is None:
                return

    def entry(self, address: Address) -> Entry | None:
        """One object as a listing has it; None if there is none."""
        found = self.facts(address)
        return None if found is None else found[0]

    def facts(self, address: Address) -> tuple[Entry, dict[str, str]] | None:
        """An object and the facts that were written with it; None if there is none."""
        try:
            return self._run(self.client.head, address)
        except StoreError as error:
            if status_of(error.__cause__) == MISSING:
                return None
            raise

    def read(self, address: Address) -> bytes:
        """All bytes of an object."""
        return self._run(self.client.get, address, None)

    def fetch(self, entry: Entry, path: Path) -> None:
        """Write an object into a file, as it was when it was listed."""
        try:
            data = self._run(self.client.get, entry.address, entry.etag)
        except LostRace as error:
            raise StoreError(f"{entry.address}: it was changed since it was listed; run the command again") from error
        path.write_bytes(data)

    def put(self, address: Address, data: bytes | Path, facts: Mapping[str, str], replaces: str | None = None) -> str:
        """Write an object that is whole when it appears, and return its etag. ``replaces``: the etag of what it replaces, None where
        nothing may be there. Raises LostRace when that is not so."""
        return self._run(self.client.put, address, data, dict(facts), replaces)

    def sweep(self, prefix: Address) -> int:
        """Abort the uploads below a prefix that nobody goes on with: they are old, or what they should become is there. How many."""
        return self._run(self.client.sweep, prefix)

    def require_conditions(self, prefix: Address) -> None:
        """Raise UsageError unless this store refuses to write over an object when asked to: without that, two runs at once would
        write everything twice. Leaves one small object, by which a later run knows."""
        proof = prefix.below(PROOF)
        try:
            for _ in range(2):
                self.put(proof, b"This store honours If-None-Match.\n", {})
        except LostRace:
            return
        raise UsageError(
            f"{prefix}: this store takes no notice of If-None-Match, so that an output could be written twice or over another; "
            "expected a store with conditional writes (AWS S3, MinIO, SeaweedFS, Ceph, R2)"
        )


@contextmanager
def told(address: Address, conditional: bool = False) -> Iterator[None]:
    """Raise what a client raises as StoreError, or as LostRace where a condition did not hold."""
    try:
        yield
    except (StoreError, LostRace):
        raise
    except Exception as error:
        if conditional and status_of(error) in (CONFLICT, LOST):
            raise LostRace(str(address)) from error
        raise StoreError(f"{address}: {said(error)}") from error


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an error of a client came with."""
    while error is not None:
        if (response := getattr(error, "response", None)) and isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        if isinstance(error, FileNotFoundError | FileExistsError):  # as gcsfs raises them
            return MISSING if isinstance(error, FileNotFoundError) else LOST
        if isinstance(status := getattr(error, "status_code", None), int):
            return status
        error = error.__cause__
    return None


def said(error: BaseException) -> str:
    """What an error of the client says, in one line, without what signs a request."""
    return SECRET.sub(r"\1=…", " ".join(str(error).split()) or type(error).__name__)[:300]
