"""Animations come back with their frames, times, loops and transparency, as Pillow reads them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from superscale.errors import Damaged, TooLarge, Unsupported, UsageError
from superscale.image.animation import AnimationWriter
from superscale.image.io import Image, Metadata, open_stack, stack_writer
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import plan_jobs
from superscale.inference.upscaler import Upscaler
from superscale.weights.checkpoint import Model

TIMES = [40, 80, 120, 200]
SAVED: dict[str, dict[str, Any]] = {
    "GIF": {"disposal": 2},
    "WEBP": {"lossless": True, "exact": True},
    "PNG": {"disposal": 0, "blend": 0},
}


def animation(path: Path, form: str, **options: Any) -> Path:
    """Four frames of 32x24, of one colour each, with a growing hole at the top left."""
    frames = []
    for number in range(4):
        samples = np.full((24, 32, 4), (40 * number, 100, 200 - 30 * number, 255), np.uint8)
        samples[:8, : 8 * number + 4, 3] = 0
        frames.append(Pillow.fromarray(samples))
    saved = {"duration": TIMES, "loop": 3, **SAVED[form], **options}
    frames[0].save(path, form, save_all=True, append_images=frames[1:], **saved)
    return path


def frames_in(path: Path) -> tuple[list[float], int | None, list[Any]]:
    """Times, loops and RGBA as Pillow reads them."""
    times, pictures = [], []
    with Pillow.open(path) as picture:
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            times.append(picture.info["duration"])
            pictures.append(np.asarray(picture.convert("RGBA")))
        return times, picture.info.get("loop"), pictures


@pytest.mark.parametrize("form", SAVED)
def test_frames_are_read_as_pillow_composes_them(tmp_path: Path, form: str) -> None:
    path = animation(tmp_path / "moving", form)
    times, _, pictures = frames_in(path)
    with open_stack(path) as stack:
        assert stack.count == 4
        pages = [stack.page(number) for number in (0, 1, 2, 3, 1)]
    assert [page.metadata.frame_ms for page in pages[:4]] == times == TIMES
    for page, picture in zip(pages, [*pictures, pictures[1]], strict=True):
        assert page.alpha is not None
        np.testing.assert_array_equal(np.dstack([page.pixels, page.alpha]), picture)


@pytest.mark.parametrize(("form", "suffix"), [("GIF", ".gif"), ("WEBP", ".webp"), ("PNG", ".png")])
def test_an_upscaled_animation_keeps_times_loops_and_transparency(
    tmp_path: Path, tiny_model: Model, form: str, suffix: str
) -> None:
    path = animation(tmp_path / f"moving{suffix}", form)
    upscaler = Upscaler(tiny_model, device="cpu", backend="torch")
    (outcome,) = run_jobs(plan_jobs(expand([str(path)]), None, scale=4), upscaler.enlarge, Settings(scale=4))
    assert (outcome.status, outcome.pages) == ("done", 4), outcome.error
    times, loops, pictures = frames_in(tmp_path / f"moving_x4{suffix}")
    assert (times, loops) == (TIMES, 3)
    for number, picture in enumerate(pictures):
        assert picture.shape == (96, 128, 4)
        assert picture[4, 4, 3] == 0
        assert picture[4, 4 * (8 * number + 4) + 8, 3] == 255


@pytest.mark.parametrize(
    ("form", "target"), [("PNG", ".png"), ("WEBP", ".webp"), ("PNG", ".webp"), ("PNG", ".gif"), ("WEBP", ".tiff")]
)
def test_an_animation_keeps_what_its_colours_mean_or_it_is_told(
    form: str, target: str, tmp_path: Path, tiny_model: Model
) -> None:
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = animation(tmp_path / f"in.{form.lower()}", form, icc_profile=made)
    jobs = plan_jobs(expand([str(path)]), str(tmp_path / f"out{target}"), scale=2)
    (done,) = run_jobs(jobs, Upscaler(tiny_model, scale=2).enlarge, Settings(scale=2))
    assert done.status == "done"
    told = {".gif": ["GIF holds no colour profile"], ".tiff": ["TIFF holds pages and no animation"]}.get(target, [])
    assert [note.partition(":")[0] for note in done.notices] == told
    if target != ".gif":
        with Pillow.open(tmp_path / f"out{target}") as written:
            assert written.info["icc_profile"] == made


def test_an_animated_png_keeps_its_gamma_and_text(tmp_path: Path, tiny_model: Model) -> None:
    said = PngImagePlugin.PngInfo()
    said.add(b"gAMA", struct.pack(">I", 100_000))
    said.add_text("Author", "me")
    path = animation(tmp_path / "in.png", "PNG", pnginfo=said)
    notices = []
    for target in ("out.png", "out.webp"):
        jobs = plan_jobs(expand([str(path)]), str(tmp_path / target), scale=2)
        (done,) = run_jobs(jobs, Upscaler(tiny_model, scale=2).enlarge, Settings(scale=2))
        notices.append(done.notices)
    assert notices == [(), ("only PNG holds what its colours are said to mean (gAMA); as WEBP they may look different",)]
    with Pillow.open(tmp_path / "out.png") as written:
        assert (written.info["gamma"], written.info["Author"]) == (1.0, "me")


@pytest.mark.parametrize(("source", "target", "loops"), [("GIF", "WEBP", 4), ("WEBP", "GIF", 2), ("PNG", "WEBP", 3)])
def test_how_often_it_runs_is_the_same_where_formats_count_differently(
    tmp_path: Path, source: str, target: str, loops: int
) -> None:
    """GIF counts how often it runs again."""
    with open_stack(animation(tmp_path / "one", source)) as stack, open(tmp_path / "other", "wb") as stream:
        writer = AnimationWriter(target, stream, 4)
        for number in range(4):
            writer.add(stack.page(number))
        writer.finish()
    assert frames_in(tmp_path / "other")[1] == loops


def test_all_frames_together_are_held_against_the_limit_before_they_are_decoded(tmp_path: Path) -> None:
    path = animation(tmp_path / "moving.gif", "GIF")
    with open_stack(path, 4 * 32 * 24) as stack:
        assert stack.count == 4
    with pytest.raises(TooLarge, match="4 frames of 32x24"), open_stack(path, 4 * 32 * 24 - 1):
        pass


def test_a_still_picture_is_one_page_and_pages_of_a_document_are_no_animation(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8), "red").save(tmp_path / "still.gif")
    with open_stack(tmp_path / "still.gif") as stack:
        assert (stack.count, stack.page(0).pixels.shape) == (1, (8, 8, 3))
    (job,) = plan_jobs(expand([str(tmp_path / "still.gif")]), None, scale=4)
    assert job.output is not None
    assert job.output.suffix == ".png"
    writer = stack_writer(io.BytesIO(), ".png", 2)
    with pytest.raises(UsageError, match="but for animations"):
        plan_jobs(expand([str(tmp_path / "still.gif")]), str(tmp_path / "out.gif"), scale=4)
    with pytest.raises(Unsupported, match="holds one picture, and there are 2; choose tiff"):
        writer.add(Image(np.zeros((8, 8, 3), np.uint8)))


def cut_apart(form: str) -> list[bytes]:
    """An animation of three frames, without its end, without its last frame, and, where it says how many there are, with another number."""
    stream = io.BytesIO()
    frames = [Pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), np.uint8)) for seed in range(3)]
    frames[0].save(stream, form, save_all=True, append_images=frames[1:], duration=80)
    data = stream.getvalue()
    if form == "GIF":
        return [data[:-1], data[: data.rindex(b"\x21\xf9\x04")]]
    end, last, count = data[-12:], data.rindex(b"fcTL") - 4, data.index(b"acTL") + 4
    fewer = data[count - 4 : count] + struct.pack(">II", 2, 0)
    return [
        data[:-12],
        data[:last] + end,
        data[: count - 4] + fewer + struct.pack(">I", zlib.crc32(fewer)) + data[count + 12 :],
    ]


@pytest.mark.parametrize("form", ["GIF", "PNG"])
def test_an_animation_that_lost_frames_is_refused(form: str) -> None:
    for damaged in cut_apart(form):
        with pytest.raises(Damaged), open_stack(damaged) as stack:
            list(map(stack.page, range(stack.count)))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_times_that_are_no_whole_ticks_add_up_to_the_same_end(form: str) -> None:
    stream = io.BytesIO()
    writer = AnimationWriter(form, stream, 60)
    for number in range(60):
        pixels = np.full((4, 4, 3), 4 * number, np.uint8)
        writer.add(Image(pixels, metadata=Metadata(frame_ms=1000 / 60)))
    writer.finish()
    with Pillow.open(stream) as written:
        times = []
        for number in range(60):
            written.seek(number)
            written.load()
            times.append(written.info["duration"])
    assert sum(times) == pytest.approx(1000, abs=10)


def test_an_animation_that_exif_turns_is_turned(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    path = animation(tmp_path / "a.webp", "WEBP", exif=exif, lossless=True)
    with Pillow.open(path) as stored, open_stack(path) as stack:
        frame = stack.page(0)
        assert (frame.width, frame.height) == stored.size[::-1]


def test_the_picture_for_programs_without_animations_is_told_where_it_is_left_out(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.png", "PNG", default_image=True)
    with open_stack(path) as stack:
        assert any("know no animations" in notice for notice in stack.page(0).notices)
