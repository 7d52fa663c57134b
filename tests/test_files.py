"""Files and folders that appear whole or not at all, and what becomes of those that did not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superscale import files
from superscale.files import (
    CLAIM,
    Claims,
    new_folder,
    remove_folder,
    require_writable,
    sweep,
    temporary_name,
    write_bytes,
    write_texts,
)

WRITER = """
import sys, time
from pathlib import Path
from superscale.files import temporary_name
path = temporary_name(Path(sys.argv[1]))
path.write_bytes(b"half")
print(path, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell whether a process lives")
def test_temporaries_of_the_dead_are_swept_and_those_of_the_living_kept(tmp_path: Path) -> None:
    other = tmp_path / "holiday.part"
    other.write_bytes(b"")
    own = temporary_name(tmp_path)
    own.write_bytes(b"half")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    theirs = Path(writer.stdout.readline().strip())
    assert sweep([tmp_path, tmp_path, tmp_path / "missing"]) == []
    writer.kill()
    writer.communicate()
    assert sweep([tmp_path]) == [theirs]
    assert own.exists()
    assert other.exists()


def test_of_another_machine_or_an_older_version_only_old_temporaries_are_swept(tmp_path: Path) -> None:
    names = (".superscale-00000000-1-abc.part", ".superscale-abc.part")
    young, old = tmp_path / names[0], tmp_path / names[1]
    for path in (young, old):
        path.write_bytes(b"half")
    assert sweep([tmp_path]) == []
    day_before_yesterday = time.time() - 2 * files.STALE_SECONDS
    os.utime(old, (day_before_yesterday, day_before_yesterday))
    assert sweep([tmp_path]) == [old]


def test_the_sole_user_of_a_folder_sweeps_every_temporary(tmp_path: Path) -> None:
    own, folder = temporary_name(tmp_path), temporary_name(tmp_path)
    own.write_bytes(b"half")
    (folder / "below").mkdir(parents=True)
    (tmp_path / "kept").write_bytes(b"whole")
    assert set(sweep([tmp_path], sole_user=True)) == {own, folder}
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


WRITES: tuple[Callable[[Path], Any], ...] = (
    lambda path: write_bytes(path, b"x"),
    lambda path: require_writable(path),
    lambda path: write_texts(path.parent, {path.name: "x"}),
    lambda path: new_folder(path).__enter__(),
)


@pytest.mark.parametrize(
    "write", [lambda path: write_bytes(path, b"new"), lambda path: write_texts(path.parent, {path.name: "new"})]
)
def test_a_folder_in_the_place_of_a_file_is_named_by_its_own_name(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="expected a file, got a folder") as error:
        write(tmp_path / "folder")
    assert error.value.filename == str(tmp_path / "folder")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_a_device_or_a_socket_is_not_replaced(tmp_path: Path) -> None:
    pipe, linked, listening = tmp_path / "pipe", tmp_path / "linked", tmp_path / "socket"
    os.mkfifo(pipe)
    linked.symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))
    for path, kind in ((pipe, "pipe"), (linked, "device"), (listening, "socket")):
        mode = path.lstat().st_mode
        for write in WRITES:
            with pytest.raises(OSError, match=f"got a {kind}"):
                write(path)
        assert path.lstat().st_mode == mode
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_replaces_another_when_it_is_whole_and_never_before(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in ("first", "second"):
        with new_folder(path) as building:
            (building / "part").write_text(content)
    with pytest.raises(KeyboardInterrupt), new_folder(path):
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    assert (path / "part").read_text() == "second"
    remove_folder(path)
    assert not list(tmp_path.iterdir())


CLAIMER = """
import sys, time
from pathlib import Path
from superscale.files import Claims
claims = Claims()
print(claims.take(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows grants every claim")
def test_an_output_is_claimed_by_one_process_until_it_dies(tmp_path: Path) -> None:
    output = tmp_path / "big.png"
    claimer = subprocess.Popen([sys.executable, "-c", CLAIMER, str(output)], stdout=subprocess.PIPE, text=True)
    assert claimer.stdout is not None
    assert claimer.stdout.readline() == "True\n"
    mine = Claims()
    assert not mine.take(output)
    assert mine.take(tmp_path / "another.png")
    assert sweep([tmp_path]) == []
    assert sweep([tmp_path], sole_user=True) == []
    claimer.kill()
    claimer.communicate()
    (left,) = sweep([tmp_path])
    assert left.name.startswith(CLAIM)
    assert mine.take(output)
    mine.drop_all()
    assert list(tmp_path.iterdir()) == []
