"""Google Cloud Storage, through gcsfs. The generation of an object serves as its etag."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from superscale.errors import MissingExtraError, StoreError
from superscale.remote.names import Address
from superscale.remote.store import MISSING, Access, Entry, LostRace, status_of, told

OBJECT = "b/{}/o/{}"
BOUNDARY = "==superscale=="
PAGE = 1000
# What a new object replaces.
NOTHING = "0"


class Google:
    """The requests of a `Client`. An object is sent by one request, and is in memory meanwhile."""

    def __init__(self, access: Access) -> None:
        try:
            from gcsfs import GCSFileSystem
        except ImportError as error:
            raise MissingExtraError("gs://", "google") from error
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints what it raises
        how = {"endpoint_url": access.endpoint_url, "requester_pays": access.requester_pays}
        self.system: Any = GCSFileSystem(**how, skip_instance_cache=True, use_listings_cache=False)
        self.loop: Any = self.system.loop

    async def page(self, prefix: Address, token: str | None) -> tuple[list[Entry], str | None]:
        """Some objects below a prefix, and what asks for those behind them."""
        with told(prefix):
            how = {"prefix": prefix.key, "pageToken": token, "maxResults": PAGE, "json_out": True}
            page = await self.system._call("GET", "b/{}/o", prefix.bucket, **how)
        return [_entry(prefix, one) for one in page.get("items", ())], page.get("nextPageToken")

    async def head(self, address: Address) -> tuple[Entry, dict[str, str]]:
        """An object and the facts that were written with it."""
        with told(address):
            found = await self.system._call("GET", OBJECT, address.bucket, address.key, json_out=True)
        return _entry(address, found), dict(found.get("metadata") or {})

    async def get(self, address: Address, etag: str | None) -> bytes:
        """All bytes of an object."""
        try:
            with told(address):
                answer = await self.system._call("GET", OBJECT, address.bucket, address.key, alt="media", generation=etag)
        except StoreError as error:
            if etag is not None and status_of(error.__cause__) == MISSING:  # there is no such generation any more
                raise LostRace(str(address)) from error
            raise
        return bytes(answer[1])

    async def put(self, address: Address, data: bytes | Path, facts: dict[str, str], replaces: str | None) -> str:
        """Write an object whole; its generation."""
        body = data.read_bytes() if isinstance(data, Path) else data
        about = json.dumps({"name": address.key, "metadata": facts})
        kinds = ("application/json; charset=UTF-8", "application/octet-stream")
        first, second = (f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n" for kind in kinds)
        with told(address, conditional=True):
            answer = await self.system._call(
                "POST",
                f"{self.system._location}/upload/storage/v1/b/{{}}/o",
                address.bucket,
                uploadType="multipart",
                ifGenerationMatch=replaces or NOTHING,
                headers={"Content-Type": f'multipart/related; boundary="{BOUNDARY}"'},
                data=f"{first}{about}\r\n{second}".encode() + body + f"\r\n--{BOUNDARY}--".encode(),
                json_out=True,
            )
        return str(answer["generation"])

    async def sweep(self, _prefix: Address) -> int:
        """Nothing is sent in parts."""
        return 0


def _entry(near: Address, found: dict[str, Any]) -> Entry:
    return Entry(near.at(found["name"]), str(found["generation"]), int(found["size"]))
