"""A clip as a folder of frames, which is measured like any folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from superscale.errors import Damaged, MissingExtraError
from superscale.image.formats import VIDEOS
from superscale.image.io import write_image
from superscale.image.picture import Image


def is_clip(path: Path) -> bool:
    """Whether a path is a video by its name."""
    return path.suffix.lower() in VIDEOS and path.is_file()


def frames_folder(clip: Path, folder: Path) -> Path:
    """Write the frames of a clip as PNG, in order, into a new folder of its name in ``folder``. Raises ImageError, MissingExtraError.

    A damaged clip is refused: behind a missing frame all others would be held against the wrong ones.
    """
    if find_spec("av") is None:
        raise MissingExtraError("video", "video")
    from superscale.video.clip import Damage, frames, read_clip
    from superscale.video.look import Painter

    (made := folder / clip.name).mkdir()
    read = read_clip(clip)
    painter = Painter(read.look)
    damage = Damage()
    for number, timed in enumerate(frames(read, damage)):
        write_image(made / f"{number:06d}.png", Image(painter.pixels(timed.frame)))
    damage.untimed = 0  # frames are taken in order
    if str(damage):
        raise Damaged(f"{clip}: a damaged video ({damage})")
    return made
