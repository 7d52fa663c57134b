from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image as PillowImage

from superscale.data.synthetic import synthetic_picture
from superscale.image.io import Image
from superscale.inference import jobs as jobs_module
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Outcome, Settings
from superscale.inference.plan import plan_jobs

SETTINGS = Settings(scale=2)


def doubled(image: Image) -> Image:
    """What a network would do, without one: every pixel four times."""
    return image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)


def drawn(folder: Path, count: int, side: int = 24) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        PillowImage.fromarray(synthetic_picture(number, side)).save(folder / f"{number:03}.png")
    return folder


def done(inputs: list[Path], output: Path | None = None, enlarge: Any = doubled, **options: Any) -> list[Outcome]:
    jobs = plan_jobs(expand(map(str, inputs)), None if output is None else f"{output}/", scale=2)
    return list(run_jobs(jobs, enlarge, replace(SETTINGS, **options)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_outputs_are_what_the_function_makes_and_results_come_in_the_order_of_inputs(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 5)
    order = [folder / f"{number:03}.png" for number in (3, 0, 4, 1, 2)]
    outcomes = done(order, tmp_path / "out")
    assert [outcome.input for outcome in outcomes] == [str(path) for path in order]
    assert {(outcome.status, outcome.width, outcome.height) for outcome in outcomes} == {("done", 48, 48)}
    for number in range(5):
        with PillowImage.open(tmp_path / "out" / f"{number:03}_x2.png") as picture:
            expected = synthetic_picture(number, 24).repeat(2, 0).repeat(2, 1)
            np.testing.assert_array_equal(np.asarray(picture), expected)


def test_a_mask_and_a_place_that_lie_beside_a_tiff_are_told(tmp_path: Path) -> None:
    samples = synthetic_picture(0, 24)[..., :1].transpose(2, 0, 1)
    how: dict[str, Any] = {"driver": "GTiff", "count": 1, "height": 24, "width": 24, "dtype": "uint8"}
    # As rasterio writes by default: GDAL_TIFF_INTERNAL_MASK is off.
    for name, place in (("placed.tif", {"transform": rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)}), ("plain.tif", {})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it lies nowhere
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / name, "w", **how, **place) as file:
                file.write(samples)
                file.write_mask(np.eye(24, dtype=np.uint8) * 255)
        (tmp_path / name).with_suffix(".tfw").write_text("10\n0\n0\n-10\n500005\n3999995\n")
    told = [outcome.notices for outcome in done([tmp_path / "placed.tif", tmp_path / "plain.tif"], tmp_path / "out")]
    said = "beside it was not read: what it says has to stand in the TIFF itself"
    assert told == [(f"placed.tif.msk {said}",), (f"plain.tif.msk {said}", f"plain.tfw {said}")]


def test_reading_and_writing_go_on_while_the_network_works_and_no_further_than_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = drawn(tmp_path / "in", 6)
    read, written, places = [], [], set()
    read_image, encode = jobs_module.read_image, jobs_module.encode_with_notices

    def noting_read(path: Any, *rest: Any) -> Image:
        read.append(path)
        places.add(threading.current_thread().name)
        return read_image(path, *rest)

    def noting_encode(*given: Any) -> Any:
        written.append(given)
        places.add(threading.current_thread().name)
        return encode(*given)

    monkeypatch.setattr(jobs_module, "read_image", noting_read)
    monkeypatch.setattr(jobs_module, "encode_with_notices", noting_encode)
    seen: list[tuple[int, int]] = []

    def slow(image: Image) -> Image:
        time.sleep(0.05)
        seen.append((len(read), len(written)))
        return doubled(image)

    done([folder], tmp_path / "out", slow)
    assert seen == [(2, 0), (3, 1), (4, 2), (5, 3), (6, 4), (6, 5)]
    assert places == {"superscale-reader_0", "superscale-writer_0"}


def test_memory_stays_flat_however_many_pictures_there_are(tmp_path: Path) -> None:
    import weakref

    arrays: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def noting(image: Image) -> Image:
        enlarged = doubled(image)
        arrays.append(weakref.ref(enlarged.pixels))
        alive.append(sum(array() is not None for array in arrays))
        return enlarged

    done([drawn(tmp_path / "in", 20)], tmp_path / "out", noting)
    # this one, and the one that is being written
    assert max(alive) <= 2


def test_one_bad_file_never_stops_the_rest_unless_asked(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 4)
    (folder / "001.png").write_bytes(b"no picture")
    statuses = [outcome.status for outcome in done([folder], tmp_path / "out")]
    assert statuses == ["done", "failed", "done", "done"]
    outcomes = done([folder], tmp_path / "fast", fail_fast=True)
    assert [outcome.status for outcome in outcomes] == ["done", "failed"]
    assert list(contents(tmp_path / "fast")) == ["000_x2.png"]


def test_an_error_nobody_thought_of_is_one_failure_too(tmp_path: Path) -> None:
    def broken(image: Image) -> Image:
        raise ZeroDivisionError("oops\nagain")

    outcome = done([drawn(tmp_path / "in", 1)], enlarge=broken)[0]
    assert (outcome.status, outcome.error) == ("failed", "ZeroDivisionError: oops again")


def test_existing_outputs_are_refused_skipped_or_replaced_and_an_input_never(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 2)
    first, output = folder / "000.png", folder / "000_x2.png"
    output.write_bytes(b"mine")
    assert done([first])[0].settings == ("overwrite", "skip_existing")
    assert done([first], existing="skip")[0].status == "skipped"
    assert output.read_bytes() == b"mine"
    assert done([first], existing="overwrite")[0].status == "done"
    before = output.read_bytes()
    outcomes = done([first, output], existing="overwrite")
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert "no input is overwritten" in str(outcomes[0].error)
    assert output.read_bytes() == before
    assert [outcome.status for outcome in done([first, output], existing="skip")] == ["failed", "skipped"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_not_skipped_as_an_output_that_exists(tmp_path: Path, make: Callable[[Path], object]) -> None:
    folder = drawn(tmp_path / "in", 1)
    make(folder / "000_x2.png")
    outcome = done([folder / "000.png"], existing="skip")[0]
    assert (outcome.status, outcome.code) == ("failed", "unwritable")


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"max_pixels": 575}, "max_pixels"),
        ({"max_output_pixels": 2303}, "max_output_pixels"),
        ({"max_bytes": 50}, "max_bytes"),
    ],
)
def test_every_limit_names_the_setting_that_raises_it(options: dict[str, int], setting: str, tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 1)
    outcome = done([folder], **options)[0]
    assert outcome.status == "failed"
    assert f"raise {setting} to allow it" in str(outcome.error)
    assert outcome.settings == (setting,)
    # 24 x 24 pixels, 48 x 48 afterwards: one more is allowed
    bigger = {key: max(value + 1, 5000) if key == "max_bytes" else value + 1 for key, value in options.items()}
    assert done([folder], **bigger)[0].status == "done"


