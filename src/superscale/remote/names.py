"""Names of objects, as ``s3://bucket/prefix/name``, and what of a listing may be taken for a name below another prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from superscale.errors import UsageError

SCHEMES = ("s3", "gs", "az")
SCHEME = re.compile(r"@?([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
# As in rsync: what comes behind this is the tree that is kept below the output.
TREE_MARK = "/./"
LONGEST_KEY_BYTES = 1024


@dataclass(frozen=True)
class Address:
    """An object, or all whose keys begin with ``key`` where that ends in a slash or is empty."""

    bucket: str
    key: str
    scheme: str = "s3"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def is_prefix(self) -> bool:
        """Many objects, not one."""
        return not self.key or self.key.endswith("/")

    def below(self, name: str) -> Address:
        """The object of this name below the prefix."""
        return self.at(self.key + name)

    def at(self, key: str) -> Address:
        """The object of this key in the same bucket."""
        return Address(self.bucket, key, self.scheme)


def is_remote(texts: Iterable[str]) -> bool:
    """Whether one of these inputs and outputs lies in an object store. Raises UsageError for a kind of store that is not served."""
    schemes = {found[1].lower() for text in texts if (found := SCHEME.match(text))}
    if others := sorted(schemes.difference(SCHEMES)):
        raise UsageError(
            f"{others[0]}:// cannot be read or written; expected s3://bucket/prefix/, of any store that speaks S3 (--endpoint-url), "
            "gs:// or az://"
        )
    return bool(schemes)


def parsed(text: str) -> Address:
    """``s3://bucket/key`` as an address. Raises UsageError for other texts, and for credentials in it."""
    found = SCHEME.match(text)
    is_known = found is not None and not text.startswith("@") and found[1].lower() in SCHEMES
    rest = text[found.end() :] if found and is_known else ""
    bucket, _, key = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise UsageError("an address must hold no credentials; give them as your store's client expects them (AWS_PROFILE, …)")
    if not bucket:
        raise UsageError(f"expected an address such as s3://bucket/prefix/, got {text!r}")
    return Address(bucket, key, text.partition(":")[0].lower())


def endpoint(url: str | None) -> str | None:
    """The address of a server. Raises UsageError for one that is none, and for credentials in it."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise UsageError(
            "--endpoint-url must hold no credentials; give them as your store's client expects them (AWS_PROFILE, …)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--endpoint-url must be such as https://host:port, got {url!r}")
    return url


def trouble(name: str) -> str | None:
    """Why a name of a listing is not written below another prefix: clients and servers may read it as another place; or None."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name:
        return "a name with empty parts, '.', '..' or backslashes is not used for an output"
    if not name.isprintable():
        return "a name with control characters is not used for an output"
    return None
