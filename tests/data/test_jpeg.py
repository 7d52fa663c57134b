from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from skimage import data

from superscale.data.jpeg import CHROMA_TABLE, LUMA_TABLE, jpeg, scaled_table

QUALITIES = [30, 45, 60, 75, 85, 95]
PHOTOS = {"astronaut": data.astronaut, "chelsea": data.chelsea, "coffee": data.coffee}


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def pixels(planes: torch.Tensor) -> np.ndarray:
    return (planes[0].permute(1, 2, 0) * 255).numpy()


def through_pillow(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(PillowImage.open(file)).astype(np.float64)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(first - second).mean()))


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_libjpegs_to_above_44_db_also_where_sides_are_not_whole_blocks(photo: str, quality: int) -> None:
    picture = PHOTOS[photo]()[20:171, 30:203]
    expected = through_pillow(picture, quality)
    got = pixels(jpeg(planes(picture), [quality]))
    assert psnr(expected, got) > 44
    assert psnr(picture, got) == pytest.approx(psnr(picture, expected), abs=0.1)
    np.testing.assert_allclose(got, np.rint(got), atol=1e-4)


@pytest.mark.parametrize("quality", [1, 10, 25, 50, 77, 95, 100])
def test_quantisation_tables_are_those_in_libjpegs_files(quality: int) -> None:
    file = io.BytesIO()
    PillowImage.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    stored = PillowImage.open(file).quantization  # type: ignore[attr-defined]
    for number, table in enumerate((LUMA_TABLE, CHROMA_TABLE)):
        assert [step for row in scaled_table(table, quality) for step in row] == list(stored[number])


def test_each_picture_of_a_batch_has_its_own_quality() -> None:
    picture = planes(data.astronaut()[:48, :64])
    together = jpeg(picture.repeat(2, 1, 1, 1), [30, 90])
    for index, quality in enumerate((30, 90)):
        torch.testing.assert_close(together[index : index + 1], jpeg(picture, [quality]), atol=1e-6, rtol=0)


def test_flat_grey_stays_what_it_was() -> None:
    grey = torch.full((1, 3, 32, 32), 77 / 255)
    torch.testing.assert_close(jpeg(grey, [100]), grey)
