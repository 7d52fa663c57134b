"""`upscale_clip`: a video file in, the same clip out, larger: decoding, the network and encoding overlap, and a killed run is gone on with."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from superscale import __version__
from superscale.errors import Damaged, ImageError, Unsupported, UsageError
from superscale.files import new_file, write_text
from superscale.image.io import Image
from superscale.image.region import whole
from superscale.image.resize import resize_part
from superscale.inference.engine import Cancel, Progress
from superscale.inference.estimate import Estimate, estimate, seconds_per_pixel
from superscale.inference.outcomes import LEFT_OUT
from superscale.inference.sizes import enlarged
from superscale.inference.unfinished import Begun, check_place
from superscale.inference.upscaler import Upscaler
from superscale.video.ahead import ahead
from superscale.video.clip import MICROSECONDS, Clip, Damage, checked_stamp, frames, read_clip
from superscale.video.encoding import Encoding, encoding_of, even_size, record
from superscale.video.joining import Cut, Times, join, largest_error
from superscale.video.look import Painter
from superscale.video.options import ClipOptions
from superscale.video.segments import new_segment, segment_path
from superscale.video.stillness import Array, Enlarger, StillTiles

Say = Callable[[str], None]
# Of the folder in which segments lie.
FORMAT = 1
# So many frames are encoded or waited for at a time.
IN_FLIGHT = 2
# A file in that folder which says that a run of it made the partial result, so that no other file of that name is deleted.
PARTIAL = "partial"


@dataclass(frozen=True)
class Plan:
    """What is made of a clip. ``size``: (height, width) of the enlarged pictures; ``start``, ``duration``: seconds, None for all."""

    clip: Clip
    encoding: Encoding
    size: tuple[int, int]
    start: float | None
    duration: float | None
    options: ClipOptions

    @property
    def cut(self) -> Cut:
        """The part of the clip in its own times."""
        clip, options = self.clip, self.options
        start = None if not self.start else clip.first + exact(self.start)
        end = None if self.duration is None else (start or clip.first) + exact(self.duration)
        return Cut(start or clip.begin, start, end, with_sound=options.sample is None)

    @property
    def frames(self) -> int:
        """How many there will be, as far as the file tells; at least 1."""
        clip = self.clip
        left = clip.frames_said - int((self.start or 0) * clip.rate)
        return max(1, left if self.duration is None else min(left, round(self.duration * clip.rate)))


def upscale_clip(
    upscaler: Upscaler,
    source: Path,
    target: Path,
    options: ClipOptions | None = None,
    *,
    overwrite: bool = False,
    keep_partial: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    say: Say | None = None,
    size_limit: Callable[[int, int], None] | None = None,
) -> Image:
    """Enlarge a clip into a file of another size: every frame at its time, sound, subtitles and chapters as they are.

    What is done lies in a folder ``target`` + ".unfinished" until ``target`` is there; if the process is killed, the same call goes on with
    it, and the result holds the same packets. ``progress(done, frames)`` counts frames, ``say`` is told what is going on; ``size_limit``
    is asked about the width and height of the clip before anything is computed. ``keep_partial``: whatever stops the call, the whole
    segments that are done are joined as `partial_path` of ``target``, which goes when ``target`` is there.
    Returns the header of the result: an `Image` of its size whose ``damage`` says what is missing in it. Raises ImageError, UsageError,
    Cancelled, OSError, and what the network raises.
    """
    say = say or (lambda _said: None)
    upscaler = upscaler.for_damaged()
    _check(upscaler, target, overwrite)
    plan = planned(upscaler, source, target.suffix.lower(), options or ClipOptions())
    if size_limit is not None:
        size_limit(plan.clip.width, plan.clip.height)
    _foretell(upscaler, plan, say)
    begun = Begun(target, _order(upscaler, plan), overwrite)
    ticks: list[int] = []
    try:
        if keep_partial:
            _check_partial(begun, overwrite)
        image = _made(upscaler, plan, begun, ticks, progress, cancel, say, overwrite)
        if (begun.folder / PARTIAL).exists():
            partial_path(target).unlink(missing_ok=True)
        begun.discard()
        return replace(image, network=upscaler.model.name)
    except BaseException as error:
        if keep_partial:
            _keep_partial(plan, begun, ticks, say)
        written = (
            error.__context__ if isinstance(error, av.error.PyAVCallbackError) else error
        )  # of the file that PyAV writes to
        if not isinstance(written, OSError):
            raise
        why = written.strerror or written
        raise ImageError(f"{target} cannot be written: {why}; the same command goes on with what is done") from error
    finally:
        if begun.folder.exists():
            is_empty = not segment_path(begun.folder, 0).exists()
            begun.discard() if is_empty else begun.close()


def _check(upscaler: Upscaler, target: Path, overwrite: bool) -> None:
    check_place(target, overwrite)
    options = upscaler.options
    given = [name for name in ("consistent", "bands", "value_range") if getattr(options, name) not in (False, "auto")]
    if given:
        raise UsageError(f"{', '.join(given)}: for pictures only, not for video; leave out")
    if upscaler.contract.channels not in (1, 3):
        raise Unsupported(f"video needs a network of one or three channels, and this one takes {upscaler.contract.channels}")


def planned(upscaler: Upscaler, source: Path, suffix: str, options: ClipOptions) -> Plan:
    """What is to be made of a clip. Raises ImageError, UsageError."""
    clip = read_clip(source)
    upright = clip.rotation % 180 == 0
    sides = (clip.height, clip.width) if upright else (clip.width, clip.height)
    larger = enlarged(*sides, upscaler.scale)
    height, width = even_size(*(larger if upright else larger[::-1]), clip.look)
    start, duration = options.start, options.duration
    if options.sample is not None:
        duration = options.sample
        start = max(0.0, ((clip.seconds or 0) - duration) / 2) if start is None else start
    columns = 1 if options.sample is None else 2
    encoding = encoding_of(clip, width * columns, height, options, suffix)
    return Plan(clip, encoding, (height, width), start, duration, options)


def estimated(upscaler: Upscaler, plan: Plan, pixel_seconds: float) -> Estimate:
    """What a clip takes, all of its frames being computed; ``pixel_seconds``: as `seconds_per_pixel` measures it."""
    one = estimate(_blank(plan.clip, plan.clip.height, plan.clip.width), upscaler, pixel_seconds)
    return replace(one, tiles=one.tiles * plan.frames, seconds=one.seconds * plan.frames)


def _foretell(upscaler: Upscaler, plan: Plan, say: Say) -> None:
    seconds = estimated(upscaler, plan, seconds_per_pixel(upscaler)).seconds
    if seconds >= 60:
        time = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} min"
        say(f"{plan.frames} frames, about {time}; less where they stand still")


def _blank(clip: Clip, height: int, width: int) -> Image:
    """A picture of this size that takes no memory."""
    return Image(np.broadcast_to(np.zeros((1, 1, 3), clip.look.dtype), (height, width, 3)))


def _order(upscaler: Upscaler, plan: Plan) -> dict[str, Any]:
    """What makes the bits of a result, as JSON has it."""
    order = {
        "version": [__version__, FORMAT, av.__version__],
        "input": checked_stamp(plan.clip.path),
        "model": upscaler.model.digest(),
        "options": {**asdict(upscaler.options), "device": upscaler.engine.backend.device},
        "clip": asdict(plan.options),
        "encoding": record(plan.encoding),
    }
    return dict(json.loads(json.dumps(order)))


def _made(
    upscaler: Upscaler,
    plan: Plan,
    begun: Begun,
    ticks: list[int],
    progress: Progress | None,
    cancel: Cancel | None,
    say: Say,
    overwrite: bool,
) -> Image:
    tiles = _tiles(upscaler, plan, begun, cancel)
    enlarger: Enlarger = tiles if not plan.options.steady else _steadied(tiles, plan.options.steady)
    if plan.options.sample is not None:
        enlarger = SideBySide(enlarger, plan.size)
    damage = Damage()
    times = encode_segments(plan, begun.folder, enlarger, damage, ticks, progress, say)
    if checked_stamp(plan.clip.path) != begun.order["input"]:
        for path in begun.folder.glob("segment-*"):
            path.unlink()
        raise Damaged(f"{plan.clip.path} was changed while it was read, and nothing was written; run the command again")
    say("all frames are done; joining them with the sound and all else")
    left_out, error = _joined(plan, begun, begun.target, times, plan.cut, overwrite)
    return _header(plan, damage, left_out, error, tiles)


def _tiles(upscaler: Upscaler, plan: Plan, begun: Begun, cancel: Cancel | None) -> StillTiles:
    """What computes the frames; of a clip that is begun, with what has begun it, since no two libraries compute the same bits."""
    clip, found = plan.clip, begun.found
    if found is None:
        for path in begun.folder.glob("segment-*"):
            path.unlink()
    tile_px = (found or {}).get("tile_px", upscaler.engine.tile_px)
    begun_by = None if found is None else found["backend"]
    engine = upscaler.engine.suited(_blank(clip, clip.height, clip.width).pixels, begun_by)
    if begun_by not in (None, engine.backend.name):
        raise ImageError(f"{begun.folder} was begun by {begun_by}, which is not here any more; delete the folder to begin anew")
    if found is None:
        begun.note({"tile_px": tile_px, "backend": engine.backend.name})
    parts = upscaler.engine.parts(clip.height, clip.width, plan.size, tile_px)
    return StillTiles(partial(upscaler.part, cancel=cancel, engine=engine), parts, plan.options.still_tolerance)


def _steadied(other: Enlarger, share: float) -> Enlarger:
    from superscale.video.steadying import Steadied  # torch, which no one else here needs

    return Steadied(other, share)


class SideBySide:
    """The bicubic enlargement at the left, what another enlarger makes at the right."""

    def __init__(self, other: Enlarger, size: tuple[int, int]) -> None:
        self.other, self.size = other, size

    def restart(self) -> None:
        """Forget the frames before."""
        self.other.restart()

    def __call__(self, pixels: Array) -> Array:
        """(H, W, C) -> (H', 2 * W', C)."""
        sides = pixels.shape[0], pixels.shape[1]
        plain = resize_part(pixels, whole(*sides), sides, whole(*self.size), self.size)
        return np.concatenate((plain, self.other(pixels)), axis=1)


def encode_segments(
    plan: Plan, folder: Path, enlarger: Enlarger, damage: Damage, ticks: list[int], progress: Progress | None, say: Say
) -> Times:
    """Make the segments that are not in ``folder`` yet. Return the times of all frames; ``ticks`` has those so far, also after an error.

    Raises as `upscale_clip` does."""
    per_segment = plan.options.segment_frames
    done = _segments(folder)
    if done:
        say(f"goes on after the {done * per_segment} frames that are done")
    last = 1
    with (
        ahead(_read(plan, damage, done * per_segment), IN_FLIGHT) as frames_,
        ThreadPoolExecutor(1, "superscale-encoder") as pool,
    ):
        for one in islice(frames_, done * per_segment):
            ticks.append(one.ticks)
            last = one.duration
        for one in frames_:
            enlarger.restart()
            with new_segment(segment_path(folder, done), plan.encoding) as writer:
                pending: deque[Future[None]] = deque()
                try:
                    for next_ in chain([one], islice(frames_, per_segment - 1)):
                        larger = enlarger(next_.pixels)
                        pending.append(pool.submit(writer.add, larger, next_.ticks, next_.duration))
                        ticks.append(next_.ticks)
                        last = next_.duration
                        if len(pending) > IN_FLIGHT:
                            pending.popleft().result()
                        if progress is not None:
                            progress(len(ticks), max(plan.frames, len(ticks)))
                    for waiting in pending:
                        waiting.result()
                finally:
                    wait(pending)
            done += 1
    if not ticks:
        raise UsageError(
            f"{plan.clip.path}: no frame lies in the part that was asked for; it lasts {plan.clip.seconds or 0:.1f} s"
        )
    return Times(ticks, last)


@dataclass(frozen=True)
class Read:
    """A frame's time and, unless its segment is done, its pixels (H, W, 3)."""

    ticks: int
    duration: int
    pixels: Any


