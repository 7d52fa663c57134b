"""A clip comes back at its times, with its sound and colours: ffprobe and ffmpeg of another build say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import Make, output_of, probe, stream_sum, times
from superscale.errors import Damaged, Unsupported, UsageError
from superscale.inference.upscaler import Upscaler
from superscale.video.options import ClipOptions
from superscale.video.upscaling import upscale_clip
from superscale.weights.checkpoint import Model

UNEVEN = ("-vf", "setpts='(N/25+0.1*floor(N/5))/TB'", "-vsync", "vfr", "-bf", "2", "-c:v", "libx264")
SHORT = ClipOptions(segment_frames=10, preset="veryfast")
QUICK = ClipOptions(preset="ultrafast")
ENCRYPTED = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "12" * 16, "-encryption_kid", "34" * 16)


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("mkv", marks=pytest.mark.slow)])
def test_the_times_of_a_variable_rate_with_b_frames_stay_equal(
    make: Make, moving: Any, upscaler: Upscaler, suffix: str
) -> None:
    clip = make(f"uneven.{suffix}", *moving, *UNEVEN)
    assert any(frame["pict_type"] == "B" for frame in probe(clip)["frames"])
    upscale_clip(upscaler, clip, larger := clip.with_name(f"larger.{suffix}"), SHORT)
    assert times(larger) == times(clip)
    assert len(times(larger)) == 24
    assert (probe(larger)["streams"][0]["width"], probe(larger)["streams"][0]["height"]) == (192, 128)


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("mkv", marks=pytest.mark.slow)])
def test_a_late_start_stays_late_and_the_sound_beside_it(make: Make, moving: Any, upscaler: Upscaler, suffix: str) -> None:
    sound = ["-f", "lavfi", "-i", "sine=duration=3"]
    plain = str(make("plain.mp4", *moving, "-c:v", "libx264"))
    clip = make("late.mp4", *sound, "-itsoffset", "1.5", "-i", plain, "-map", "1", "-map", "0", "-c:v", "copy", "-c:a", "aac")
    assert times(clip)[0] == 1.5
    upscale_clip(upscaler, clip, larger := clip.with_name(f"larger.{suffix}"), SHORT)
    assert times(larger) == times(clip)
    assert stream_sum(larger, "0:a") == stream_sum(clip, "0:a")
    entry = ("-select_streams", "a", "-show_entries", "packet=pts_time", "-read_intervals", "%+#3")
    after, before = (float(probe(path, *entry)["packets"][2]["pts_time"]) for path in (larger, clip))
    assert after == pytest.approx(before, abs=0.0011)


def test_into_a_coarser_clock_the_largest_error_is_told(make: Make, moving: Any, upscaler: Upscaler) -> None:
    clip = make("ntsc.mp4", *moving, "-r", "30000/1001", "-c:v", "libx264")
    made = upscale_clip(upscaler, clip, larger := clip.with_name("larger.mkv"), QUICK)
    differences = np.abs(np.subtract(times(larger), times(clip)))
    assert 0 < differences.max() <= 0.000501
    assert "up to 0.50 ms" in made.notices[-1]
    assert differences.max() == pytest.approx(0.0005, abs=2e-6)


def rich(make: Make, moving: Any, tmp_path: Path, name: str, *codecs: str) -> Path:
    """Two sounds, a subtitle and two chapters."""
    (tmp_path / "said.srt").write_text("1\n00:00:00,100 --> 00:00:00,700\nHello\n")
    chapters = [f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={at}\nEND={at + 480}\ntitle=Part {at}\n" for at in (0, 480)]
    (tmp_path / "tags.txt").write_text(";FFMETADATA1\ntitle=A title\n" + "".join(chapters))
    inputs = ["-f", "lavfi", "-i", "sine=duration=0.96", "-f", "lavfi", "-i", "sine=880:duration=0.96"]
    files = ["-i", str(tmp_path / "said.srt"), "-i", str(tmp_path / "tags.txt")]
    kept = ["-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4", "-map_chapters", "4"]
    languages = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu", "-metadata:s:s:0", "language=fra"]
    chosen = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
    return make(name, *moving, *inputs, *files, *kept, *languages, *chosen, "-c:v", "libx264", *codecs)


def said_of(path: Path) -> list[Any]:
    entries = (
        "stream=codec_name,codec_type:stream_tags=language,filename:stream_disposition=default:chapter=start_time,end_time"
    )
    said = probe(path, "-show_entries", f"{entries}:chapter_tags=title:format_tags=title", "-show_chapters")
    return [said["streams"], said["chapters"], said["format"]]


@pytest.mark.parametrize(
    ("name", "codecs"),
    [("rich.mp4", ["-c:a", "aac", "-c:s", "mov_text"]), ("rich.mkv", ["-c:a", "flac", "-c:s", "srt", "-attach", "{}"])],
)
def test_sounds_subtitles_chapters_attachments_and_languages_are_copied(
    make: Make, moving: Any, upscaler: Upscaler, tmp_path: Path, name: str, codecs: list[str]
) -> None:
    (tmp_path / "note.txt").write_text("a note")
    codecs = [one.format(tmp_path / "note.txt") for one in codecs]
    extra = ["-metadata:s:t", "mimetype=text/plain"] if "-attach" in codecs else []
    clip = rich(make, moving, tmp_path, name, *codecs, *extra)
    made = upscale_clip(upscaler, clip, larger := clip.with_name(f"larger-{name}"), SHORT)
    assert made.damage is None
    copied = [stream for stream in said_of(clip)[0] if stream["codec_type"] != "data"]
    assert said_of(larger) == [said_of(larger)[0], *said_of(clip)[1:]]
    assert [stream for stream in said_of(larger)[0] if stream["codec_type"] != "data"] == copied
    for which in ("0:a:0", "0:a:1", "0:s:0"):
        assert stream_sum(larger, which) == stream_sum(clip, which)


@pytest.mark.parametrize(
    ("name", "codecs"), [("rich.mp4", ["-c:a", "aac", "-c:s", "mov_text"]), ("rich.mkv", ["-c:a", "flac", "-c:s", "srt"])]
)
def test_a_caption_that_is_shown_where_a_part_begins_is_shown_for_the_rest_of_its_time(
    make: Make, moving: Any, upscaler: Upscaler, tmp_path: Path, name: str, codecs: list[str]
) -> None:
    clip = rich(make, moving, tmp_path, name, *codecs)
    upscale_clip(upscaler, clip, larger := clip.with_name(f"larger-{name}"), replace(SHORT, start=0.4))
    srt = output_of("-i", larger, "-map", "0:s:0", "-f", "srt").decode()
    assert "00:00:00,000 --> 00:00:00,300\nHello" in srt
    upscale_clip(upscaler, clip, after := clip.with_name(f"after-{name}"), replace(SHORT, start=0.8))
    assert "Hello" not in output_of("-i", after, "-map", "0:s:0", "-f", "srt").decode()


def test_what_the_container_does_not_hold_is_named_and_no_success(
    make: Make, moving: Any, upscaler: Upscaler, tmp_path: Path
) -> None:
    clip = rich(make, moving, tmp_path, "rich.mkv", "-c:a", "flac", "-c:s", "srt")
    made = upscale_clip(upscaler, clip, clip.with_name("larger.mp4"), QUICK)
    assert made.damage in {f"left out: a stream of subtitle (subrip, {language})" for language in ("fra", "fre")}


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cover_stays_a_cover(make: Make, moving: Any, upscaler: Upscaler, suffix: str) -> None:
    cover = make("cover.jpg", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1")
    inputs = [*moving, "-i", str(cover), "-map", "0", "-map", "1", "-c:v:0", "libx264", "-c:v:1", "copy"]
    clip = make("clip.mp4", *inputs, "-disposition:v:1", "attached_pic")
    made = upscale_clip(upscaler, clip, larger := clip.with_name(f"larger.{suffix}"), QUICK)
    assert made.damage is None
    kinds = [stream["disposition"]["attached_pic"] for stream in probe(larger, "-show_streams")["streams"]]
    assert kinds == [0, 1]
    assert stream_sum(larger, "0:v:1") == stream_sum(clip, "0:v:1")


def test_rotation_aspect_and_colour_tags_are_kept(make: Make, moving: Any, upscaler: Upscaler) -> None:
    tags = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "pc"]
    flat = make("flat.mp4", *moving, "-vf", "scale=out_range=full:out_color_matrix=bt709,setsar=4/3", "-c:v", "libx264", *tags)
    clip = make("phone.mp4", "-i", str(flat), "-c", "copy", "-metadata:s:v", "rotate=90")
    upscale_clip(upscaler, clip, larger := clip.with_name("larger.mp4"))
    keys = (
        "sample_aspect_ratio",
        "color_range",
        "color_space",
        "color_transfer",
        "color_primaries",
        "side_data_list",
        "codec_name",
    )
    before, after = (probe(path)["streams"][0] for path in (clip, larger))
    assert [after[key] for key in keys] == [before[key] for key in keys]
    assert after["side_data_list"][0]["rotation"] == 90
    assert after["color_space"] == "bt709"


@pytest.mark.parametrize(
    ("matrix", "shown", "depth"),
    [
        ("bt709", "tv", "yuv444p"),
        pytest.param("smpte170m", "pc", "yuv444p", marks=pytest.mark.slow),
        pytest.param("bt2020nc", "tv", "yuv444p10le", marks=pytest.mark.slow),
        ("bt709", "pc", "yuv444p10le"),
    ],
)
def test_a_flat_colour_keeps_its_code_values(
    make: Make, upscaler: Upscaler, tmp_path: Path, matrix: str, shown: str, depth: str
) -> None:
    to = f"scale=out_color_matrix={matrix.replace('nc', '')}:out_range={shown},format={depth}"
    colour = ["-f", "lavfi", "-i", "color=0xC86428:size=24x16:rate=25:duration=0.08"]
    clip = make("flat.mkv", *colour, "-vf", to, "-c:v", "ffv1", "-colorspace", matrix, "-color_range", shown)
    upscale_clip(upscaler, clip, larger := clip.with_name("larger.mkv"))
    dtype, levels = (np.uint8, 1) if depth == "yuv444p" else (np.dtype("<u2"), 1)
    before, after = (np.frombuffer(output_of("-i", path, "-f", "rawvideo"), dtype).astype(int) for path in (clip, larger))
    assert len(after) == 16 * len(before)
    assert np.abs(after.reshape(2, 3, -1)[:, :, 0] - before.reshape(2, 3, -1)[:, :, 0]).max() <= levels


@pytest.mark.slow
def test_hdr10_keeps_its_ten_bits_its_mastering_data_and_light_levels(make: Make, nearest: Model) -> None:
    hdr = "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    tags = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv"]
    moving = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=0.12"]
    form = ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", f"log-level=error:{hdr}"]
    clip = make("hdr.mp4", *moving, *form, *tags)
    same_size = Upscaler(nearest, device="cpu", backend="torch", scale=1)
    upscale_clip(same_size, clip, larger := clip.with_name("larger.mp4"), ClipOptions(preset="ultrafast"))
    before, after = probe(clip), probe(larger)
    for key in ("pix_fmt", "color_transfer", "color_primaries", "color_space", "codec_name"):
        assert after["streams"][0][key] == before["streams"][0][key]
    kinds = ("Mastering display metadata", "Content light level metadata")
    kept = [
        [side for side in said["frames"][0]["side_data_list"] if side["side_data_type"] in kinds] for said in (before, after)
    ]
    assert len(kept[0]) == 2
    assert kept[0] == kept[1]
    with pytest.raises(Unsupported, match="hevc or av1"):
        upscale_clip(same_size, clip, clip.with_name("other.mp4"), ClipOptions(codec="h264"))


def test_odd_sizes_and_factors_grow_to_the_next_even_size(make: Make, nearest: Model, moving: Any) -> None:
    clip = make("odd.mkv", *moving, "-vf", "scale=49:33", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    upscaler = Upscaler(nearest, device="cpu", backend="torch", scale=3)
    upscale_clip(upscaler, clip, larger := clip.with_name("larger.mp4"), ClipOptions(codec="h264", duration=0.2))
    said = probe(larger)["streams"][0]
    assert (said["width"], said["height"], said["nb_frames"]) == (148, 100, "5")


def test_a_part_begins_at_its_start_with_its_sound(make: Make, moving: Any, upscaler: Upscaler) -> None:
    sound = ["-f", "lavfi", "-i", "sine=duration=0.96"]
    clip = make("clip.mp4", *moving, *sound, "-c:v", "libx264", "-g", "8", "-c:a", "aac")
    upscale_clip(upscaler, clip, larger := clip.with_name("larger.mp4"), ClipOptions(start=0.4, duration=0.2))
    assert times(larger) == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-6)
    whole = np.frombuffer(output_of("-i", clip, "-f", "rawvideo", "-pix_fmt", "gray"), np.uint8).reshape(24, -1)
    part = output_of("-i", larger, "-vf", "scale=48:32:flags=area", "-f", "rawvideo", "-pix_fmt", "gray")
    distances = np.abs(whole.astype(float) - np.frombuffer(part, np.uint8).reshape(5, -1)[0]).mean(axis=1)
    assert distances.argmin() == 10
    duration = float(probe(larger, "-select_streams", "a", "-show_entries", "stream=duration")["streams"][0]["duration"])
    assert duration == pytest.approx(0.2, abs=0.03)


@pytest.mark.slow
def test_a_sample_shows_bicubic_at_the_left_and_the_network_at_the_right(make: Make, moving: Any, upscaler: Upscaler) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "libx264")
    upscale_clip(upscaler, clip, larger := clip.with_name("sample.mkv"), ClipOptions(sample=0.2, codec="ffv1"))
    assert len(times(larger)) == 5
    pictures = np.frombuffer(output_of("-i", larger, "-f", "rawvideo", "-pix_fmt", "gray"), np.uint8).reshape(5, 128, 384)
    left, right = pictures[..., :192].astype(float), pictures[..., 192:].astype(float)
    assert 0.1 < np.abs(left - right).mean() < 20


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["-vf", "setfield=tff", "-flags", "+ilme+ildct", "-c:v", "libx264"], Unsupported, "bwdif"),
        (["-an", "-c:v", "libx264", "-t", "0"], Damaged, "no frame|not a video|holds no video"),
        (["-c:v", "libx264", *ENCRYPTED], Unsupported, "its pictures are encrypted"),
        (["-vf", "scale=4400:16", "-c:v", "libx264", "-t", "0.04"], Unsupported, "no h264 of 17600x64 can be written"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(
    make: Make, moving: Any, upscaler: Upscaler, arguments: list[str], error: type[Exception], said: str
) -> None:
    clip = make("clip.mp4", *moving, *arguments)
    with pytest.raises((error, Unsupported), match=said):
        upscale_clip(upscaler, clip, larger := clip.with_name("larger.mp4"))
    assert not larger.exists()
    assert not list(clip.parent.glob("*.unfinished"))


def test_a_sound_a_picture_a_cut_file_and_a_wrong_choice_are_one_clear_error(
    make: Make, moving: Any, upscaler: Upscaler, tmp_path: Path
) -> None:
    clip = make("clip.mp4", *moving, "-c:v", "libx264")
    sound = make("sound.mp4", "-f", "lavfi", "-i", "sine=duration=0.2", "-c:a", "aac")
    (picture := tmp_path / "picture.mp4").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (cut := tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:2000])
    (empty := tmp_path / "empty.mkv").write_bytes(b"")
    (listed := tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    target = tmp_path / "larger.mp4"
    for path, said in [
        (sound, "no video"),
        (picture, "a PNG file"),
        (cut, "no video|not a video"),
        (empty, "not a video"),
        (listed, "not a video"),
    ]:
        with pytest.raises((Damaged, Unsupported), match=said):
            upscale_clip(upscaler, path, target)
    for options, refused in [
        (ClipOptions(codec="prores"), "holds no prores"),
        (ClipOptions(start=5), "no frame lies in the part"),
        (ClipOptions(codec="ffv1", crf=3), "has no crf"),
    ]:
        with pytest.raises((UsageError, Unsupported), match=refused):
            upscale_clip(upscaler, clip, target, options)
    with pytest.raises(UsageError, match="pictures only"):
        upscale_clip(Upscaler(upscaler.model, consistent=True, device="cpu", backend="torch"), clip, target)
    assert not list(tmp_path.glob("larger*"))
