from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from s3_server import KEYS, S3Server
from superscale.data.synthetic import synthetic_picture
from superscale.errors import StoreError, UsageError
from superscale.inference.upscaler import Upscaler
from superscale.remote.manifest import lines
from superscale.remote.names import Address, endpoint, parsed, trouble
from superscale.remote.store import PROOF, Access, Entry, LostRace, Store

Command = Callable[..., int]
Draw = Callable[..., Path]


def below(s3: S3Server, prefix: Address) -> dict[str, bytes]:
    """The objects below a prefix that are no notes of our own."""
    found = {one.address.key.removeprefix(prefix.key): one.address for one in s3.store.listed(prefix)}
    return {name: s3.store.read(address) for name, address in found.items() if not name.startswith(".superscale/")}


def told(s3: S3Server, prefix: Address) -> list[dict[str, Any]]:
    return list(lines(s3.store, prefix.below(".superscale/manifest/")))


class Counting:
    """Counts the requests of a run, by their kinds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from s3fs import S3FileSystem

        self.methods: list[str] = []
        plain = S3FileSystem._call_s3

        async def counted(system: Any, method: str, *arguments: Any, **how: Any) -> Any:
            self.methods.append(method)
            return await plain(system, method, *arguments, **how)

        monkeypatch.setattr(S3FileSystem, "_call_s3", counted)


def test_objects_are_those_that_the_same_command_makes_of_a_folder(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, model_file: Path, tmp_path: Path
) -> None:
    folder = draw(bucket.below("in/"), "a.png", "sub/b ü.png", "sub/deep/c+d%20.jpg")
    frames = [Picture.fromarray(synthetic_picture(number, 16)) for number in range(3)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:], duration=40)
    s3.store.put(bucket.below("in/moves.gif"), folder / "moves.gif", {})
    s3.store.put(bucket.below("in/notes.txt"), b"no picture", {})
    assert command(f"{bucket}in/", "-o", f"{bucket}out/") == 0
    import superscale.inference.jobs as jobs
    from superscale.inference.inputs import expand
    from superscale.inference.outcomes import Settings
    from superscale.inference.plan import plan_jobs

    upscaler = Upscaler(model_file, backend="torch", device="cpu")
    planned = plan_jobs(expand([str(folder)]), str(tmp_path / "out"), scale=upscaler.scale, model="tiny")
    assert all(one.status == "done" for one in jobs.run_jobs(planned, upscaler.enlarge, Settings(scale=4)))
    expected = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert "moves_x4.gif" in expected
    assert below(s3, bucket.below("out/")) == expected


def test_a_gif_is_finished_where_its_output_lies_and_a_still_one_becomes_a_png(
    s3: S3Server, bucket: Address, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Picture.fromarray(synthetic_picture(number, 16)) for number in range(2)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.gif")
    for name in ("moves.gif", "still.gif"):
        s3.store.put(bucket.below(f"in/{name}"), tmp_path / name, {})
    for said in ("2 done, 0 skipped", "0 done, 2 skipped"):
        assert command(f"{bucket}in/", "-o", f"{bucket}out/") == 0
        assert said in capsys.readouterr().err
    assert set(below(s3, bucket.below("out/"))) == {"moves_x4.gif", "still_gif_x4.png"}
    assert command(f"{bucket}in/", "-o", f"{bucket}out/", "--quality", "50") == 1
    assert "2 failed" in capsys.readouterr().err


def test_what_is_finished_costs_listings_and_no_more(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (f"{bucket}in", "-o", f"{bucket}out")
    draw(bucket.below("in/"), "a.png", "b.png", "c.png")
    assert command(*line) == 0
    before = below(s3, bucket.below("out/"))
    requests = Counting(monkeypatch)
    assert command(*line) == 0
    assert requests.methods.count("get_object") == 1  # the shard of the manifest
    assert set(requests.methods) <= {"head_object", "list_objects_v2", "get_object", "put_object", "list_multipart_uploads"}
    assert (requests.methods.count("head_object"), requests.methods.count("put_object")) == (
        1,
        1,
    )  # `in`, the proof of conditions
    assert below(s3, bucket.below("out/")) == before


def test_a_changed_input_is_done_again_when_asked_and_other_settings_replace_nothing_unasked(
    s3: S3Server, bucket: Address, command: Command, draw: Draw
) -> None:
    line = (f"{bucket}in", "-o", f"{bucket}out")
    draw(bucket.below("in/"), "a.png", "b.png")
    assert command(*line) == 0
    before = below(s3, bucket.below("out/"))
    s3.ask("delete_object", Bucket=bucket.bucket, Key=f"{bucket.key}in/b.png")
    draw(bucket.below("in/"), "b.png", side=20)
    assert command(*line) == 1
    assert below(s3, bucket.below("out/")) == before
    assert command(*line, "--overwrite") == 0
    after = below(s3, bucket.below("out/"))
    assert [name for name in after if after[name] != before[name]] == ["b_x4.png"]
    assert command(*line, "--quality", "50") == 1
    assert below(s3, bucket.below("out/")) == after


def test_outputs_of_a_run_whose_manifest_was_lost_are_known_by_their_facts(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(bucket.below("in/"), "a.png", "b.png")
    line = (f"{bucket}in/", "-o", f"{bucket}out/")
    assert command(*line) == 0
    for one in list(s3.store.listed(bucket.below("out/.superscale/manifest/"))):
        s3.ask("delete_object", Bucket=bucket.bucket, Key=one.address.key)
    s3.ask("delete_object", Bucket=bucket.bucket, Key=f"{bucket.key}out/b_x4.png")
    capsys.readouterr()
    assert command(*line) == 0
    assert "1 done, 1 skipped, 0 failed of 2" in capsys.readouterr().err
    assert {line["status"] for line in told(s3, bucket.below("out/"))} == {"done"}


def test_a_dry_run_lists_what_would_be_done_and_writes_nothing(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (f"{bucket}in/", "-o", f"{bucket}out/")
    folder = draw(bucket.below("in/"), "a.png", "b.png")
    assert command(*line, "--dry-run") == 0
    said = capsys.readouterr()
    assert f"{bucket}in/a.png -> {bucket}out/a_x4.png  {(folder / 'a.png').stat().st_size} bytes" in said.out
    assert "2 to be done" in said.err
    assert list(s3.store.listed(bucket.below("out/"))) == []
    assert command(*line) == 0
    draw(bucket.below("in/"), "c.png")
    s3.store.put(bucket.below("out/c_x4.png"), b"mine", {})
    capsys.readouterr()
    assert command(*line, "--dry-run", "--json", "--max-bytes", 99999) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(job["output"], job["exists"]) for job in answer["jobs"]] == [(f"{bucket}out/c_x4.png", True)]
    assert answer["finished"] == 2
    assert command(*line, "--dry-run", "--max-bytes", 10) == 1
    assert "3 would fail" in capsys.readouterr().err


def test_failures_are_in_the_manifest_and_are_tried_again_from_it(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw(bucket.below("in/"), "a.png", "sub/b.png")
    whole = (folder / "sub/b.png").read_bytes()
    etag = s3.store.facts(bucket.below("in/sub/b.png"))[0].etag  # type: ignore[index]
    s3.store.put(bucket.below("in/sub/b.png"), whole[:100], {}, etag)
    assert command(f"{bucket}in/", "-o", f"{bucket}out/", "--failed-list", tmp_path / "list", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["done"], answer["failed"]) == (1, 1)
    assert {one["code"] for one in answer["results"]} == {None, "damaged"}
    assert (tmp_path / "list").read_text() == f"{bucket}in/./sub/b.png\n"
    by_name = {one["input"]: one for one in told(s3, bucket.below("out/"))}
    failed = by_name[f"{bucket}in/sub/b.png"]
    assert (failed["status"], failed["code"]) == ("failed", "damaged")
    assert "/tmp" not in failed["error"]
    done = by_name[f"{bucket}in/a.png"]
    found = s3.store.facts(bucket.below("out/a_x4.png"))
    assert found is not None
    assert (done["output_etag"], done["output_size"]) == (found[0].etag, found[0].size)

    etag = s3.store.facts(bucket.below("in/sub/b.png"))[0].etag  # type: ignore[index]
    s3.store.put(bucket.below("in/sub/b.png"), whole, {}, etag)
    capsys.readouterr()
    assert command(f"@{bucket}out/.superscale/manifest/") == 0
    assert "done: " in capsys.readouterr().err
    assert set(below(s3, bucket.below("out/"))) == {"a_x4.png", "sub/b_x4.png"}
    assert command(f"@{tmp_path / 'list'}", "-o", f"{bucket}out/") == 0
    assert command(f"@{bucket}out/.superscale/manifest/") == 0
    assert "nothing to do" in capsys.readouterr().err


def test_who_loses_the_race_compares_and_counts_it_as_done(
    s3: S3Server,
    bucket: Address,
    command: Command,
    draw: Draw,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw(bucket.below("in/"), "a.png")
    plain = Store.put
    winners: list[str] = []

    def late(store: Store, address: Address, data: Any, facts: Any, replaces: str | None = None) -> str:
        if address.key.endswith("a_x4.png") and not winners:
            winners.append(plain(store, address, data, {**facts, "superscale-run": "another"}, replaces))
        return plain(store, address, data, facts, replaces)

    monkeypatch.setattr(Store, "put", late)
    assert command(f"{bucket}in/", "-o", f"{bucket}out/") == 0
    assert "another process has made it" in capsys.readouterr().err
    (line,) = told(s3, bucket.below("out/"))
    assert (line["status"], line["output_etag"]) == ("done", winners[0])


def test_an_object_of_many_parts_appears_whole_and_leftovers_are_swept(
    s3: S3Server, bucket: Address, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("superscale.remote.s3.PART_BYTES", 5 * 1024**2)
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 4 * 1024 * 11)
    place = bucket.below("large")
    etag = s3.store.put(place, path, {"what": "parts"})
    assert s3.store.read(place) == path.read_bytes()
    with pytest.raises(LostRace):
        s3.store.put(place, path, {})
    assert s3.store.put(place, path, {"what": "again"}, replaces=etag)
    assert s3.store.facts(place)[1] == {"what": "again"}  # type: ignore[index]
    assert not s3.ask("list_multipart_uploads", Bucket=bucket.bucket, Prefix=bucket.key).get("Uploads")

    s3.ask("create_multipart_upload", Bucket=bucket.bucket, Key=place.key)  # what it should become is there
    s3.ask("create_multipart_upload", Bucket=bucket.bucket, Key=f"{bucket.key}other")  # somebody may be at it
    assert s3.store.sweep(bucket) == 1
    monkeypatch.setattr("superscale.remote.s3.STALE_SECONDS", -3600 * 24)
    assert s3.store.sweep(bucket) == 1
    assert not s3.ask("list_multipart_uploads", Bucket=bucket.bucket, Prefix=bucket.key).get("Uploads")


def test_names_of_a_listing_do_not_leave_the_output_prefix(
    s3: S3Server,
    bucket: Address,
    command: Command,
    draw: Draw,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert all(
        trouble(name) for name in ("../a.png", "x/../../a.png", "x//a.png", "./a.png", "x\\..\\a.png", "a\n.png", "/a.png")
    )
    assert trouble("x/..a/b...png") is None
    draw(bucket.below("in/"), "a.png")
    plain = Store.listed

    def hostile(store: Store, prefix: Address) -> Iterator[Entry]:
        yield from plain(store, prefix)
        if prefix == bucket.below("in/"):  # this server would not keep such names; others do
            yield from (Entry(prefix.below(name), '"1"', 1) for name in ("../b.png", "x\\..\\b.png"))

    monkeypatch.setattr(Store, "listed", hostile)
    assert command(f"{bucket}in/", "-o", f"{bucket}out/") == 1
    error = capsys.readouterr().err
    assert "1 done, 0 skipped, 2 failed of 3" in error
    assert "backslashes" in error
    assert set(below(s3, bucket.below("out/"))) == {"a_x4.png"}


def test_an_output_below_the_input_is_not_enlarged_and_one_output_of_two_inputs_is_refused(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(bucket.below("one/"), "a.png")
    draw(bucket.below("two/"), "b.png", "a.png")
    line = (f"{bucket}one/", f"{bucket}two/", "-o", f"{bucket}two/big/")
    assert command(*line) == 1
    assert "another input of this run" in capsys.readouterr().err
    assert set(below(s3, bucket.below("two/big/"))) == {"a_x4.png", "b_x4.png"}
    assert command(f"{bucket}two/", "-o", f"{bucket}two/big/", "--overwrite") == 0
    assert set(below(s3, bucket.below("two/big/"))) == {"a_x4.png", "b_x4.png"}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("s3://bucket/in/",), "-o s3://"),
        (("s3://bucket/in/", "-o", "out"), "-o s3://"),
        (("photos", "-o", "s3://bucket/out/"), "both in one kind of store"),
        (("s3://bucket/in", "-o", "s3://bucket/in/"), "give another"),
        (("ftp://bucket/in", "-o", "ftp://bucket/out/"), "expected s3://"),
        (("gs://bucket/in", "-o", "s3://bucket/out/"), "both in one kind of store"),
        (("s3://key:secret-word@bucket/in/", "-o", "s3://bucket/out/"), "no credentials"),
        (("s3://bucket/in/", "-o", "s3://bucket/out/", "--on", "rya"), "--on must be"),
        (("s3://bucket/in/", "-o", "s3://bucket/out/", "--price", "2"), "--price is for"),
    ],
)
def test_what_cannot_be_had_together_is_a_usage_error(
    arguments: tuple[str, ...], match: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert match in error
    assert len(error.splitlines()) == 1
    assert "secret-word" not in error


def test_addresses_of_servers_hold_no_credentials() -> None:
    assert endpoint("https://store.example:9000") == "https://store.example:9000"
    for url in ("https://key:secret@store.example", "store.example", "https://store.example?X-Amz-Signature=1"):
        with pytest.raises(UsageError):
            endpoint(url)


def test_a_store_that_takes_no_notice_of_conditions_is_refused(
    s3: S3Server,
    bucket: Address,
    command: Command,
    draw: Draw,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from s3fs import S3FileSystem

    plain = S3FileSystem._call_s3

    async def deaf(system: Any, method: str, *arguments: Any, **how: Any) -> Any:
        how.pop("IfNoneMatch", None)
        return await plain(system, method, *arguments, **how)

    monkeypatch.setattr(S3FileSystem, "_call_s3", deaf)
    draw(bucket.below("in/"), "a.png")
    assert command(f"{bucket}in/", "-o", f"{bucket}out/") == 2
    assert "takes no notice of If-None-Match" in capsys.readouterr().err
    assert set(below(s3, bucket.below("out/"))) == set()
    assert s3.store.facts(bucket.below(f"out/{PROOF}")) is not None


def test_no_credentials_are_in_manifests_messages_and_facts(
    s3: S3Server, bucket: Address, command: Command, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(bucket.below("in/"), "a.png")
    assert command(f"{bucket}in/", "-o", f"{bucket}out/", "-v", "--json") == 0
    assert command(f"{bucket}nowhere/", "-o", f"{bucket}out/", "-v") == 1
    captured = capsys.readouterr()
    said = captured.out + captured.err + json.dumps(told(s3, bucket.below("out/")))
    said += str(s3.store.facts(bucket.below("out/a_x4.png")))
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in said
    assert KEYS["AWS_ACCESS_KEY_ID"] not in said


def test_a_store_without_an_answer_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superscale.remote.s3.TRIES", 1)
    assert command("s3://bucket/in/", "-o", "s3://bucket/out/", endpoint="http://127.0.0.1:9") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("superscale: s3://bucket/out/")
    with pytest.raises(StoreError):
        Store(Access("http://127.0.0.1:9")).read(parsed("s3://bucket/a"))
