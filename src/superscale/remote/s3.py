"""AWS S3 and every store that speaks as it does, through s3fs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from superscale.errors import MissingExtraError, StoreError
from superscale.remote.names import Address
from superscale.remote.store import MISSING, TRIES, Access, Entry, LostRace, status_of, told

PART_BYTES = 64 * 1024**2
CHUNK_BYTES = 1024**2
# An upload of another run that is older is nobody's any more; should it be somebody's, it is begun again.
STALE_SECONDS = 3600.0


class S3:
    """The requests of a `Client`. Objects beyond 64 MiB are sent in parts."""

    def __init__(self, access: Access) -> None:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise MissingExtraError("an object store", "remote") from error
        # One instance for each store: fsspec would hand out one for all threads and keep its listings.
        self.system: Any = S3FileSystem(
            endpoint_url=access.endpoint_url,
            requester_pays=access.requester_pays,
            config_kwargs={"retries": {"mode": "standard", "max_attempts": TRIES}, "connect_timeout": 10, "read_timeout": 60},
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        self.loop: Any = self.system.loop

    async def _ask(self, method: str, address: Address, **how: Any) -> Any:
        """One request on an object. Raises LostRace where its condition does not hold, and StoreError."""
        with told(address, "IfMatch" in how or "IfNoneMatch" in how):
            return await self.system._call_s3(method, Bucket=address.bucket, Key=address.key, **how)

    async def _listed(self, method: str, prefix: Address, **token: str) -> Any:
        with told(prefix):
            return await self.system._call_s3(method, Bucket=prefix.bucket, Prefix=prefix.key, **token)

    async def page(self, prefix: Address, token: str | None) -> tuple[list[Entry], str | None]:
        """Some objects below a prefix, and what asks for those behind them."""
        page = await self._listed("list_objects_v2", prefix, **({} if token is None else {"ContinuationToken": token}))
        entries = [Entry(prefix.at(one["Key"]), one["ETag"], int(one["Size"])) for one in page.get("Contents", ())]
        return entries, page["NextContinuationToken"] if page.get("IsTruncated") else None

    async def head(self, address: Address) -> tuple[Entry, dict[str, str]]:
        """An object and the facts that were written with it."""
        head = await self._ask("head_object", address)
        return Entry(address, head["ETag"], int(head["ContentLength"])), dict(head.get("Metadata") or {})

    async def get(self, address: Address, etag: str | None) -> bytes:
        """The bytes of an object, asked for again where the connection is cut."""
        condition = {} if etag is None else {"IfMatch": etag}
        for attempt in range(1, TRIES + 1):
            answer = await self._ask("get_object", address, **condition)
            chunks: list[bytes] = []
            try:
                with told(address):
                    async with answer["Body"] as body:
                        while chunk := await body.read(CHUNK_BYTES):
                            chunks.append(chunk)
            except StoreError:
                if attempt == TRIES:
                    raise
                continue
            if (got := sum(map(len, chunks))) == answer["ContentLength"]:
                return b"".join(chunks)
        raise StoreError(f"{address}: {got} of {answer['ContentLength']} bytes came, {TRIES} times")

    async def put(self, address: Address, data: bytes | Path, facts: dict[str, str], replaces: str | None) -> str:
        """Write an object whole; its etag."""
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
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

    async def sweep(self, prefix: Address) -> int:
        """Abort uploads that are old, or whose object is there."""
        swept = 0
        for one in (await self._listed("list_multipart_uploads", prefix)).get("Uploads") or ():
            address = prefix.at(one["Key"])
            age = (datetime.now(UTC) - one["Initiated"]).total_seconds()
            if age > STALE_SECONDS or await self._is_there(address):
                await self._aborted(address, one["UploadId"])
                swept += 1
        return swept

    async def _is_there(self, address: Address) -> bool:
        try:
            await self.head(address)
        except StoreError as error:
            if status_of(error.__cause__) == MISSING:
                return False
            raise
        return True