def _read(plan: Plan, damage: Damage, skipped: int) -> Iterator[Read]:
    painter = Painter(plan.clip.look)
    with closing(frames(plan.clip, damage, plan.cut.start, plan.cut.end)) as timed:
        for number, one in enumerate(timed):
            yield Read(one.ticks, one.duration, None if number < skipped else painter.pixels(one.frame))


def _segments(folder: Path) -> int:
    """How many are there, whole, from the first on."""
    return next(number for number in count() if not segment_path(folder, number).exists())


def _joined(plan: Plan, begun: Begun, target: Path, times: Times, cut: Cut, overwrite: bool) -> tuple[list[str], Fraction]:
    """Put a file of the segments at its place."""
    suffix = target.suffix.lower()
    number = -(-len(times.ticks) // plan.options.segment_frames)
    segments = [segment_path(begun.folder, one) for one in range(number)]
    with new_file(target) as stream:
        left_out = join(stream, suffix, plan.clip, plan.encoding, segments, times, cut)
        error = largest_error(stream, suffix, times, plan.encoding, cut)
        check_place(target, overwrite)
    return left_out, error


def partial_path(target: Path) -> Path:
    """Where the part that is done is kept: clip_x4.mp4 -> clip_x4.partial.mp4."""
    return target.with_stem(f"{target.stem}.partial")


def _check_partial(begun: Begun, overwrite: bool) -> None:
    """Refuse, before hours of work, to replace a file that no run of this folder made."""
    path = partial_path(begun.target)
    if not overwrite and os.path.lexists(path) and not (begun.folder / PARTIAL).exists():
        raise ImageError(f"{path} exists, and this command did not make it; rename it, or choose to overwrite it")


def _keep_partial(plan: Plan, begun: Begun, ticks: list[int], say: Say) -> None:
    """Join the whole segments and the sound up to their end; say where, or why not."""
    path, per_segment = partial_path(begun.target), plan.options.segment_frames
    done, timed = _segments(begun.folder), len(ticks) // per_segment
    frames = min(done, timed) * per_segment
    # Stopped while the frames that were done before are passed over: what there is holds no less.
    if not frames or (timed < done and path.exists()):
        return
    usual = max(round(1 / (plan.clip.rate * plan.clip.time_base)), 1)
    last = ticks[frames] - ticks[frames - 1] if len(ticks) > frames else usual
    cut = replace(plan.cut, end=(ticks[frames - 1] + last) * plan.clip.time_base)
    try:
        write_text(begun.folder / PARTIAL, path.name)
        _joined(plan, begun, path, Times(ticks[:frames], last), cut, overwrite=True)
        say(f"{path} holds the {frames} frames that are done; the same command goes on, and removes it at the end")
    except (OSError, av.FFmpegError, ImageError) as error:
        say(f"{path} could not be made of the {frames} frames that are done: {error}")


def _header(plan: Plan, damage: Damage, left_out: list[str], error: Fraction, tiles: StillTiles) -> Image:
    clip, encoding = plan.clip, plan.encoding
    missing = [] if plan.options.sample is not None else [*clip.lost, *left_out]
    said = [str(damage)] * bool(str(damage))
    if missing:
        said.insert(0, f"{LEFT_OUT}{', '.join(missing)}")
    image = _blank(clip, encoding.height, encoding.width)
    share = tiles.kept / max(tiles.kept + tiles.computed, 1)
    image = replace(image, remarks=(f"{share:.1%} of the tiles stood still",))
    if clip.look.guessed:
        image = image.noted(
            f"says nothing of its colours: taken for BT.{709 if clip.look.matrix == 1 else 601}, which is written down"
        )
    if error:
        image = image.noted(f"the clock of this container is coarser: times differ by up to {float(error) * 1e3:.2f} ms")
    return replace(image, damage="; ".join(said) or None)


def exact(seconds: float) -> Fraction:
    """0.4 -> 2/5, which the nearest float is not."""
    return Fraction(seconds).limit_denominator(MICROSECONDS)
