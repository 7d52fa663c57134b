"""What a person can choose when a clip is enlarged."""

from __future__ import annotations

from dataclasses import dataclass

from superscale.errors import UnknownNameError, UsageError

# The encoder is restarted at each segment; a run that is killed loses at most one.
SEGMENT_FRAMES = 48
# name -> the names under which people also know it
CODEC_NAMES = {
    "h264": ("x264", "libx264", "avc"),
    "hevc": ("h265", "x265", "libx265"),
    "av1": ("svtav1", "libsvtav1"),
    "vp9": ("libvpx-vp9",),
    "ffv1": (),
    "prores": ("prores_ks",),
}


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """``codec``: one of `CODEC_NAMES`, None for the input's where it can be written; ``crf``: the encoder's quality, smaller is better;
    ``preset``: its speed. ``start`` and ``duration``: of the part to do, in seconds. ``sample``: instead of all, this many seconds
    with the bicubic enlargement at the left. ``still_tolerance``: by how many levels of 8 bits the samples of a tile may have changed
    for its last result to be used again; 0: not at all, so that the result is that of computing every tile.
    ``steady``: the share of the last output, moved along, in each frame.

    Raises UsageError for what contradicts itself.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    start: float | None = None
    duration: float | None = None
    sample: float | None = None
    still_tolerance: float = 0
    steady: float = 0
    segment_frames: int = SEGMENT_FRAMES

    def __post_init__(self) -> None:
        for name in ("start", "crf", "still_tolerance"):
            if (value := getattr(self, name)) is not None and not 0 <= value < float("inf"):
                raise UsageError(f"{name} must not be negative, got {value:g}")
        for name in ("duration", "sample", "segment_frames"):
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be more than 0, got {value:g}")
        if not 0 <= self.steady <= 1:
            raise UsageError(f"steady is a share from 0 to 1, got {self.steady:g}")
        if self.sample is not None and self.duration is not None:
            raise UsageError("sample is the duration of a sample; leave duration out")
        object.__setattr__(self, "codec", None if self.codec is None else codec_name(self.codec))


def codec_name(text: str) -> str:
    """Return the name in `CODEC_NAMES`. Raises UnknownNameError."""
    for name, others in CODEC_NAMES.items():
        if text.lower() in (name, *others):
            return name
    raise UnknownNameError("codec", text, CODEC_NAMES)


def seconds(text: str) -> float:
    """90, 1:30 or 0:01:30.5 -> seconds. Raises UsageError."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(not 0 <= part < float("inf") for part in parts):
        raise UsageError(f"expected seconds or hours:minutes:seconds, such as 90 or 1:30, got {text!r}")
    total = 0.0
    for part in parts:
        total = total * 60 + part
    return total
