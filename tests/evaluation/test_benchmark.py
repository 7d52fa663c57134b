"""The benchmark of any callable from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from skimage.metrics import peak_signal_noise_ratio

from superscale.data.pairs import PairFolder
from superscale.errors import DataError, UsageError
from superscale.evaluation.benchmark import benchmark
from superscale.evaluation.table import Table
from superscale.image.io import Image, write_image
from superscale.image.resize import imresize

Pairs = list[tuple[np.ndarray, np.ndarray]]


def nearest(low_res: np.ndarray) -> np.ndarray:
    return low_res.repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def pairs(noise: np.random.Generator) -> Pairs:
    truths = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(2)]
    return [(imresize(truth, 1 / 4), truth) for truth in truths]


def test_any_callable_and_plain_arrays_make_a_table_with_its_convention(pairs: Pairs) -> None:
    table = benchmark(nearest, pairs)
    assert isinstance(table, Table)
    assert [row.metric for row in table] == ["psnr", "ssim"]
    for number, (low_res, high_res) in enumerate(pairs):
        planes = [
            (pixels @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[4:-4, 4:-4] for pixels in (nearest(low_res), high_res)
        ]
        expected = peak_signal_noise_ratio(*planes, data_range=255)
        assert table[0].images[str(number)] == pytest.approx(expected, abs=1e-4)
    assert "×4, Y (BT.601 studio swing), border 4 px, low-res: as given" in str(table)
    other = benchmark(nearest, pairs, border=2, color="rgb", model="nearest", data="noise", metrics=["ssim"])
    assert "×4, RGB, border 2 px" in str(other)
    assert (other[0].model, other[0].data, other[0].metric) == ("nearest", "noise", "ssim")


def test_a_folder_brings_its_name_and_its_convention(photos: Path) -> None:
    table = benchmark(nearest, PairFolder(photos, 4, "uint8"))
    assert table[0].data == "photos"
    assert table.convention.low_res == "bicubic, uint8"
    assert list(table[0].images) == [f"photo-{number}" for number in range(6)]


def test_what_cannot_be_measured_is_refused_and_named(pairs: Pairs) -> None:
    with pytest.raises(DataError, match="float64 samples of 0, expected uint8"):
        benchmark(lambda low_res: nearest(low_res) / 255, pairs)
    with pytest.raises(DataError, match="model made 48x64x3 of 0, expected 64x48x3"):
        benchmark(lambda low_res: nearest(low_res).swapaxes(0, 1), pairs)
    with pytest.raises(DataError, match="pairs, 0: NIQE needs 96x96 pixels"):
        benchmark(nearest, pairs, metrics=["niqe"])
    with pytest.raises(UsageError, match="at least one pair"):
        benchmark(nearest, [])


def test_an_output_of_the_wrong_size_or_kind_is_an_error_that_names_the_picture(photos: Path) -> None:
    made: dict[str, Callable[[Any], Any]] = {
        "56x48x3 of photo-0, expected 112x96x3": lambda low_res: imresize(low_res, 2),
        "112x96 of photo-0, expected 112x96x3": lambda low_res: imresize(low_res, 4)[..., 0],
        "Image of photo-0, expected an array": lambda low_res: Pillow.fromarray(imresize(low_res, 4)),
    }
    for match, upscale in made.items():
        with pytest.raises(DataError, match=f"wrong made {match}"):
            benchmark(upscale, PairFolder(photos, 4), model="wrong", data="photos", metrics=("psnr",), border=4, color="y")


def test_two_pictures_of_one_name_are_refused(photos: Path) -> None:
    write_image(photos / "sub" / "photo-0.png", Image(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(DataError, match="two pictures are called photo-0"):
        benchmark(
            lambda low_res: imresize(low_res, 4),
            PairFolder(photos, 4),
            model="m",
            data="d",
            metrics=["psnr"],
            border=4,
            color="y",
        )