def test_streams_are_read_within_the_limit_and_written_in_the_format_they_came_in(tmp_path: Path) -> None:
    data, out = io.BytesIO(), io.BytesIO()
    PillowImage.fromarray(synthetic_picture(1, 24)).save(data, "WEBP", lossless=True)
    jobs = plan_jobs(expand(["-"]), None, scale=2)
    data.seek(0)
    assert [one.status for one in run_jobs(jobs, doubled, SETTINGS, data, out)] == ["done"]
    with PillowImage.open(out) as picture:
        assert (picture.format, picture.size) == ("WEBP", (48, 48))
    data.seek(0)
    outcome = next(iter(run_jobs(jobs, doubled, replace(SETTINGS, max_bytes=20), data, out)))
    assert "raise max_bytes to allow it" in str(outcome.error)
    assert outcome.settings == ("max_bytes",)


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file can grow beyond this: the kernel refuses the write in the middle, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_leaves_nothing_and_the_old_file_whole(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 3)
    out = tmp_path / "out"
    out.mkdir()
    (out / "001_x2.png").write_bytes(b"old")
    with full_disk(300):
        outcomes = done([folder], out, existing="overwrite")
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert all("cannot be written: File too large" in str(outcome.error) for outcome in outcomes)
    assert contents(out) == {"001_x2.png": b"old"}


