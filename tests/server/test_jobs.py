"""The table of jobs, without a server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from superscale.errors import SuperscaleError
from superscale.image.formats import SUFFIXES
from superscale.server.jobs import Asked, Job, Spool
from superscale.server.limits import Settings
from superscale.server.problems import Problem
from superscale.server.service import Service
from superscale.server.uploads import asked, shown_name
from superscale.server.worker import TYPES


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    one = Service(Settings(spool=tmp_path, queue=2))
    yield one
    one.spool.close()


@contextmanager
def full(service: Service) -> Iterator[None]:
    """A disk whose table takes no changes: SQLite says OperationalError, as of a full one."""
    service.spool._table.execute("PRAGMA query_only = ON")
    yield
    service.spool._table.execute("PRAGMA query_only = OFF")


def added(spool: Spool, **facts: object) -> Job:
    upload = spool.new_upload()
    upload.write_bytes(b"x")
    job = Job(**{"id": upload.parent.name, "asked": Asked("m"), "name": "a", "bytes": 1, "width": 200, "height": 100, **facts})  # type: ignore[arg-type]
    spool.add(job, upload)
    return job


def test_a_job_comes_back_from_the_table_as_it_went_in(service: Service) -> None:
    job = added(service.spool, asked=Asked("m", 2.5, 0.5, "png", 80, "strip"), key="k", sha256="s")
    assert service.spool.get(job.id) == service.spool.by_key("k") == job


def test_after_a_kill_what_ran_waits_unless_its_result_is_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ran, ended, attached = added(spool), added(spool), added(spool, attached=True)
    for job in (ran, ended, attached):
        spool.update(job.id, state="running", started=1.0)
    (spool.folder_of(ran.id) / "result.png").write_bytes(b"half of its facts are missing")
    (spool.folder_of(ended.id) / "facts.json").write_text(json.dumps({"suffix": ".png"}))
    lost = spool.new_upload()
    (spool.jobs_folder / "orphan").mkdir()
    spool.close()
    again = Spool(tmp_path)
    assert [one.id for one in again.listed("waiting")] == [ran.id]
    assert [one.id for one in again.listed("done")] == [ended.id]
    assert again.get(attached.id) is None
    assert not lost.parent.exists()
    assert {path.name for path in again.jobs_folder.iterdir()} == {ran.id, ended.id}
    again.close()


def test_the_time_left_follows_from_what_was_measured(service: Service) -> None:
    service.rates = {None: 1e-3, "fast": 1e-4}
    running = added(service.spool)
    service.spool.update(running.id, state="running", started=time.time() - 10)
    first, second = added(service.spool), added(service.spool, asked=Asked("fast"))
    (running,) = service.spool.listed("running")
    # 20,000 pixels at 1 ms take 20.1 s, of which 10 are over; the waiting ones take 20.1 s and 2.1 s more.
    assert service.seconds_left(running) == pytest.approx(10.1, abs=0.3)
    assert service.seconds_left(first) == pytest.approx(30.2, abs=0.3)
    assert service.seconds_left(second) == pytest.approx(32.3, abs=0.3)
    assert service.seconds_until_place() == pytest.approx(10.1, abs=0.3)
    # A quarter took 10 s, so three quarters take 30.
    service.progress[running.id] = 0.25
    assert service.seconds_until_place() == pytest.approx(30, abs=0.3)
    assert (service.place(first), service.place(second)) == (1, 2)


def test_results_expire(service: Service) -> None:
    old, young = added(service.spool), added(service.spool)
    service.spool.update(old.id, state="done", ended=100.0)
    service.spool.update(young.id, state="done", ended=200.0)
    assert service.spool.expire(150.0) == 1
    assert service.spool.get(old.id) is None
    assert not service.spool.folder_of(old.id).exists()
    assert service.spool.folder_of(young.id).exists()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\photo.png", "photo.png"),
        ("a\x00b\n\u202egnp.exe", "abgnp.exe"),
        ("x" * 500, "x" * 200),
        ("", ""),
    ],
)
def test_an_uploaded_name_is_a_short_text_and_never_a_path(sent: str, shown: str) -> None:
    assert shown_name(sent) == shown


def test_fields_become_values() -> None:
    models: Any = [{"name": "first", "scale": 4, "fidelity": True}, {"name": "m", "scale": 2, "fidelity": False}]
    form = {"model": "m", "scale": "2", "format": "JPEG", "quality": "80"}
    assert asked(form, models) == Asked("m", 2.0, None, "jpg", 80, "keep")
    assert asked({"scale": "", "format": "tif"}, models) == Asked("first", None, None, "tiff")
    refused = {"scale": "1e999", "quality": "many", "fidelity": "-0.1", "model": "nobody"}
    for name, text in refused.items():
        with pytest.raises(Problem) as found:
            asked({name: text}, models)
        assert found.value.document()["errors"][0]["field"] == name
    with pytest.raises(Problem, match="is for the models first"):
        asked({"model": "m", "fidelity": "0.5"}, models)


@pytest.mark.parametrize(("field", "text"), [("quality", "95.7"), ("quality", "9_5"), ("scale", "1_0")])
def test_a_number_that_would_be_changed_in_reading_is_refused(field: str, text: str) -> None:
    models = [{"name": "first", "fidelity": False}]
    with pytest.raises(Problem, match=field):
        asked({field: text}, models)


def test_every_format_that_is_written_has_a_type() -> None:
    assert set(TYPES) == set(SUFFIXES.values())


@pytest.mark.parametrize("content", [b"not a table" * 200, None])
def test_a_table_of_jobs_that_cannot_be_used_is_named(content: bytes | None, tmp_path: Path) -> None:
    table = tmp_path / "jobs.sqlite"
    if content is None:
        table.mkdir()
    else:
        table.write_bytes(content)
    with pytest.raises(SuperscaleError, match=r"jobs\.sqlite: expected the table of jobs"):
        Spool(tmp_path)
    table.rename(tmp_path / "away")
    Spool(tmp_path).close()


def test_a_job_that_the_table_of_a_full_disk_does_not_take_leaves_no_upload(service: Service) -> None:
    with full(service), pytest.raises(sqlite3.OperationalError):
        added(service.spool)
    assert not any(service.spool.jobs_folder.iterdir())


def test_results_expire_on_a_full_disk_and_after_it(service: Service) -> None:
    old = added(service.spool)
    service.spool.update(old.id, state="done", ended=1.0, result={"suffix": ".png"})
    with full(service), pytest.raises(sqlite3.OperationalError):
        service.spool.expire(2.0)
    assert not service.spool.folder_of(old.id).exists()  # this makes the room
    service.spool.expire(2.0)
    assert service.spool.get(old.id) is None


def test_a_result_whose_facts_are_damaged_is_made_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ran = added(spool)
    spool.update(ran.id, state="running", started=1.0)
    (spool.folder_of(ran.id) / "facts.json").write_text('{"suf')
    spool.close()
    again = Spool(tmp_path)
    assert [one.id for one in again.listed("waiting")] == [ran.id]
    again.close()


def test_a_full_disk_does_not_end_the_expiry_of_results(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superscale.server.service.SWEEP_SECONDS", 0.01)
    old = added(service.spool)
    service.spool.update(old.id, state="done", ended=1.0, result={"suffix": ".png"})

    async def swept() -> None:
        with full(service):
            sweeping = asyncio.create_task(service._sweep())
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while service.spool.get(old.id) is not None:
                await asyncio.sleep(0.01)
        sweeping.cancel()

    asyncio.run(swept())
