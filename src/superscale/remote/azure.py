"""Azure Blob Storage, through adlfs: ``az://container/prefix/`` of the account that its client finds (AZURE_STORAGE_…)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from superscale.errors import MissingExtraError, UsageError
from superscale.remote.names import Address
from superscale.remote.store import Access, Entry, told

PAGE = 1000


class Azure:
    """The requests of a `Client`. The SDK sends large blobs in blocks, which appear with the last request."""

    def __init__(self, access: Access) -> None:
        try:
            from adlfs import AzureBlobFileSystem
            from azure.core import MatchConditions
        except ImportError as error:
            raise MissingExtraError("az://", "azure") from error
        if access.endpoint_url or access.requester_pays:
            raise UsageError(
                "--endpoint-url and --requester-pays are not for az://; name the server in AZURE_STORAGE_CONNECTION_STRING"
            )
        self._unchanged = MatchConditions.IfNotModified
        logging.getLogger("azure").setLevel(logging.ERROR)
        try:
            self.system: Any = AzureBlobFileSystem(skip_instance_cache=True, use_listings_cache=False)
        except ValueError as error:
            raise UsageError(f"az:// needs AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING ({error})") from error
        self.loop: Any = self.system.loop

    def _blob(self, address: Address) -> Any:
        return self.system.service_client.get_blob_client(address.bucket, address.key)

    def _condition(self, etag: str) -> dict[str, Any]:
        return {"etag": etag, "match_condition": self._unchanged}

    async def page(self, prefix: Address, token: str | None) -> tuple[list[Entry], str | None]:
        """Some blobs below a prefix, and what asks for those behind them."""
        with told(prefix):
            container = self.system.service_client.get_container_client(prefix.bucket)
            pages = container.list_blobs(name_starts_with=prefix.key, results_per_page=PAGE).by_page(token)
            found = [one async for one in await anext(pages)]
            return [Entry(prefix.at(one.name), _quoted(one.etag), one.size) for one in found], pages.continuation_token or None

    async def head(self, address: Address) -> tuple[Entry, dict[str, str]]:
        """A blob and the facts that were written with it."""
        with told(address):
            found = await self._blob(address).get_blob_properties()
        return Entry(address, _quoted(found.etag), found.size), {_fact(key): value for key, value in found.metadata.items()}

    async def get(self, address: Address, etag: str | None) -> bytes:
        """All bytes of a blob."""
        with told(address, conditional=etag is not None):
            stream = await self._blob(address).download_blob(**({} if etag is None else self._condition(etag)))
            return bytes(await stream.readall())

    async def put(self, address: Address, data: bytes | Path, facts: dict[str, str], replaces: str | None) -> str:
        """Write a blob whole; its etag."""
        condition = {} if replaces is None else self._condition(replaces)
        how = {"metadata": {_key(key): value for key, value in facts.items()}, "overwrite": replaces is not None, **condition}
        with told(address, conditional=True):
            if isinstance(data, bytes):
                answer = await self._blob(address).upload_blob(data, **how)
            else:
                with open(data, "rb") as stream:
                    answer = await self._blob(address).upload_blob(stream, **how)
        return _quoted(answer["etag"])

    async def sweep(self, _prefix: Address) -> int:
        """Blocks that nobody has made a blob of go by themselves, after a week."""
        return 0


def _quoted(etag: str) -> str:
    """Listings have etags without their quotation marks."""
    return etag if etag.startswith('"') else f'"{etag}"'


def _key(fact: str) -> str:
    """Names of facts are identifiers there."""
    return fact.replace("-", "_")


def _fact(key: str) -> str:
    return key.replace("_", "-")
