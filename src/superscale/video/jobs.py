"""`Clips`: the videos among many inputs, for `superscale.inference.jobs.run_jobs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from superscale.errors import ImageError, MissingExtraError, TooLarge, Unsupported
from superscale.image.formats import VIDEOS
from superscale.image.picture import Image
from superscale.inference.inputs import unfit
from superscale.inference.jobs import check_output_size
from superscale.inference.outcomes import ByWindows, Settings
from superscale.inference.plan import Job
from superscale.video.options import ClipOptions

if TYPE_CHECKING:
    from superscale.inference.upscaler import Upscaler

Say = Callable[[str], None]
# name of the input, frames that are done, frames in all
Frames = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Clips:
    """Does the jobs that are videos by their name, and leaves the rest to ``others``. ``say`` is told what is going on."""

    upscaler: Upscaler
    options: ClipOptions
    others: ByWindows
    progress: Frames | None = None
    say: Say | None = None
    keep_partial: bool = False

    def wanted(self, job: Job, settings: Settings) -> bool:
        """Whether a job is a video or one of the others. Raises ImageError for a video that cannot be read or written."""
        if not is_video(job):
            return self.others.wanted(job, settings)
        if (reason := unfit(job.input)) is not None:
            raise ImageError(reason)
        if settings.metadata == "strip":
            raise Unsupported(
                "metadata strip: for pictures only, not for video, which keeps its title, place and all else; leave out"
            )
        if find_spec("av") is None:
            raise MissingExtraError("video", "video")
        if job.output is None:
            raise Unsupported("a video cannot go to standard output; name a file with -o")
        size = job.input.stat().st_size
        if settings.max_bytes is not None and "max_bytes" in settings.limits_given and size > settings.max_bytes:
            raise TooLarge(f"{size} bytes, more than {settings.max_bytes}", settings.max_bytes, "max_bytes")
        return True

    def enlarge(self, job: Job, settings: Settings) -> tuple[Image, tuple[int, int]]:
        """Do a job. Return the header of the result, and the input's (height, width)."""
        if not is_video(job):
            return self.others.enlarge(job, settings)
        from superscale.video.upscaling import upscale_clip

        assert job.output is not None
        sizes: list[tuple[int, int]] = []

        def check(width: int, height: int) -> None:
            sizes.append((height, width))
            if settings.max_pixels is not None and width * height > settings.max_pixels:
                raise TooLarge(f"{width}x{height} is more than {settings.max_pixels} pixels", settings.max_pixels)
            check_output_size(width, height, settings)
            if settings.began is not None:
                settings.began(job, height, width)

        image = upscale_clip(
            self.upscaler,
            job.input,
            job.output,
            self.options,
            overwrite=settings.existing == "overwrite",
            keep_partial=self.keep_partial,
            progress=None if self.progress is None else partial(self.progress, job.name),
            say=None if self.say is None else lambda said: self._say(job, said),
            size_limit=check,
        )
        return image, sizes[0]

    def _say(self, job: Job, said: str) -> None:
        assert self.say is not None
        self.say(f"{job.name}: {said}")


def is_video(job: Job) -> bool:
    """Whether a job's input is a video by its name."""
    return not job.from_stdin and job.input.suffix.lower() in VIDEOS
