"""Models of other projects that `superscale models pull` can fetch; nothing is downloaded unless that is asked for.

Addresses are those of the projects' release pages. Sizes, sha256 and licences are those of OpenModelDB's records (model ids such as
4x-realesrgan-x4plus), read on 2026-11-28. VGG19's file name holds the first eight digits of its sha256, as torchvision publishes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"
# The licences that forbid commercial use begin so.
NON_COMMERCIAL = ("CC-BY-NC", "non-commercial")
# Another place with the same files.
MIRROR = "SUPERSCALE_MIRROR"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A file to fetch.

    ``sha256``: all of it or its first digits; ``size``: bytes, 0 where it is not published; ``scale``: 0 for a feature network.
    """

    file: str
    address: str
    sha256: str
    size: int
    scale: int
    licence: str
    use: str

    @property
    def url(self) -> str:
        """The address, or the file's name below ``SUPERSCALE_MIRROR`` where that is set."""
        mirror = os.environ.get(MIRROR)
        return f"{mirror.rstrip('/')}/{self.file}" if mirror else self.address

    @property
    def is_non_commercial(self) -> bool:
        """Whether its licence forbids commercial use."""
        return self.licence.startswith(NON_COMMERCIAL)


def _of(address: str, sha256: str, size: int, scale: int, licence: str, use: str) -> PublishedModel:
    file = address.rpartition("/")[2]
    return PublishedModel(file=file, address=address, sha256=sha256, size=size, scale=scale, licence=licence, use=use)


PUBLISHED: dict[str, PublishedModel] = {
    "realesrgan-x4plus": _of(
        f"{REAL_ESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
        "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        67_040_989,
        4,
        "BSD-3-Clause",
        "damaged photographs; RRDBNet of 23 blocks, slow without a GPU",
    ),
    "realesrgan-x2plus": _of(
        f"{REAL_ESRGAN}/v0.2.1/RealESRGAN_x2plus.pth",
        "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        67_061_725,
        2,
        "BSD-3-Clause",
        "the same, twice as large",
    ),
    "realesrgan-x4plus-anime-6b": _of(
        f"{REAL_ESRGAN}/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",
        "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        17_938_799,
        4,
        "BSD-3-Clause",
        "drawings and anime; RRDBNet of 6 blocks",
    ),
    "realesr-animevideov3": _of(
        f"{REAL_ESRGAN}/v0.2.5.0/realesr-animevideov3.pth",
        "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        2_504_012,
        4,
        "BSD-3-Clause",
        "frames of anime; small and fast",
    ),
    "realesr-general-x4v3": _of(
        f"{REAL_ESRGAN}/v0.2.5.0/realesr-general-x4v3.pth",
        "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        4_885_111,
        4,
        "BSD-3-Clause",
        "damaged photographs; small and fast",
    ),
    "realesr-general-wdn-x4v3": _of(
        f"{REAL_ESRGAN}/v0.2.5.0/realesr-general-wdn-x4v3.pth",
        "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        4_885_111,
        4,
        "BSD-3-Clause",
        "the same with weaker denoising; blend the two for what lies between",
    ),
    "bsrgan": _of(
        "https://github.com/cszn/KAIR/releases/download/v1.0/BSRGAN.pth",
        "5d505a0766160921e0388d76e1ddf08cb114303990f9080432bf2b1c988b1c54",
        67_046_751,
        4,
        "Apache-2.0",
        "damaged photographs; RRDBNet of 23 blocks",
    ),
    "bsrgan-x2": _of(
        "https://github.com/cszn/KAIR/releases/download/v1.0/BSRGANx2.pth",
        "614f68bcafcf123a1ea51cc75ae5741640a8b1d49dd75757ad3ad531f772c736",
        66_894_171,
        2,
        "Apache-2.0",
        "the same, twice as large",
    ),
    "vgg19": _of(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9d",
        0,
        0,
        "BSD-3-Clause",
        "no upscaler: the features of the perceptual loss in training",
    ),
}
