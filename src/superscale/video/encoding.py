"""`Encoding`: how the pictures of a clip are written: codec, pixel format, colours and quality."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from superscale.errors import UnknownNameError, Unsupported, UsageError
from superscale.video.clip import Clip, Mastering
from superscale.video.look import BT709, Look
from superscale.video.options import CODEC_NAMES, ClipOptions

# suffix of a file -> FFmpeg's name of the container
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
DEPTHS = (8, 10, 12)
CHROMA = ("420", "422", "444")
# SVT-AV1 logs to standard error what nobody asked for.
QUIET = {"SVT_LOG": "1"}


X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")


@dataclass(frozen=True)
class Coding:
    """A codec: its encoder, the default of ``--crf`` (None: it has none) and its largest, its presets, and whether it writes HDR10's mastering
    data."""

    encoder: str
    crf: float | None = None
    most_crf: int = 63
    presets: tuple[str, ...] = ()
    writes_hdr10: bool = False
    options: tuple[tuple[str, str], ...] = ()


CODINGS = {
    "h264": Coding("libx264", 18, 51, X26X),
    "hevc": Coding("libx265", 20, 51, X26X, True),
    "av1": Coding("libsvtav1", 24, presets=tuple(map(str, range(14))), writes_hdr10=True),
    "vp9": Coding("libvpx-vp9", 24, options=(("b", "0"), ("row-mt", "1"))),
    "ffv1": Coding("ffv1", options=(("level", "3"), ("slicecrc", "1"))),
    "prores": Coding("prores_ks"),
}


@dataclass(frozen=True)
class Encoding:
    """What all segments of a clip have in common. ``time_base``: seconds a tick; ``rate``: frames a second, for the rate control."""

    codec: str
    pixel_format: str
    width: int
    height: int
    look: Look
    time_base: Fraction
    rate: Fraction
    aspect: Fraction | None
    mastering: Mastering | None
    crf: float | None
    preset: str | None

    @property
    def options(self) -> dict[str, str]:
        """The encoder's."""
        coding = CODINGS[self.codec]
        own = dict(coding.options)
        crf = coding.crf if self.crf is None else self.crf
        if crf is not None:
            own["crf"] = f"{crf:g}"
        if self.preset is not None:
            own["preset"] = self.preset
        if self.codec == "hevc":
            own["x265-params"] = ":".join(["log-level=none", *_x265(self.mastering)])
        if self.codec == "av1" and (params := _svtav1(self.mastering)):
            own["svtav1-params"] = ":".join(params)
        return own

    @property
    def segment_format(self) -> str:
        """The container of segments: one that keeps packets as the encoder makes them."""
        return "mov" if self.codec == "prores" else "nut"

    def add_to(self, container: OutputContainer) -> VideoStream:
        """A stream of a container, with its encoder."""
        os.environ.update(QUIET | dict(os.environ))
        stream = container.add_stream(CODINGS[self.codec].encoder, rate=self.rate, options=self.options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, self.pixel_format
        context, look = stream.codec_context, self.look
        context.time_base = stream.time_base = self.time_base
        if self.aspect is not None:
            context.sample_aspect_ratio = self.aspect
        context.color_range = 2 if look.full_range else 1
        context.colorspace, context.color_primaries, context.color_trc = look.matrix, look.primaries, look.transfer
        if self.codec == "hevc" and container.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the tag that Apple's players take
        return stream


def encoding_of(clip: Clip, width: int, height: int, options: ClipOptions, suffix: str) -> Encoding:
    """How a clip is written at another size into a file of this suffix. Raises Unsupported for what would be lost, UsageError."""
    held = _held(suffix)
    names = [options.codec] if options.codec else _likely(clip)
    why = ""
    for name in names:
        form, why_not = _pixel_format(clip, name, held, suffix)
        if form is not None:
            break
        why = why or why_not
    else:
        raise Unsupported(f"{clip.path}: {why}")
    look = clip.look
    if look.chroma == "rgb" and not form.startswith(("gbr", "bgr")):
        look = replace(look, chroma="444", matrix=BT709, full_range=False)
    _check_quality(name, options)
    encoding = Encoding(
        codec=name,
        pixel_format=form,
        width=width,
        height=height,
        look=look,
        time_base=clip.time_base,
        rate=clip.rate,
        aspect=clip.aspect,
        mastering=clip.mastering,
        crf=options.crf,
        preset=options.preset,
    )
    _check_opens(encoding, clip)
    return encoding


def _check_opens(encoding: Encoding, clip: Clip) -> None:
    """Whether the encoder takes pictures so large, asked before anything is computed."""
    with av.open(io.BytesIO(), "w", format=encoding.segment_format) as container:
        try:
            encoding.add_to(container).codec_context.open()
        except av.FFmpegError as error:
            size = f"{encoding.width}x{encoding.height}"
            raise Unsupported(f"{clip.path}: no {encoding.codec} of {size} can be written; take a smaller scale") from error


def even_size(height: int, width: int, look: Look) -> tuple[int, int]:
    """The nearest size that this resolution of chroma can have, not smaller: even sides for 4:2:0, an even width for 4:2:2."""
    down, across = 2 if look.chroma == "420" else 1, 2 if look.chroma in ("420", "422") else 1
    return -(-height // down) * down, -(-width // across) * across


def _likely(clip: Clip) -> list[str]:
    """The clip's own codec, then the others, the most widely played first; of deep pictures players take no H.264."""
    own = [clip.codec] if clip.codec in CODINGS else []
    order = ["h264", "hevc", "av1", "vp9", "ffv1"] if clip.look.depth == 8 else ["hevc", "av1", "ffv1"]
    return own + [name for name in order if name not in own]


def _held(suffix: str) -> set[str]:
    """The codecs that a container holds."""
    if suffix.lower() not in CONTAINERS:
        raise UsageError(f"{suffix or 'no suffix'}: expected a video of one of {', '.join(CONTAINERS)}")
    with av.open(io.BytesIO(), "w", format=CONTAINERS[suffix.lower()]) as container:
        return set(container.supported_codecs)


def _pixel_format(clip: Clip, name: str, held: set[str], suffix: str) -> tuple[str | None, str]:
    """The pixel format that loses nothing, or None and why not."""
    coding, look = CODINGS[name], clip.look
    if coding.encoder not in av.codecs_available:
        there = [one for one in CODEC_NAMES if CODINGS[one].encoder in av.codecs_available]
        return None, f"the FFmpeg that PyAV brings has no encoder for {name}; it has {', '.join(there)}"
    if name not in held:
        return None, f"{suffix} holds no {name}; it holds {', '.join(one for one in CODINGS if one in held)}"
    if clip.mastering is not None and not coding.writes_hdr10:
        return None, f"{name} cannot be written with HDR10's mastering data; choose the codec hevc or av1"
    if (form := _lossless(name, look)) is not None:
        return form, ""
    what = f"{look.depth} bits, {look.chroma if look.chroma in ('rgb', 'grey') else ':'.join(look.chroma)}"
    others = " or ".join(one for one in CODINGS if one in held and _lossless(one, look) is not None)
    way_out = f"choose the codec {others}" if others else "no other codec here does; reduce its depth first"
    return None, f"{coding.encoder} writes no pictures of {what}; {way_out}"


def _lossless(name: str, look: Look) -> str | None:
    """The nearest pixel format of an encoder that holds all that this look does."""
    encoder = CODINGS[name].encoder
    formats = {form.name for form in av.Codec(encoder, "w").video_formats or ()} if encoder in av.codecs_available else set()
    return next((one for one in _candidates(look) if one in formats), None)


def _candidates(look: Look) -> list[str]:
    """Pixel formats that hold all that this look does, the nearest first."""
    ends = ["" if depth == 8 else f"{depth}le" for depth in DEPTHS if depth >= look.depth]
    if look.chroma == "grey":
        return [f"gray{end}" for end in ends] + [f"yuv{chroma}p{end}" for end in ends for chroma in CHROMA]
    if look.chroma == "rgb":
        return [f"gbrp{end}" for end in ends[:1]] + ["bgr0"] * (look.depth == 8) + [f"yuv444p{end}" for end in ends]
    chroma = CHROMA[CHROMA.index(look.chroma) :]
    return [f"yuv{one}p{end}" for end in ends for one in chroma]


def _check_quality(name: str, options: ClipOptions) -> None:
    coding, crf, preset = CODINGS[name], options.crf, options.preset
    if crf is not None and coding.crf is None:
        raise UsageError(f"{name} has no crf: {'it is lossless' if name == 'ffv1' else 'its quality is fixed'}; leave crf out")
    if crf is not None and crf > coding.most_crf:
        raise UsageError(f"the crf of {name} is from 0 to {coding.most_crf}, got {crf:g}")
    if preset is not None and not coding.presets:
        raise UsageError(f"{name} has no presets; leave preset out")
    if preset is not None and preset not in coding.presets:
        raise UnknownNameError("preset", preset, coding.presets)


def _x265(mastering: Mastering | None) -> list[str]:
    if mastering is None:
        return []
    params = ["hdr10=1"]
    if mastering.display is not None:
        red, green, blue, white = (_point(mastering.display, place, 50000) for place in range(4))
        least, greatest = (round(value * 10000) for value in mastering.display[8:])
        params.append(f"master-display=G{green}B{blue}R{red}WP{white}L({greatest},{least})")
    if mastering.light is not None:
        params.append("max-cll={},{}".format(*mastering.light))
    return params


def _svtav1(mastering: Mastering | None) -> list[str]:
    if mastering is None:
        return []
    params = []
    if mastering.display is not None:
        red, green, blue, white = (_point(mastering.display, place, None) for place in range(4))
        params.append(f"mastering-display=G{green}B{blue}R{red}WP{white}L({mastering.display[9]:g},{mastering.display[8]:g})")
    if mastering.light is not None:
        params.append("content-light={},{}".format(*mastering.light))
    return params


def _point(display: tuple[float, ...], place: int, unit: int | None) -> str:
    x, y = display[2 * place : 2 * place + 2]
    return f"({x:g},{y:g})" if unit is None else f"({round(x * unit)},{round(y * unit)})"


def record(encoding: Encoding) -> dict[str, Any]:
    """It as JSON has it, for the order of a run."""
    return {name: str(value) for name, value in vars(encoding).items()}
