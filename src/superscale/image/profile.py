"""ICC profiles: what the numbers of a picture mean, kept where they fit and applied where they cannot be kept."""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ImageCms
from PIL.Image import Image as PillowPicture

from superscale.image.pixels import peak

Array = NDArray[Any]

# Where a profile's header names the colour space of the numbers it explains (ICC.1, 7.2).
SPACE = slice(16, 20)
# And when it was made: littleCMS writes the present.
DATE = slice(24, 36)
HEADER_BYTES = 128
SPACES = {1: b"GRAY", 3: b"RGB "}


@lru_cache(maxsize=1)
def srgb() -> bytes:
    """An sRGB profile, the same bytes every time."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[: DATE.start] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[DATE.stop :]


def fitting(profile: bytes | None, channels: int) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile if it explains numbers of so many channels (1 grey, 3 RGB), else None and a notice."""
    if not profile:
        return None, ()
    if len(profile) > HEADER_BYTES and profile[SPACE] == SPACES.get(channels):
        return profile, ()
    kind = profile[SPACE].decode("ascii", "replace").strip() if len(profile) > HEADER_BYTES else "damaged"
    return None, (f"its colour profile ({kind}) does not fit a picture of {channels} channels and was left out",)


def to_srgb(picture: PillowPicture, profile: bytes | None) -> tuple[PillowPicture, tuple[str, ...]]:
    """CMYK, Lab or grey -> sRGB, by the profile: relative colorimetric with black point compensation; plainly without one."""
    space = {"CMYK": b"CMYK", "LAB": b"Lab ", "L": b"GRAY"}[picture.mode]
    source: Any = None
    # Interpolated in a table, saturated Lab colours came out up to 4 levels off.
    exact = ImageCms.Flags.NOOPTIMIZE if picture.mode == "LAB" else ImageCms.Flags.NONE
    try:
        if picture.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif profile and profile[SPACE] == space:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source is not None:
            converted = ImageCms.profileToProfile(
                picture,
                source,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | exact,
            )
            if converted is not None:
                return converted, ()
    except (ImageCms.PyCMSError, OSError):
        return picture.convert("RGB"), (f"its {picture.mode} profile is damaged; converted to RGB without it",)
    notices = () if picture.mode == "L" else (f"{picture.mode} without a profile was converted to RGB by the plain formula",)
    return picture.convert("RGB"), notices


def inks_to_srgb(inks: Array, profile: bytes | None) -> tuple[Array, tuple[str, ...]]:
    """Samples (H, W, 4) of 8 or 16 bits, all ones full ink -> sRGB (H, W, 3) as deep, as `to_srgb` does it at 8 bits."""
    if profile and profile[SPACE] == b"CMYK":
        try:
            samples = imagecodecs.cms_transform(
                inks,
                profile,
                srgb(),
                colorspace="cmyk",
                outcolorspace="rgb",
                intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
                flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
            )
            return np.ascontiguousarray(samples), ()
        except imagecodecs.CmsError:
            reason = "its CMYK profile is damaged; converted to RGB without it"
    else:
        reason = "CMYK without a profile was converted to RGB by the plain formula"
    full = np.uint32(peak(inks.dtype))
    left = full - inks.astype(np.uint32)
    return ((left[..., :3] * left[..., 3:] + full // 2) // full).astype(inks.dtype), (reason,)
