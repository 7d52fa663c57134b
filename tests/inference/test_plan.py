from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from superscale.errors import UsageError
from superscale.image.io import Image, encode_with_notices
from superscale.inference.inputs import Found, expand, list_of
from superscale.inference.plan import Job, output_name, output_suffix, plan_jobs
from superscale.reading import fingerprint


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def made_of(source: str, output: str) -> None:
    """What a run would write there."""
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    picture = Image(np.zeros((4, 4, 3), np.uint8))
    Path(output).write_bytes(encode_with_notices(picture, Path(output).suffix, source=fingerprint(Path(source)))[0])


def planned(*inputs: str, output: str | None = None, suffix: str | None = None, scale: float = 4) -> list[Job]:
    return plan_jobs(expand(inputs), output, scale=scale, model="tiny", suffix=suffix)


def outputs(*inputs: str, output: str | None = None, suffix: str | None = None) -> dict[str, str]:
    return {str(job.input): str(job.output) for job in planned(*inputs, output=output, suffix=suffix)}


def found(*inputs: str) -> list[str]:
    return [str(one.path) for one in expand(inputs)]


def test_globs_match_what_a_shell_would_and_two_stars_any_depth() -> None:
    made("in/a.png", "in/b.jpg", "in/deep/er/c.png", "in/.hidden/d.png", "in/notes.txt", "in/deep/a.png")
    assert found("in/*.png") == ["in/a.png"]
    assert found("in/**/*.png") == ["in/a.png", "in/deep/a.png", "in/deep/er/c.png"]
    assert found("in/[ab].*") == ["in/a.png", "in/b.jpg"]
    assert found("in/**/er") == ["in/deep/er/c.png"]
    assert found("*/deep/*.png") == ["in/deep/a.png"]


def test_a_name_with_brackets_is_that_file_and_not_a_glob() -> None:
    made("a[1].png", "a1.png")
    assert found("a[1].png") == ["a[1].png"]


def test_an_input_named_twice_is_done_once() -> None:
    made("in/a.png")
    assert found("in/a.png", "in", "in/*.png", os.path.abspath("in/a.png")) == ["in/a.png"]


def test_what_matches_nothing_fails_by_name_and_the_rest_goes_on() -> None:
    made("a.png")
    Path("empty").mkdir()
    jobs = planned("none.png", "*.webp", "empty", "a.png")
    assert [(str(job.input), job.verdict) for job in jobs] == [
        ("none.png", "failed"),
        ("*.webp", "failed"),
        ("empty", "failed"),
        ("a.png", None),
    ]
    assert jobs[0].why == "no such file or folder"


@pytest.mark.parametrize("name", ["a b.png", "-a.png", "@a.png", "ü.png", "b\udcff.png", "c\nd.png", "tail \r.png"])
def test_a_list_gives_back_every_name_it_was_made_of(name: str) -> None:
    Path("list").write_bytes(list_of([name, "other.png"]))
    assert found("@list") == [name, "other.png"]


def test_a_list_may_come_from_windows_from_find_or_from_standard_input() -> None:
    made("a.png", "b.png")
    Path("list").write_bytes(b"\xef\xbb\xbfa.png\r\n\r\nb.png\r\n")
    assert found("@list") == ["a.png", "b.png"]
    assert [str(one.path) for one in expand(["@-"], lambda: b"a.png\0b.png\0")] == ["a.png", "b.png"]
    with pytest.raises(UsageError, match=r"@nowhere.*\./@nowhere"):
        expand(["@nowhere"])


def test_loops_pipes_sockets_and_dead_links_are_skipped_with_a_reason_and_linked_folders_read_once() -> None:
    made("in/a.png", "other/b.png")
    os.mkfifo("in/pipe")
    os.symlink("gone.png", "in/dead.png")
    os.symlink("self.png", "in/self.png")
    os.symlink(".", "in/loop")
    os.symlink("..", "in/up")
    os.symlink("../other", "in/linked")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/socket")
        jobs = planned("in")
    assert [str(job.input) for job in jobs if job.verdict is None] == ["in/a.png", "in/linked/b.png"]
    skipped = {job.input.name: job.why for job in jobs if job.verdict == "skipped"}
    assert skipped.keys() == {"pipe", "dead.png", "self.png", "loop", "up", "socket"}
    assert "pipe" in str(skipped["pipe"])
    assert "socket" in str(skipped["socket"])
    assert "nowhere" in str(skipped["dead.png"])
    assert "itself" in str(skipped["self.png"])


def test_a_folder_that_cannot_be_listed_is_a_failure_since_its_pictures_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    made("in/a.png", "in/locked/b.png")
    listdir = os.listdir

    def refusing(folder: Path) -> list[str]:
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refusing)
    jobs = planned("in")
    assert [(job.input.name, job.verdict) for job in jobs] == [("a.png", None), ("locked", "failed")]
    assert "Permission denied" in str(jobs[1].why)


def test_a_pipe_or_device_that_was_named_fails() -> None:
    os.mkfifo("pipe.png")
    assert [(job.verdict, job.why) for job in planned("pipe.png", "/dev/null")] == [
        ("failed", "a pipe, not a picture"),
        ("failed", "a device, not a picture"),
    ]


