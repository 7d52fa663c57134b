"""Video: frames a second against the network alone and against the usual script; what stands still; memory against length.

Memory is that of a process which decodes, encodes and joins a clip of 64x48 and of --long frames, and one of a tenth as many. The network
computes the first frame of each segment only, so an hour is not simulated: what is measured is what a frame leaves in memory.
The usual script: ffmpeg writes every frame as PNG, the network enlarges the folder, ffmpeg encodes it. Needs ffmpeg and the extra 'video'.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from hardware import hardware

from superscale import Upscaler
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import Job
from superscale.video.options import ClipOptions
from superscale.video.upscaling import upscale_clip

SIZE = "160x96"
CAMERA = f"testsrc2=size={SIZE}:rate=25,noise=alls=12:allf=t"
SCREEN = (
    f"color=white:size={SIZE}:rate=25,drawgrid=w=16:h=12:c=black@0.4,drawbox=x='mod(t*80\\,300)':y=20:w=12:h=12:c=red:t=fill"
)


def ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


def drawn(path: Path, source: str, frames: int) -> Path:
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", frames, "-c:v", "libx264", "-crf", 23, "-pix_fmt", "yuv420p", path)
    return path


def script(upscaler: Upscaler, clip: Path, folder: Path) -> float:
    """Seconds of the usual script, its network loaded already."""
    began = time.perf_counter()
    small, large = folder / "small", folder / "large"
    small.mkdir()
    large.mkdir()
    ffmpeg("-i", clip, small / "%06d.png")
    jobs = [Job(path, large / path.name) for path in sorted(small.iterdir())]
    assert all(one.status == "done" for one in run_jobs(jobs, upscaler.enlarge, Settings(scale=upscaler.scale)))
    ffmpeg(
        "-framerate", 25, "-i", large / "%06d.png", "-c:v", "libx264", "-crf", 18, "-pix_fmt", "yuv420p", folder / "script.mp4"
    )
    return time.perf_counter() - began


def ours(upscaler: Upscaler, clip: Path, target: Path) -> float:
    began = time.perf_counter()
    upscale_clip(upscaler, clip, target, overwrite=True)
    return time.perf_counter() - began


def alone(upscaler: Upscaler, frames: int) -> float:
    """Seconds of the network for so many frames that all differ."""
    width, height = map(int, SIZE.split("x"))
    pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    began = time.perf_counter()
    for number in range(frames):
        upscaler.pixels(pictures[number % 2])
    return time.perf_counter() - began


def peak_megabytes(frames: int, folder: Path) -> float:
    """The peak memory of a process that enlarges a small clip of so many frames, the network asked for one a segment."""
    clip = drawn(folder / f"{frames}.mp4", "testsrc2=size=64x48:rate=25", frames)
    told = subprocess.run([sys.executable, __file__, "--only", str(clip)], check=True, stdout=subprocess.PIPE)
    return float(told.stdout)


def only(clip: Path) -> None:
    options = ClipOptions(preset="ultrafast", still_tolerance=256)
    upscale_clip(Upscaler("compact-x4", device="cpu", backend="onnx"), clip, clip.with_name("out.mp4"), options, overwrite=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="compact-x4")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--long", type=int, default=3000, help="frames of the long clip whose memory is measured")
    parser.add_argument("--only", type=Path)
    taken = parser.parse_args()
    if taken.only:
        return only(taken.only)
    print(hardware(1))
    upscaler = Upscaler(taken.model, tile=64, backend="onnx", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(upscaler, 2)
        network = alone(upscaler, taken.frames)
        print(f"{taken.model}, {SIZE}, {taken.frames} frames; network alone: {taken.frames / network:.2f} frames/s")
        for kind, source in (("camera", CAMERA), ("screen recording", SCREEN)):
            clip = drawn(folder / f"{kind}.mp4", source, taken.frames)
            (at := folder / kind).mkdir()
            usual, own = script(upscaler, clip, at), ours(upscaler, clip, at / "own.mp4")
            rates = f"{taken.frames / own:.2f} frames/s, {network / own:.0%} of the network alone"
            print(f"{kind}: {rates}; the usual script: {taken.frames / usual:.2f} frames/s, {usual / own:.2f} times as long")
        short, long = (peak_megabytes(frames, folder) for frames in (taken.long // 10, taken.long))
        print(f"peak memory of {taken.long // 10} and of {taken.long} frames: {short:.0f} and {long:.0f} MB")
    return None


if __name__ == "__main__":
    main()
