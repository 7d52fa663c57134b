"""The table of jobs (SQLite) and the folder with their uploads and results; both survive a restart."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Literal

from superscale.errors import SuperscaleError, UsageError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
# The largest side of a picture that is done between the tiles of another: a preview.
PREVIEW_PX = 128
JSON_COLUMNS = ("asked", "result", "error")


@dataclass(frozen=True)
class Asked:
    """How a picture is to be enlarged; None: as the model, the server or the upload has it."""

    model: str
    scale: float | None = None
    fidelity: float | None = None
    format: str | None = None
    quality: int = 95
    metadata: str = "keep"

    def scale_of(self, models: list[dict[str, Any]]) -> float:
        """The factor asked for, or the model's."""
        return self.scale or float(next(one["scale"] for one in models if one["name"] == self.model))


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture to enlarge. ``attached``: its client waits for the answer; without the client it is of no use to anyone.

    ``width``, ``height``: of the upload. ``result``: width, height, bytes, type and suffix; ``error``: a problem document.
    ``times``: when it was created, started and ended, in seconds since 1970.
    """

    id: str
    asked: Asked
    name: str
    bytes: int
    width: int
    height: int
    attached: bool = False
    key: str | None = None
    sha256: str = ""
    state: State = "waiting"
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def pixels(self) -> int:
        """How many the upload has."""
        return self.width * self.height

    @property
    def is_preview(self) -> bool:
        """Whether it is small enough to be done between the tiles of another."""
        return max(self.width, self.height) <= PREVIEW_PX

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED


class Spool:
    """The folder: ``jobs.sqlite``, ``incoming/`` (uploads not yet accepted) and ``jobs/{id}/`` (upload and result).

    Every change is in the file when its method returns: the process may be killed at any time. Raises UsageError for a folder that
    another server uses, SuperscaleError for one whose table cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming, self.jobs_folder = folder / "incoming", folder / "jobs"
        with ExitStack() as opened:  # closed again when anything fails
            self._lock = opened.enter_context(self._locked())
            shutil.rmtree(self.incoming, ignore_errors=True)  # nobody waits for these uploads any more
            for one in (self.incoming, self.jobs_folder):
                one.mkdir(parents=True, exist_ok=True)
            try:
                self._table = opened.enter_context(closing(sqlite3.connect(folder / "jobs.sqlite", isolation_level=None)))
                self._prepare()
                self._recover()
            except (sqlite3.Error, ValueError, TypeError) as error:
                raise SuperscaleError(
                    f"{folder / 'jobs.sqlite'}: expected the table of jobs of a server, and it cannot be used ({error}); "
                    "make room or move it away, or name another folder with --spool"
                ) from error
            opened.pop_all()

    def _prepare(self) -> None:
        self._table.row_factory = sqlite3.Row
        self._table.execute("PRAGMA journal_mode = WAL")
        # Each change outlives a kill of the process; waiting for the disk would hold up all other requests.
        self._table.execute("PRAGMA synchronous = NORMAL")
        self._table.execute(
            "CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY, id TEXT UNIQUE, asked TEXT, name TEXT, bytes INT, "
            "width INT, height INT, attached INT, key TEXT UNIQUE, sha256 TEXT, state TEXT, created REAL, started REAL, "
            "ended REAL, result TEXT, error TEXT)"
        )
        self._table.execute("CREATE INDEX IF NOT EXISTS by_state ON jobs (state, number)")

    def _locked(self) -> IO[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(self.folder / "lock", "ab")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise UsageError(f"another server uses {self.folder}; name another folder with --spool") from error
        return lock

    def _recover(self) -> None:
        """After a kill: what was running waits again, unless its result is there; what belongs to nobody is deleted."""
        for job in self.listed("running"):
            try:
                facts = json.loads((self.folder_of(job.id) / "facts.json").read_bytes())  # written after the result
            except (OSError, ValueError):
                self.update(job.id, state="waiting", started=None)
            else:
                self.update(job.id, state="done", ended=time.time(), result=facts)
        for job in self.listed("waiting", "done", "failed", "cancelled"):
            if job.attached:
                self.delete(job.id)
        known = {row["id"] for row in self._table.execute("SELECT id FROM jobs")}
        for folder in self.jobs_folder.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def new_upload(self) -> Path:
        """An unused path for an upload, in a folder of its own; the folder's name becomes the job's id."""
        folder = self.incoming / token_hex(16)
        folder.mkdir(parents=True)
        return folder / "upload"

    def discard(self, upload: Path) -> None:
        """Delete an upload that is not accepted."""
        shutil.rmtree(upload.parent, ignore_errors=True)

    def folder_of(self, job_id: str) -> Path:
        """Where a job's files lie."""
        return self.jobs_folder / job_id

    def result_path(self, job: Job) -> Path | None:
        """The file of a job's result; None while there is none."""
        return None if job.result is None else self.folder_of(job.id) / f"result{job.result['suffix']}"

    def add(self, job: Job, upload: Path) -> None:
        """Accept a job, whose upload lies in ``incoming``."""
        os.replace(upload.parent, self.folder_of(job.id))
        row = _row(job)
        marks = ", ".join("?" * len(row))
        try:
            self._table.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        except sqlite3.Error:  # a full disk, of which nobody's upload must keep a part
            shutil.rmtree(self.folder_of(job.id), ignore_errors=True)
            raise

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        return next(self._selected("id = ?", job_id), None)

    def by_key(self, key: str) -> Job | None:
        """A job by its Idempotency-Key."""
        return next(self._selected("key = ?", key), None)

    def listed(self, *states: State) -> list[Job]:
        """The jobs in these states, the oldest first."""
        return list(self._selected(f"state IN ({', '.join('?' * len(states))}) ORDER BY number", *states))

    def waiting(self) -> int:
        """How many jobs wait."""
        count: int = self._table.execute("SELECT count(*) FROM jobs WHERE state = 'waiting'").fetchone()[0]
        return count

    def update(self, job_id: str, **changes: Any) -> None:
        """Change columns of a job."""
        values = [json.dumps(value) if name in JSON_COLUMNS and value is not None else value for name, value in changes.items()]
        assignments = ", ".join(f"{name} = ?" for name in changes)
        self._table.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*values, job_id))

    def delete(self, job_id: str) -> None:
        """Delete a job's files and forget it; in this order, since on a full disk the table can only be changed after it."""
        shutil.rmtree(self.folder_of(job_id), ignore_errors=True)
        self._table.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def expire(self, before: float) -> int:
        """Delete the jobs that ended before a time; how many they were."""
        old = list(self._selected("ended < ?", before))
        for job in old:
            self.delete(job.id)
        return len(old)

    def first_to_expire(self) -> float | None:
        """When the oldest job that is over ended; None if none is."""
        ended: float | None = self._table.execute("SELECT min(ended) FROM jobs").fetchone()[0]
        return ended

    def used_bytes(self) -> int:
        """The size of the uploads and results that lie here."""
        used = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):  # it was just deleted
                    used += os.stat(os.path.join(folder, name)).st_size
        return used

    def close(self) -> None:
        """Let another server use the folder."""
        self._table.close()
        self._lock.close()

    def _selected(self, where: str, *values: Any) -> Iterator[Job]:
        for row in self._table.execute(f"SELECT * FROM jobs WHERE {where}", values).fetchall():
            facts = {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118 - a Row iterates over values
            for name in JSON_COLUMNS:
                facts[name] = None if facts[name] is None else json.loads(facts[name])
            job = Job(**facts)
            yield replace(job, asked=Asked(**facts["asked"]), attached=bool(job.attached))


def _row(job: Job) -> dict[str, Any]:
    row = asdict(job)
    return row | {name: None if row[name] is None else json.dumps(row[name]) for name in JSON_COLUMNS}
