"""What compression and noise did to a picture is seen in its samples."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from superscale.data.synthetic import synthetic_picture
from superscale.examples import photo
from superscale.image.io import Image, read_image
from superscale.image.metadata import Metadata
from superscale.image.resize import imresize
from superscale.inference.condition import LUMA, damage_seen, quantisation_step

Array = NDArray[Any]
# Where JPEG files list the waves that are looked at: (0, 1), (1, 0), (2, 0), (1, 1), (0, 2) of the zigzag.
ZIGZAG = slice(1, 6)
EXAMPLES = ("cat.jpg", "coffee.jpg", "astronaut.jpg")


def jpeg(pixels: Array, quality: int) -> tuple[Array, list[int]]:
    """As JPEG gives it back, and its table for luma in the file's order."""
    stream = io.BytesIO()
    Picture.fromarray(pixels.squeeze()).save(stream, "JPEG", quality=quality)
    picture = Picture.open(stream)
    tables: Any = picture
    return np.atleast_3d(np.asarray(picture)), zigzag(tables.quantization[0])


def zigzag(table: list[int]) -> list[int]:
    """From rows to the file's order (ITU-T T.81, figure 5)."""
    places = sorted(((row, column) for row in range(8) for column in range(8)), key=lambda place: diagonal(*place))
    return [table[8 * row + column] for row, column in places]


def diagonal(row: int, column: int) -> tuple[int, int]:
    total = row + column
    return total, row if total % 2 else column


@pytest.fixture(params=EXAMPLES)
def clean(request: pytest.FixtureRequest) -> Array:
    return read_image(photo(request.param)).pixels


@pytest.mark.parametrize("quality", [40, 60, 75, 80])
def test_the_step_is_the_median_of_the_files_own_table(clean: Array, quality: int) -> None:
    pixels, table = jpeg(clean, quality)
    assert abs(quantisation_step(pixels @ LUMA) - np.median(table[ZIGZAG])) <= 1


@pytest.mark.parametrize("quality", [40, 60, 75])
def test_coarse_compression_is_seen_wherever_the_first_block_begins_and_without_colour(clean: Array, quality: int) -> None:
    assert damage_seen(Image(jpeg(clean, quality)[0])) == "JPEG blocks"
    assert damage_seen(Image(jpeg(clean, quality)[0][3:, 5:])) == "JPEG blocks"
    grey = (clean @ LUMA).round().astype(np.uint8)[..., None]
    assert damage_seen(Image(jpeg(grey, quality)[0])) == "JPEG blocks"


def test_clean_pictures_fine_compression_and_reductions_are_not_damaged(clean: Array) -> None:
    assert damage_seen(Image(clean)) == ""
    assert damage_seen(Image(jpeg(clean, 90)[0])) == ""
    assert damage_seen(Image(imresize(clean, 0.5))) == ""


def test_noise_is_seen_from_some_levels_on(clean: Array) -> None:
    noise = np.random.default_rng(0).normal(0, 1, clean.shape)

    def noisy(sigma: float) -> Image:
        return Image((clean + sigma * noise).round().clip(0, 255).astype(np.uint8))

    assert damage_seen(noisy(1)) == ""
    assert damage_seen(noisy(5)) == "noise"


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64, 3), np.uint8),
        np.full((64, 64, 1), 255, np.uint8),
        synthetic_picture(0, 39),
        np.random.default_rng(0).integers(0, 65535, (64, 64, 1), np.uint16),
        np.random.default_rng(0).integers(0, 255, (64, 64, 5), np.uint8),
    ],
    ids=["black", "white", "small", "16 bits", "bands"],
)
def test_what_tells_nothing_and_measurements_are_not_damaged(pixels: Array) -> None:
    assert damage_seen(Image(pixels)) == ""


def test_noise_of_measurements_stays() -> None:
    noisy = Image(np.random.default_rng(0).normal(128, 20, (64, 64, 1)).clip(0, 255).astype(np.uint8))
    assert damage_seen(noisy) == "noise"
    for said in (
        Metadata(dicom=object()),
        Metadata(ome="<OME/>"),
        Metadata(calibrated=True),
        Metadata(stated_range=(0, 255)),
    ):
        assert damage_seen(replace(noisy, metadata=said)) == ""