def test_outputs_go_beside_into_a_folder_with_its_tree_or_after_a_template() -> None:
    made("in/a.png", "in/sub/b.jpg")
    assert outputs("in") == {"in/a.png": "in/a_x4.png", "in/sub/b.jpg": "in/sub/b_x4.jpg"}
    assert outputs("in", output="out") == {"in/a.png": "out/a_x4.png", "in/sub/b.jpg": "out/sub/b_x4.jpg"}
    assert outputs("in/**/*.*", output="out") == outputs("in", output="out")
    assert outputs("in/a.png", output="big.webp") == {"in/a.png": "big.webp"}
    template = outputs("in", output="out/{parent}-{stem}.{model}.x{scale}{ext}")
    assert template == {"in/a.png": "out/in-a.tiny.x4.png", "in/sub/b.jpg": "out/sub-b.tiny.x4.jpg"}
    assert outputs("in/sub/b.jpg", output="{parent}/big/{name}", suffix=".jpg") == {"in/sub/b.jpg": "in/sub/big/b.jpg"}
    assert outputs("in/a.png", output="{stem}_v1.5", suffix=".webp") == {"in/a.png": "a_v1.5.webp"}
    assert outputs("in/a.png", output="{model}/") == {"in/a.png": "tiny/a_x4.png"}
    assert outputs("in/a.png", output="{{x}}") == {"in/a.png": "{{x}}/a_x4.png"}


@pytest.mark.parametrize(
    ("output", "suffix", "match"),
    [
        ("one.png", None, "one file, and there are 2"),
        ("{stme}.png", None, "did you mean 'stem'"),
        ("{stem", None, "expected '}'"),
        ("{stem}.bmp", None, "cannot write this format"),
        ("out.gif", None, "cannot write this format"),
        ("{model}.png", None, "both be written"),
        ("{stem}.png", ".jpg", "format asked for is jpg"),
        ("-", None, "takes one picture"),
        ("notes.txt", None, "is a file"),
    ],
)
def test_an_output_that_cannot_be_right_is_refused(output: str, suffix: str | None, match: str) -> None:
    made("in/a.png", "in/b.png", "notes.txt")
    with pytest.raises(UsageError, match=match):
        planned("in", output=output, suffix=suffix)


def test_names_that_only_the_old_extension_tells_apart_keep_it() -> None:
    made("a.jpg", "a.png", "b.jpg", "b.webp", "a_jpg.png")
    assert outputs("a.jpg", "a.png") == {"a.jpg": "a_x4.jpg", "a.png": "a_x4.png"}
    renamed = outputs("a.jpg", "a.png", "b.jpg", "b.webp", suffix=".png")
    assert renamed == {"a.jpg": "a_jpg_x4.png", "a.png": "a_x4.png", "b.jpg": "b_x4.png", "b.webp": "b_webp_x4.png"}
    crowded = outputs("a.jpg", "a.png", "a_jpg.png", suffix=".png")
    assert len(set(crowded.values())) == 3
    assert crowded["a_jpg.png"] == "a_jpg_x4.png"


def test_a_name_that_is_told_from_the_input_alone_is_the_one_that_a_crowded_folder_gives() -> None:
    made("x/a.png", "x/a.bmp", "x/b.GIF", "x/b.png")
    crowded = outputs("x", output="out/")
    for name in ("a.png", "a.bmp", "b.GIF"):
        assert output_name(f"x/{name}", output_suffix(Path(name).suffix, None), 4) == crowded[f"x/{name}"].replace("out", "x")
    assert output_name("x/a.gif", output_suffix(".gif", None, is_animation=True), 4) == "x/a_x4.gif"
    assert output_name("a.PNG", ".png", 2.5) == "a_x2.5.png"


def test_what_an_earlier_run_wrote_is_no_input_of_the_next() -> None:
    made("in/a.jpg", "in/a.png", "in/deep/b.png", "in/a_x4_by_hand.png")
    for output, suffix in ((None, None), (None, ".png"), ("in/out", None), ("in/{stem}-big{ext}", None)):
        first = outputs("in", output=output, suffix=suffix)
        for path, target in first.items():
            made_of(path, target)
        assert outputs("in", output=output, suffix=suffix) == first
        for target in first.values():
            made(target)  # of the same name, and no output
        assert len(outputs("in", output=output, suffix=suffix)) > len(first)
        for path in first.values():
            Path(path).unlink()


@pytest.mark.parametrize("stem", ["n" * 246, "ü" * 123, "\U0001f600" * 61])
def test_long_names_are_shortened_and_stay_unique(stem: str) -> None:
    made(f"{stem}1.png", f"{stem}2.png")
    written = outputs(".")
    assert len(set(written.values())) == 2
    for source, path in written.items():
        assert len(os.fsencode(Path(path).name)) <= 255
        assert path.endswith("_x4.png")
        made_of(source, path)
    assert outputs(".") == written


def test_no_input_lies_where_an_output_goes() -> None:
    made("a.png", "a_x4.png")
    os.link("a.png", "hard.png")
    assert [job.overwrites for job in planned("a.png", "a_x4.png")] == [Path("a_x4.png"), None]
    assert planned("a.png", output="a.png")[0].overwrites == Path("a.png")
    assert planned("a.png", output="hard.png")[0].overwrites == Path("a.png")


def test_a_failed_name_in_a_list_leads_to_the_same_output() -> None:
    made("in/sub/a.png", "in/b.png")
    first = planned("in", output="out")
    Path("failed").write_bytes(list_of(job.again for job in first))
    again = planned("@failed", output="out")
    assert {job.output for job in again} == {job.output for job in first} == {Path("out/b_x4.png"), Path("out/sub/a_x4.png")}


def test_standard_input_goes_to_standard_output_unless_told() -> None:
    assert planned("-") == [Job(Path("stdin"), None, from_stdin=True)]
    assert planned("-", output="out/")[0].output == Path("out/stdin_x4.png")
    made("a.jpg", "stdin")
    assert planned("a.jpg", output="-") == [Job(Path("a.jpg"), None, suffix=".jpg")]
    assert [one.from_stdin for one in expand(["-", "-", "stdin"])] == [True, False]
    assert Found(Path("stdin")).from_stdin is False
