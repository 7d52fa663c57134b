"""Pictures that are too large for memory: read, enlarged and written by windows, with the same result as in memory to the last bit."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from superscale import __version__
from superscale.errors import Cancelled, Damaged, ImageError, MissingExtraError, Unsupported
from superscale.image.cog import write_cog
from superscale.image.formats import SUFFIXES
from superscale.image.io import KeepOrStrip
from superscale.image.metadata import says_of_camera
from superscale.image.picture import Image, with_alpha
from superscale.image.provenance import SOFTWARE, made_from
from superscale.image.region import Part, Region
from superscale.image.scene import Scene, hollow, scene_size
from superscale.inference import scenes_on_ray
from superscale.inference.channels import Groups, Network, enlarged_part, grouped, part_of, said_of, sees_alpha
from superscale.inference.engine import Cancel, Engine, Progress
from superscale.inference.estimate import memory_bytes
from superscale.inference.outcomes import Settings
from superscale.inference.plan import Job
from superscale.inference.sizes import enlarged
from superscale.inference.survey import Survey, surveyed
from superscale.inference.unfinished import FORMAT, RESULT, SAMPLES, Unfinished, check_place
from superscale.inference.upscaler import Upscaler
from superscale.machine.memory import free_bytes
from superscale.machine.ray_pool import Cluster
from superscale.options import Bands, Scale
from superscale.reading import fingerprint

Say = Callable[[str], None]
# Of the free memory: the estimate is rough, and other programs want some, too.
SHARE = 0.7
# What GDAL does not write.
CAMERA_LEFT_OUT = "a cloud-optimised GeoTIFF holds no EXIF: what it says of the camera was left out"
RANGE_LEFT_OUT = "a cloud-optimised GeoTIFF states no range of values: the one stated was left out"


def upscale_scene(
    upscaler: Upscaler,
    source: Path,
    target: Path,
    *,
    metadata: KeepOrStrip = "keep",
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    say: Say | None = None,
    cluster: Cluster | None = None,
) -> Image:
    """Enlarge a TIFF of any size to a cloud-optimised GeoTIFF. Return its header: an `Image` whose samples are zeros.

    What is done lies in a folder ``target`` + ".unfinished" until ``target`` is there; if the process is killed, the same call goes on
    with it, and the result has the same bits. ``overwrite``: ``target`` may be replaced, and so may what a call with other options
    has begun. ``say`` is told what is going on. ``cluster``: Ray's workers compute, which see the same
    file. Raises ImageError, MissingExtraError, Cancelled, and what the network raises.
    """
    say = say or _nothing
    check_place(target, overwrite)
    with Scene(source) as scene:
        _check_network(scene, upscaler)
        order = {**_order(upscaler, source, metadata), "on": None if cluster is None else "ray"}
        with Unfinished(target, order, overwrite) as unfinished:
            try:
                larger = _computed(upscaler, scene, unfinished, metadata, progress, cancel, say, cluster)
                if _stamp(source) != unfinished.order["input"]:
                    raise Damaged(f"{source} was changed while it was read, and nothing was written; run the command again")
            except Damaged:
                unfinished.discard()
                raise
            except OSError as error:
                why = error.strerror or error
                raise ImageError(f"{target} cannot be written: {why}; the same command goes on with what is done") from error
            say("all tiles are done; writing the file and its overviews")
            result = unfinished.folder / RESULT
            try:
                write_cog(unfinished.folder / SAMPLES, result, scene.header.metadata.tile_px)
            except ImageError as error:  # of a full disk GDAL says whatever it stumbles over
                way_out = "if the disk is full, make room for it and its overviews; the same command goes on with what is done"
                raise ImageError(f"{target}: {error}; {way_out}") from error
            check_place(target, overwrite)
            os.replace(result, target)
            unfinished.discard()
    return larger


def _check_network(scene: Scene, upscaler: Upscaler) -> None:
    if sees_alpha(scene.header, upscaler.options.bands, upscaler.contract.channels):
        raise Unsupported(
            f"{scene.path}: a network that sees transparency takes no picture by windows; choose the bands, or another model"
        )


def _computed(
    upscaler: Upscaler,
    scene: Scene,
    unfinished: Unfinished,
    metadata: KeepOrStrip,
    progress: Progress | None,
    cancel: Cancel | None,
    say: Say,
    cluster: Cluster | None,
) -> Image:
    """Compute what is not done yet. Return the header of the result."""
    options, channels = upscaler.options, upscaler.contract.channels
    engine = None if cluster else _engine(upscaler, scene, unfinished)
    in_bands = partial(_in_bands, bands=options.bands, channels=channels)
    first, groups = grouped(scene.header.part(Region(0, 0, 1, 1)), options.bands, channels)
    header = hollow(first, (scene.header.height, scene.header.width), scene.header.mask is not None)
    survey = surveyed(lambda: ((place, in_bands(image)) for place, image in scene.strips()), header, options.value_range)
    tile_px = (unfinished.found or {}).get("tile_px", upscaler.engine.tile_px)
    parts = upscaler.parts(header.height, header.width, tile_px)
    larger = made_from(_larger(header, parts[0].new_size, metadata), fingerprint(scene.path), SOFTWARE)
    facts: dict[str, Any] = {"tile_px": tile_px, "backend": engine and engine.backend.name}
    unfinished.begin(larger, len(parts), facts)
    if unfinished.found:
        say(f"goes on with what is done: {int(unfinished.done.sum())} of {len(parts)} tiles")
    make = partial(_made, parts=parts, survey=survey, groups=groups, in_bands=in_bands)
    waiting: list[int] = np.flatnonzero(unfinished.done == 0).tolist()
    if cluster is None:
        network = partial(upscaler.part, cancel=cancel, engine=engine)
        made: Iterator[tuple[int, scenes_on_ray.Made]] = (
            (one, make(scene, network, one, progress=part_of(progress, one, len(parts)))) for one in waiting
        )
    else:
        ordered = scenes_on_ray.Order(scene.path.absolute(), fingerprint(scene.path), upscaler.model, options, make)
        begun_by = (unfinished.found or {}).get("backend")
        made = _of_workers(
            ordered, waiting, cluster, begun_by, lambda by: unfinished.note(facts | {"backend": by}), progress, cancel
        )
    for number, (samples, mask) in made:
        unfinished.put(number, parts[number].target, samples, mask)
    unfinished.sync()
    remarks = (*header.remarks, *said_of(survey, groups))
    return replace(larger, values=survey.values, remarks=remarks, network=upscaler.model.name)


def _in_bands(image: Image, bands: Bands, channels: int) -> Image:
    return grouped(image, bands, channels)[0]


def _made(
    scene: Scene,
    network: Network,
    number: int,
    *,
    parts: list[Part],
    survey: Survey,
    groups: Groups,
    in_bands: Callable[[Image], Image],
    progress: Progress | None = None,
) -> scenes_on_ray.Made:
    """A part of the result: its samples, alpha among them, and its mask."""
    made = enlarged_part(lambda place: in_bands(scene.part(place)), parts[number], survey, groups, network, progress)
    return with_alpha(made), made.mask


def _of_workers(
    order: scenes_on_ray.Order,
    waiting: list[int],
    cluster: Cluster,
    begun_by: str | None,
    say_by: Callable[[str], None],
    progress: Progress | None,
    cancel: Cancel | None,
) -> Iterator[tuple[int, scenes_on_ray.Made]]:
    for done, one in enumerate(scenes_on_ray.parts_of_workers(order, waiting, cluster, begun_by, say_by), start=1):
        yield one
        if progress is not None:
            progress(done, len(waiting))
        if cancel is not None and cancel.is_set():
            raise Cancelled("stopped; the same call goes on with what is done")


def _engine(upscaler: Upscaler, scene: Scene, unfinished: Unfinished) -> Engine:
    """What computes the scene; of one that is begun, what has begun it, since no two libraries compute the same bits."""
    begun_by = None if unfinished.found is None else unfinished.found["backend"]
    engine = upscaler.engine.suited(scene.header.pixels, begun_by)
    if begun_by not in (None, engine.backend.name):
        raise ImageError(
            f"{unfinished.folder} was begun by {begun_by}, which is not here any more; delete the folder to begin anew"
        )
    return engine


def _larger(header: Image, new_size: tuple[int, int], metadata: KeepOrStrip) -> Image:
    empty = hollow(header, new_size, has_mask=False)
    larger = replace(header, mask=None).with_pixels(empty.pixels, empty.alpha)
    larger = hollow(larger, new_size, has_mask=header.mask is not None)
    kept = larger.metadata.stripped() if metadata == "strip" else larger.metadata
    larger = replace(larger, metadata=kept)
    larger = larger if kept.exif is None or not says_of_camera(kept.exif) else larger.noted(CAMERA_LEFT_OUT)
    return larger if kept.stated_range is None else larger.noted(RANGE_LEFT_OUT)


def _order(upscaler: Upscaler, source: Path, metadata: KeepOrStrip) -> dict[str, Any]:
    """What makes the bits of a result, as JSON has it."""
    order = {
        "version": [__version__, FORMAT],
        "input": _stamp(source),
        "model": upscaler.model.digest(),
        "options": {**asdict(upscaler.options), "device": upscaler.engine.backend.device},
        "metadata": metadata,
    }
    return dict(json.loads(json.dumps(order)))


def _stamp(source: Path) -> list[Any]:
    """What changes when the file does."""
    status = source.stat()
    return [source.name, status.st_size, status.st_mtime_ns]


def _nothing(_said: str) -> None:
    pass


@dataclass(frozen=True)
class Windows:
    """Decides which pictures are enlarged by windows, and does so; `run_jobs` asks. ``say`` is told why."""

    upscaler: Upscaler
    progress: Progress | None = None
    say: Say | None = None
    cluster: Cluster | None = None

    def wanted(self, job: Job, settings: Settings) -> bool:
        """Whether a job is to be done by windows: a TIFF beyond a limit that nobody gave, or beyond the free memory; on a cluster, all.

        Raises MissingExtraError where there is no other way, Unsupported for what a cluster does not do.
        """
        if not self._can(job, settings) or (size := scene_size(job.input)) is None:
            if self.cluster is not None:
                raise Unsupported(f"{job.name}: --on ray takes TIFFs that become TIFFs, and pictures in an object store")
            return False
        height, width, samples, sample_bytes = size
        needed = memory_bytes(height, width, samples * sample_bytes, self.upscaler)
        free = free_bytes()
        beyond = _limits_passed(settings, height, width, samples, self.upscaler.scale, job.input.stat().st_size)
        is_large = self.cluster is not None or beyond or (free is not None and needed > SHARE * free)
        if beyond & settings.limits_given or not is_large:
            return False
        try:
            with Scene(job.input) as scene:
                _check_network(scene, self.upscaler)
        except (ImageError, MissingExtraError) as error:
            if self.cluster is not None or (beyond and isinstance(error, MissingExtraError)):
                raise
            self._say(job, f"not enlarged by windows, though it is large: {error}")
            return False
        available = "" if free is None else f", and {free / 1e9:.1f} GB are free"
        self._say(job, f"enlarged by windows: in memory it would take about {needed / 1e9:.1f} GB{available}")
        return True

    def _can(self, job: Job, settings: Settings) -> bool:
        is_file = not job.from_stdin and job.output is not None and SUFFIXES.get(job.output.suffix.lower()) == "TIFF"
        return is_file and not settings.lenient and not self.upscaler.options.consistent

    def enlarge(self, job: Job, settings: Settings) -> tuple[Image, tuple[int, int]]:
        """Do a job. Return the header of the result, and the input's (height, width)."""
        assert job.output is not None
        height, width, *_ = scene_size(job.input) or (0, 0)
        larger = upscale_scene(
            self.upscaler,
            job.input,
            job.output,
            metadata=settings.metadata,
            overwrite=settings.existing == "overwrite",
            progress=self.progress,
            say=lambda said: self._say(job, said),
            cluster=self.cluster,
        )
        return larger, (height, width)

    def _say(self, job: Job, said: str) -> None:
        if self.say is not None:
            self.say(f"{job.name}: {said}")


def _limits_passed(settings: Settings, height: int, width: int, samples: int, scale: Scale, size: int) -> set[str]:
    larger = math.prod(enlarged(height, width, scale))
    found = {
        "max_pixels": (max(height * width, height * width * samples / 4), settings.max_pixels),
        "max_output_pixels": (larger, settings.max_output_pixels),
        "max_bytes": (size, settings.max_bytes),
    }
    return {name for name, (value, limit) in found.items() if limit is not None and value > limit}
