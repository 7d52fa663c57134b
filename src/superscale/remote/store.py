"""`Store`: an object store that speaks S3, through fsspec's s3fs. An object appears whole, by one conditional request.

Credentials are never handled here: s3fs finds them as every client of AWS does.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from superscale.errors import MissingExtraError, StoreError, UsageError
from superscale.remote.names import Address

Value = TypeVar("Value")
PART_BYTES = 64 * 1024**2
CHUNK_BYTES = 1024**2
# An upload of another run that is older is nobody's any more; should it be somebody's, it is begun again.
STALE_SECONDS = 3600.0
TRIES = 4
# What we keep below an output prefix for ourselves.
OWN = ".superscale/"
PROOF = OWN + "conditions"
SECRET = re.compile(r"(X-Amz-\w+|AWSAccessKeyId|Signature|Authorization|Credential)=[^&\s\"',]+", re.IGNORECASE)
MISSING, CONFLICT, LOST = 404, 409, 412


@dataclass(frozen=True)
class Access:
    """How a store is reached; no secrets. ``requester_pays``: the reader agrees to pay for requests."""

    endpoint_url: str | None = None
    requester_pays: bool = False


@dataclass(frozen=True)
class Entry:
    """An object of a listing. ``etag``: changes when the object does."""

    address: Address
    etag: str
    size: int


class LostRace(Exception):
    """A conditional request was refused: the object is there already, or not as it was."""


class Store:
    """One store; thread-safe. All methods raise StoreError for what the store refuses and what it does not answer in several tries."""

    def __init__(self, access: Access) -> None:
        self.access = access

    @cached_property
    def _system(self) -> Any:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise MissingExtraError("an object store", "remote") from error
        # One instance for each store: fsspec would hand out one for all threads and keep its listings.
        return S3FileSystem(
            endpoint_url=self.access.endpoint_url,
            requester_pays=self.access.requester_pays,
            config_kwargs={"retries": {"mode": "standard", "max_attempts": TRIES}, "connect_timeout": 10, "read_timeout": 60},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def _run(self, work: Callable[..., Awaitable[Value]], *arguments: Any) -> Value:
        system = self._system
        from fsspec.asyn import sync

        value: Value = sync(system.loop, work, *arguments)
        return value

    async def _ask(self, method: str, address: Address, **how: Any) -> Any:
        """One request on an object. Raises LostRace where its condition does not hold, and StoreError."""
        try:
            return await self._system._call_s3(method, Bucket=address.bucket, Key=address.key, **how)
        except Exception as error:
            if status_of(error) in (CONFLICT, LOST) and ("IfMatch" in how or "IfNoneMatch" in how):
                raise LostRace(str(address)) from error
            raise StoreError(f"{address}: {said(error)}") from error

    def listed(self, prefix: Address) -> Iterator[Entry]:
        """The objects below a prefix, page by page, in the order of their keys."""
        token: dict[str, str] = {}
        while True:
            page = self._run(self._page, "list_objects_v2", prefix, token)
            for one in page.get("Contents", ()):
                yield Entry(Address(prefix.bucket, one["Key"]), one["ETag"], int(one["Size"]))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def _page(self, method: str, prefix: Address, token: dict[str, str]) -> Any:
        try:
            return await self._system._call_s3(method, Bucket=prefix.bucket, Prefix=prefix.key, **token)
        except Exception as error:
            raise StoreError(f"{prefix}: {said(error)}") from error

    def entry(self, address: Address) -> Entry | None:
        """One object as a listing has it; None if there is none."""
        found = self.facts(address)
        return None if found is None else found[0]

    def facts(self, address: Address) -> tuple[Entry, dict[str, str]] | None:
        """An object and the facts that were written with it; None if there is none."""
        try:
            head = self._run(lambda: self._ask("head_object", address))
        except StoreError as error:
            if status_of(error.__cause__) == MISSING:
                return None
            raise
        return Entry(address, head["ETag"], int(head["ContentLength"])), dict(head.get("Metadata") or {})

    def read(self, address: Address) -> bytes:
        """All bytes of an object."""
        return b"".join(self._run(self._chunks, address, {}))

    def fetch(self, entry: Entry, path: Path) -> None:
        """Write an object into a file, as it was when it was listed."""
        self._run(self._fetched, entry, path)

    async def _fetched(self, entry: Entry, path: Path) -> None:
        try:
            chunks = await self._chunks(entry.address, {"IfMatch": entry.etag})
        except LostRace as error:
            raise StoreError(f"{entry.address}: it was changed since it was listed; run the command again") from error
        path.write_bytes(b"".join(chunks))

    async def _chunks(self, address: Address, condition: dict[str, str]) -> list[bytes]:
        """The bytes of an object, asked for again where the connection is cut."""
        for attempt in range(1, TRIES + 1):
            answer = await self._ask("get_object", address, **condition)
            chunks: list[bytes] = []
            try:
                async with answer["Body"] as body:
                    while chunk := await body.read(CHUNK_BYTES):
                        chunks.append(chunk)
            except Exception as error:
                if attempt == TRIES:
                    raise StoreError(f"{address}: {said(error)}") from error
                continue
            if (got := sum(map(len, chunks))) == answer["ContentLength"]:
                return chunks
        raise StoreError(f"{address}: {got} of {answer['ContentLength']} bytes came, {TRIES} times")

    def put(self, address: Address, data: bytes | Path, facts: Mapping[str, str], replaces: str | None = None) -> str:
        """Write an object that is whole when it appears, and return its etag. ``replaces``: the etag of what it replaces, None where
        nothing may be there. Raises LostRace when that is not so."""
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        return self._run(self._put, address, data, dict(facts), condition)

    async def _put(self, address: Address, data: bytes | Path, facts: dict[str, str], condition: dict[str, str]) -> str:
        if isinstance(data, Path) and data.stat().st_size > PART_BYTES:
            return await self._in_parts(address, data, facts, condition)
        body = data.read_bytes() if isinstance(data, Path) else data
        answer = await self._ask("put_object", address, Body=body, Metadata=facts, **condition)
        return str(answer["ETag"])

    async def _in_parts(self, address: Address, path: Path, facts: dict[str, str], condition: dict[str, str]) -> str:
        upload = (await self._ask("create_multipart_upload", address, Metadata=facts))["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            with open(path, "rb") as stream:
                while part := stream.read(PART_BYTES):
                    number = len(parts) + 1
                    sent = await self._ask("upload_part", address, UploadId=upload, PartNumber=number, Body=part)
                    parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            whole = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
            return str((await self._ask("complete_multipart_upload", address, **whole, **condition))["ETag"])
        except StoreError as error:
            await self._aborted(address, upload)
            if status_of(error.__cause__) == MISSING:  # another run has swept it, or an answer was cut and it is done
                raise LostRace(str(address)) from error
            raise
        except BaseException:
            await self._aborted(address, upload)
            raise

    async def _aborted(self, address: Address, upload: str) -> None:
        try:
            await self._ask("abort_multipart_upload", address, UploadId=upload)
        except StoreError as error:
            if status_of(error.__cause__) != MISSING:
                raise

    def sweep(self, prefix: Address) -> int:
        """Abort the uploads below a prefix that nobody goes on with: they are old, or what they should become is there. How many."""
        swept = 0
        for one in self._run(self._page, "list_multipart_uploads", prefix, {}).get("Uploads") or ():
            address = Address(prefix.bucket, one["Key"])
            age = (datetime.now(UTC) - one["Initiated"]).total_seconds()
            if age > STALE_SECONDS or self.entry(address) is not None:
                self._run(self._aborted, address, one["UploadId"])
                swept += 1
        return swept

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


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an error of the client came with."""
    while error is not None:
        if (response := getattr(error, "response", None)) and isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        if isinstance(error, FileNotFoundError):
            return MISSING
        error = error.__cause__
    return None


def said(error: BaseException) -> str:
    """What an error of the client says, in one line, without what signs a request."""
    return SECRET.sub(r"\1=…", " ".join(str(error).split()) or type(error).__name__)[:300]
