"""The manifest of an output prefix: what became of each input, a line of JSON each, in shards that are written whole.

A shard belongs to one worker of one run. `Finished` tells from the manifest and a listing what needs to be done no more.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from threading import Lock
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from superscale.errors import StoreError
from superscale.remote.names import Address
from superscale.remote.store import OWN, Store

FOLDER = OWN + "manifest/"
# At most so much is asked for again after a kill: one request for each.
LINES, SECONDS = 5000, 60.0
State = Literal["finished", "exists", "absent"]


@dataclass(frozen=True)
class Line:
    """What became of one input. ``root``: the prefix whose tree is kept below the output; ``settings``: the hash of what makes its bits."""

    input: str
    root: str
    etag: str
    size: int
    output: str
    status: Literal["done", "failed"]
    model: str
    settings: str
    output_etag: str | None = None
    output_size: int | None = None
    seconds: float | None = None
    code: str | None = None
    error: str | None = None
    at: str = ""


def new_run() -> str:
    """A name for a run, later ones later in the alphabet."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"


class Manifest:
    """Takes the lines of one worker and writes them, some thousand to a shard; thread-safe."""

    def __init__(self, store: Store, output: Address, run: str, worker: str) -> None:
        self._store, self._place = store, output.below(f"{FOLDER}{run}/{worker}")
        self._lines: list[str] = []
        self._shards, self._committed, self._lock = 0, time.monotonic(), Lock()

    def add(self, line: Line) -> None:
        """Keep a line, and write all that are kept when there are many or the oldest has waited for long."""
        said = {key: value for key, value in asdict(line).items() if value is not None}
        with self._lock:
            self._lines.append(json.dumps(said | {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}))
            due = len(self._lines) >= LINES or time.monotonic() - self._committed > SECONDS
        if due:
            self.commit()

    def commit(self) -> None:
        """Write what is kept."""
        with self._lock:
            if self._lines:
                place = self._place.below(f"-{self._shards:05d}.jsonl")
                self._store.put(place, "".join(line + "\n" for line in self._lines).encode(), {})
                self._lines, self._shards = [], self._shards + 1
            self._committed = time.monotonic()


def lines(store: Store, place: Address) -> Iterator[dict[str, Any]]:
    """The lines of a shard, or of all shards below a prefix, those of earlier runs first."""
    shards = (entry.address for entry in store.listed(place)) if place.is_prefix else iter([place])
    for shard in shards:
        for number, text in enumerate(store.read(shard).splitlines(), 1):
            try:
                line = json.loads(text)
                _ = line["input"], line["etag"], line["output"], line["status"], line["settings"], line["root"]
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{shard}: line {number} is none of a manifest; delete the object to do without it") from error
            yield line


def failures(found: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Inputs that failed the last time, with the root of each."""
    failed: dict[str, str] = {}
    for line in found:
        if line["status"] == "failed":
            failed[line["input"]] = line["root"]
        else:
            failed.pop(line["input"], None)
    return failed


class Finished:
    """What is finished below an output prefix: the manifest says so, and the output that it tells of is listed.

    Names are not held: a hash of 8 bytes for each, and one of its etag; to be taken for finished by mistake, both must be equal.
    """

    def __init__(self, store: Store, output: Address, settings: str) -> None:
        here = ((_hash(str(one.address)), _hash(one.etag)) for one in store.listed(output) if not _is_own(one.address, output))
        self._listed = _Table(here)
        self._settings = settings
        told = lines(store, output.below(FOLDER)) if len(self._listed) else iter(())
        self._made = _Table(
            (_hash(line["input"], line["etag"], line["output"], line["settings"]), _hash(line["output_etag"]))
            for line in told
            if line["status"] == "done" and line.get("output_etag")
        )

    def state(self, source: Address, etag: str, output: Address) -> State:
        """Of an input and its output: ``exists`` where something is there of which the manifest does not tell."""
        if (there := self._listed.get(_hash(str(output)))) is None:
            return "absent"
        made = self._made.get(_hash(str(source), etag, str(output), self._settings))
        return "finished" if made == there else "exists"


def _is_own(address: Address, output: Address) -> bool:
    return address.key.startswith(output.key + OWN)


def _hash(*texts: str) -> int:
    return int.from_bytes(blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class _Table:
    """Pairs of numbers, found by the first; of several, the last that was given."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        keys, values = array("Q"), array("Q")
        for key, value in pairs:
            keys.append(key)
            values.append(value)
        order = np.argsort(np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64), kind="stable")
        self._keys: NDArray[np.uint64] = np.asarray(keys, np.uint64)[order]
        self._values: NDArray[np.uint64] = np.asarray(values, np.uint64)[order]

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: int) -> int | None:
        place = int(np.searchsorted(self._keys, np.uint64(key), side="right")) - 1
        return int(self._values[place]) if place >= 0 and int(self._keys[place]) == key else None
