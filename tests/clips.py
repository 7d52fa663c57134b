"""What Debian's ffprobe and ffmpeg say of a clip: another build than the one that PyAV brings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[..., Path]


def probe(path: Path, *entries: str) -> Any:
    """What ffprobe says of the first picture stream, or of what ``entries`` choose."""
    chosen = entries or ("-select_streams", "v:0", "-show_streams", "-show_frames")
    run = ["ffprobe", "-v", "error", *chosen, "-of", "json", str(path)]
    return json.loads(subprocess.run(run, check=True, capture_output=True, timeout=60).stdout)


def times(path: Path) -> list[float]:
    """When the frames are shown, in seconds."""
    return [float(frame["pts_time"]) for frame in probe(path)["frames"]]


def output_of(*arguments: str | Path) -> bytes:
    """What ffmpeg sends to standard output."""
    run = ["ffmpeg", "-nostdin", "-v", "error", *map(str, arguments), "-"]
    return subprocess.run(run, check=True, capture_output=True, timeout=60).stdout


def frame_sums(path: Path) -> bytes:
    """A sum and a time for each decoded frame."""
    return output_of("-i", path, "-map", "0:v:0", "-f", "framemd5")


def stream_sum(path: Path, which: str) -> bytes:
    """A sum of the bytes of a stream's packets."""
    return output_of("-i", path, "-map", which, "-c", "copy", "-f", "md5")
