"""One run directory, one run: who may write in it, what a killed process left in it, and how it is emptied."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from superscale import files
from superscale.errors import TrainingError, UsageError
from superscale.files import TEMPORARY, write_text
from superscale.machine import processes
from superscale.reading import read_json, reason
from superscale.weights.checkpoint import saved_states

if sys.platform != "win32":
    import fcntl

LOCK_FILE = ".lock"
# Written when all has been checked, before the first step.
RECIPE = "recipe.toml"
# The pack that a run makes of photos, and beside it what it was made of.
OWN_PACK = "pack"
OWN_PACK_SOURCE = "pack-source.json"
# Those of further sources are numbered from 2 on.
OWN_PACKS = "pack-[0-9]*"
# Stage -> how often it was taken back: written at once, since the state it was taken back to knows nothing of it.
ROLLBACKS_FILE = "rollbacks.json"

# As `HealthConfig` has it.
MOST_ROLLBACKS = 1000

# All that a run directory may hold, by what a training writes (and `plot`).
WRITTEN = (
    *(
        LOCK_FILE,
        ROLLBACKS_FILE,
        OWN_PACK,
        OWN_PACK_SOURCE,
        OWN_PACKS,
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "health.jsonl",
    ),
    *("checkpoints", "samples", "model.safetensors", "model-best-*.safetensors", "events.out.tfevents.*", "curves.png"),
)

# Of these, what is written late.
LATE_FOLDERS, LATE_FILES = ("checkpoints", "samples"), ("model.safetensors", "model-best-*.safetensors")


def own_pack(run_dir: Path, source: int = 0) -> Path:
    """The pack that a run makes of its data source of that number."""
    return run_dir / (f"{OWN_PACK}-{source + 1}" if source else OWN_PACK)


def own_pack_source(run_dir: Path, source: int = 0) -> Path:
    """The file that says what that pack was made of."""
    return run_dir / (f"{OWN_PACK}-{source + 1}-source.json" if source else OWN_PACK_SOURCE)


@contextmanager
def opened(run_dir: Path, fresh: bool) -> Iterator[None]:
    """The first process locks and clears the directory; the others follow when that is done."""
    if processes.rank() > 0:
        processes.wait()
        yield
        return
    # Restarted by torchrun, the same command line must not delete what it is to go on with.
    fresh = fresh and not processes.restarted()
    if fresh:
        check_is_run_directory(run_dir)
    made = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    empty = bool(made) or not any(run_dir.iterdir())
    try:
        with sole_user(run_dir):
            if fresh:
                delete_contents(run_dir)
            delete_unfinished(run_dir)
            check_places(run_dir)
            processes.wait()
            yield
    except BaseException:
        if empty and not (run_dir / RECIPE).exists() and not is_taken(run_dir):
            _leave_no_trace(run_dir, made)
        raise


def _leave_no_trace(run_dir: Path, made: list[Path]) -> None:
    """Of a run that was refused before its first step: delete what it wrote, and the directories that were made for it, the inner first."""
    with suppress(OSError):
        delete_contents(run_dir)
        (run_dir / LOCK_FILE).unlink(missing_ok=True)
        for path in made:
            path.rmdir()


@contextmanager
def full_disk_told(run_dir: Path) -> Iterator[None]:
    """A disk that is full as a TrainingError, wherever it was met."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        kept = any(saved_states(run_dir / "checkpoints"))
        what = (
            "the newest training state is kept, the same command goes on" if kept else "nothing had been saved yet; make room"
        )
        raise TrainingError(f"{error.filename or run_dir}: {error.strerror}; {what}") from error


@contextmanager
def sole_user(run_dir: Path) -> Iterator[bool]:
    """Hold the directory, made if need be, for one process; the lock dies with the process, however that ends.

    Yields whether it could be locked: some network file systems cannot, nor can Windows. Raises TrainingError, with the
    holder's process id, when another run is there.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    files.require_place_for_file(run_dir / LOCK_FILE)
    with open(run_dir / LOCK_FILE, "a+", encoding="ascii") as file:
        try:
            locked = _lock(file.fileno())
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "of unknown id"
            raise TrainingError(
                f"{run_dir}: process {holder} is training here; wait for it or stop it, or choose another run directory",
                ways_out=("run_dir",),
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield locked


def is_taken(run_dir: Path) -> bool:
    """Whether another process holds the directory now, as far as the system can tell; changes nothing."""
    path = run_dir / LOCK_FILE
    if sys.platform == "win32" or not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def check_is_run_directory(run_dir: Path) -> None:
    """Raise UsageError for a folder that `delete_contents` must not touch: one that holds what no run has written."""
    if not run_dir.exists():
        return
    strange = [path.name for path in sorted(run_dir.iterdir()) if not _is_ours(path)]
    if strange:
        raise UsageError(
            f"beginning anew deletes a run directory, and {run_dir} holds {strange[0]}, which no training has written; "
            "move it away, or choose another run directory",
            ways_out=("run_dir",),
        )


def _is_ours(path: Path) -> bool:
    return bool(TEMPORARY.fullmatch(path.name)) or any(path.match(pattern) for pattern in WRITTEN)


def check_places(run_dir: Path) -> None:
    """Raise OSError where something else lies in the place of a file or folder that may only be written when hours are over."""
    for name in LATE_FOLDERS:
        if os.path.lexists(run_dir / name) and not (run_dir / name).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "expected a folder, got something else; move it away", str(run_dir / name))
    for path in sorted({run_dir / ROLLBACKS_FILE, *(one for pattern in LATE_FILES for one in run_dir.glob(pattern))}):
        files.require_place_for_file(path)


def delete_contents(run_dir: Path) -> None:
    """Delete what the directory holds, but for the lock."""
    for path in run_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()


def delete_unfinished(run_dir: Path) -> None:
    """Delete what a killed process did not finish. Only under the lock: nobody is writing it any more."""
    files.sweep((run_dir, run_dir / "checkpoints", run_dir / "samples"), sole_user=True)


def write_rollbacks(run_dir: Path, rollbacks: Mapping[str, int]) -> None:
    """Keep the counts for a process that takes over from a killed one before the next state is saved."""
    write_text(run_dir / ROLLBACKS_FILE, json.dumps(dict(rollbacks)))


def read_rollbacks(run_dir: Path) -> dict[str, int]:
    """What `write_rollbacks` wrote; empty when it never did. Raises TrainingError when the file is damaged."""
    path = run_dir / ROLLBACKS_FILE
    if not path.is_file():
        return {}
    way_out = "delete it to go on at the full learning rate"
    try:
        counts = read_json(path)
    except OSError as error:
        raise TrainingError(f"{path}: damaged ({reason(error)}); {way_out}") from error
    if not isinstance(counts, dict) or not all(
        type(count) is int and 0 <= count <= MOST_ROLLBACKS for count in counts.values()
    ):
        raise TrainingError(f"{path}: damaged (no counts by stage); {way_out}")
    return counts