def test_a_folder_without_permission_fails_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = drawn(tmp_path / "in", 1)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("in"))
    outcome = done([folder], folder / "new" / "out", enlarge=None)[0]
    assert "no permission to write" in str(outcome.error)
    assert not (folder / "new").exists()


def test_an_output_folder_that_is_a_file_fails_by_name(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 1)
    (tmp_path / "file").write_bytes(b"x")
    outcome = done([folder], tmp_path / "file" / "below")[0]
    assert outcome.status == "failed"
    assert "cannot be written" in str(outcome.error)


# No torch, so that it starts at once and may fork; the child is killed as soon as it has written some more pictures.
RUNNER = """
import os, random, signal, sys, time
from pathlib import Path
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import plan_jobs

source, whole, cut = sys.argv[1:]

def run(output):
    jobs = plan_jobs(expand([source]), output, scale=2)
    enlarge = lambda image: image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)
    for outcome in run_jobs(jobs, enlarge, Settings(scale=2, existing="skip")):
        assert outcome.status != "failed", outcome

def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}

run(whole)
expected, chance = contents(whole), random.Random(0)
for kill in range(10):
    wanted = len(contents(cut)) + chance.randint(0, 3)
    child = os.fork()
    if not child:
        run(cut)
        os._exit(0)
    while len(contents(cut)) < wanted:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.004))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "it was done before it was killed"
    assert contents(cut).items() <= expected.items()
    print(len(contents(cut)), len(list(Path(cut).glob(".superscale-*.part"))), flush=True)
run(cut)
"""


def test_killed_ten_times_and_begun_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "in", 60, side=64)
    command = [sys.executable, "-c", RUNNER, str(folder), str(tmp_path / "whole"), str(tmp_path / "cut")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    kills = [tuple(map(int, line.split())) for line in ended.stdout.splitlines()]
    assert len(kills) == 10
    assert 0 < kills[-1][0] < 60
    whole = contents(tmp_path / "whole")
    assert len(whole) == 60
    assert contents(tmp_path / "cut") == whole


def test_a_damaged_picture_is_refused_or_done_leniently_and_said_to_be_damaged(tmp_path: Path) -> None:
    path = drawn(tmp_path / "in", 1) / "000.png"
    path.write_bytes(path.read_bytes()[:-200])
    (refused,) = done([path], tmp_path / "out")
    assert (refused.status, refused.is_whole) == ("failed", False)
    assert not (tmp_path / "out").exists()
    (lenient,) = done([path], tmp_path / "out", lenient=True)
    assert (lenient.status, lenient.is_whole, lenient.error) == ("done", False, refused.error)
    assert "damaged" in str(lenient.error)
    with PillowImage.open(tmp_path / "out" / "000_x2.png") as picture:
        above = np.asarray(picture)[:8]
    np.testing.assert_array_equal(above, synthetic_picture(0, 24)[:4].repeat(2, 0).repeat(2, 1))


def test_a_signal_while_the_writer_is_woken_leaves_no_picture_uncounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(jobs_module.ThreadPoolExecutor):
        def submit(self, *arguments: Any, **options: Any) -> Any:
            submitted = super().submit(*arguments, **options)
            if self._thread_name_prefix == "superscale-writer":
                raise KeyboardInterrupt
            return submitted

    monkeypatch.setattr(jobs_module, "ThreadPoolExecutor", Interrupted)
    unsaid: list[Outcome] = []
    jobs = plan_jobs(expand([str(drawn(tmp_path / "in", 3))]), f"{tmp_path / 'out'}/", scale=2)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(jobs, doubled, SETTINGS, unsaid=unsaid))
    assert [Path(str(outcome.output)).name for outcome in unsaid] == [path.name for path in (tmp_path / "out").iterdir()]
