"""Satellite, medical and microscope images: values, holes and bands come out as the measurements that they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import skimage
import tifffile
import torch
from numpy.typing import NDArray

from superscale.errors import ImageError
from superscale.image.io import Image, Metadata, encode, read_image
from superscale.image.region import Part
from superscale.image.resize import imresize, resize_part
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import Job
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model

Array = NDArray[Any]
NODATA = {42113: "-9999"}


class Bicubic(Upscaler):
    """The upscaler with a network whose answer is known, and which is shown what a network may see."""

    def part(self, pixels: Array, part: Part, cancel: Any = None, engine: Any = None) -> Array:
        assert pixels.dtype in (np.uint8, np.uint16) or (pixels.min() >= 0 and pixels.max() <= 1)
        return resize_part(pixels, part.seen, part.size, part.target, part.new_size)


class Wild(Upscaler):
    """The upscaler with a network that overshoots as none should."""

    def part(self, pixels: Array, part: Part, cancel: Any = None, engine: Any = None) -> Array:
        return resize_part(pixels * 9 - 4, part.seen, part.size, part.target, part.new_size)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(7)
    generator = build_generator("srresnet", {"blocks": 1, "features": 8, "batch_norm": False})
    with torch.no_grad():
        for weights in generator.parameters():
            weights.add_(torch.randn_like(weights) * 0.02)
    return Model("tiny", generator.eval(), {})


def ground(dtype: Any = np.float32, low: float = 100, high: float = 4000, side: int = 48) -> Array:
    """A piece of a photograph in other units, its least and its greatest value in the first row."""
    photo = skimage.data.camera()[100 : 100 + side, 200 : 200 + side, None].astype(np.float64)
    samples = low + (photo - photo.min()) / (photo.max() - photo.min()) * (high - low)
    samples[0, 0], samples[0, 1] = low, high
    return samples.astype(dtype)


def psnr(one: Array, other: Array, span: float) -> float:
    return float(10 * np.log10(span**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize(
    ("dtype", "hole", "metadata", "masked"),
    [
        (np.float32, -9999, NODATA, False),
        (np.float32, np.nan, None, False),
        (np.float64, np.inf, None, False),
        (np.float16, np.nan, None, False),
        (np.uint16, 0, {42113: "0"}, False),
        (np.uint16, 60000, None, True),
        (np.int16, -9999, NODATA, False),
        (np.uint8, 0, {42113: "0"}, False),
    ],
)
def test_far_from_a_hole_nothing_knows_of_it_and_in_it_nothing_is_made_up(
    dtype: Any, hole: float, metadata: Any, masked: bool, model: Model
) -> None:
    whole = ground(dtype, 5, 250)
    holed = whole.copy()
    holed[36:41, 38:43] = hole
    missing = np.zeros(whole.shape[:2], bool)
    missing[36:41, 38:43] = True
    upscaler = Upscaler(model, tile=32)
    image = Image(holed, None, Metadata(geo=metadata), mask=~missing if masked else None)
    plain = upscaler.enlarge(Image(whole))
    big = upscaler.enlarge(image)
    assert big.pixels.dtype == np.dtype(dtype)
    expected = np.kron(missing, np.ones((4, 4), bool))
    valid = big.valid()
    assert valid is not None
    np.testing.assert_array_equal(valid[..., 0], ~expected)
    np.testing.assert_array_equal(big.pixels[expected], np.full((400, 1), hole, dtype))
    # Farther in rows or columns than the network sees.
    far = np.ones_like(missing)
    reach = model.generator.contract.receptive_field_px
    far[max(36 - reach, 0) : 41 + reach, max(38 - reach, 0) : 43 + reach] = False
    far = np.kron(far, np.ones((4, 4), bool))
    assert far.sum() > 1000
    np.testing.assert_array_equal(big.pixels[far], plain.pixels[far])
    # Around the hole its value is not seen either.
    assert np.abs(big.pixels[~expected].astype(float) - plain.pixels[~expected]).max() < 150


@pytest.mark.parametrize("scale", [2.5, 3, 1.7])
def test_holes_stay_holes_at_any_factor(scale: float, model: Model, tmp_path: Path) -> None:
    samples = ground(np.float32, side=30)
    samples[3:9, 4:13] = -9999
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 4_000_000)
    how: Any = {"driver": "GTiff", "count": 1, "height": 30, "width": 30, "dtype": "float32", "transform": place}
    with rasterio.open(tmp_path / "a.tif", "w", nodata=-9999, **how) as file:
        file.write(samples[..., 0], 1)
    (outcome,) = run_jobs(
        [Job(tmp_path / "a.tif", tmp_path / "b.tif")], Upscaler(model, scale=scale).enlarge, Settings(scale=scale)
    )
    assert outcome.error is None
    side = int(30 * scale + 0.5)
    with rasterio.open(tmp_path / "a.tif") as file, rasterio.open(tmp_path / "b.tif") as big:
        np.testing.assert_array_equal(big.read_masks(1), file.read_masks(1, out_shape=(side, side)))
        assert big.bounds == pytest.approx(file.bounds)
        assert (big.nodata, big.read(1).min()) == (-9999, -9999)


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.int16, -1024, 1656), (np.float32, 0, 0.2)])
def test_twelve_bits_and_reflectance_are_enlarged_as_well_as_eight_bits(dtype: Any, low: float, high: float) -> None:
    photo = skimage.data.camera()[80:160, 190:270, None]
    truth = low + photo / 255 * (high - low)
    reduced = imresize(truth, 1 / 4).clip(low, high)
    given = np.rint(reduced).astype(dtype) if np.dtype(dtype).kind != "f" else reduced.astype(dtype)
    upscaler = Upscaler("srgan-x4", device="cpu")
    measured = psnr(upscaler.pixels(given), truth, high - low)
    bytes_ = psnr(upscaler.pixels(imresize(photo, 1 / 4)), photo, 255)
    full = psnr(Upscaler("srgan-x4", device="cpu", value_range="full").pixels(given), truth, high - low)
    assert measured == pytest.approx(bytes_, abs=0.3)
    assert measured > full


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int16, np.int32, np.uint32, np.float16, np.float32, np.float64])
def test_arrays_of_every_type_come_back_in_it_as_bicubic_makes_them(dtype: Any, model: Model) -> None:
    samples = ground(dtype, 1, 100, side=20)
    got = Bicubic(model)(samples)
    assert got.dtype == np.dtype(dtype)
    # MATLAB's bicubic, which this network is, within a tenth of the range of what there was, and within the type.
    least = 0 if np.dtype(dtype).kind == "u" else 1 - 9.9
    expected = imresize(samples.astype(np.float64), 4).clip(least, 100 + 9.9)
    np.testing.assert_allclose(got.astype(float), expected, atol=0.06 if np.dtype(dtype).kind == "f" else 0.51)


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.int16, -1024, 1656), (np.float32, -3, 8000), (np.uint16, 10, 4000)])
def test_no_output_leaves_the_extremes_by_more_than_a_tenth_of_their_distance(
    dtype: Any, low: float, high: float, model: Model
) -> None:
    samples = ground(dtype, low, high)
    big = Wild(model)(samples).astype(float)
    reach = (high - low) / 10
    assert big.min() == pytest.approx(max(low - reach, 0 if dtype is np.uint16 else -np.inf), abs=1)
    assert big.max() == pytest.approx(high + reach, abs=1)


def test_a_hot_pixel_costs_no_other_pixel_its_contrast(model: Model) -> None:
    samples = ground(np.float32)
    hot = samples.copy()
    hot[40, 40] = 1e7
    upscaler = Upscaler(model)
    big, plain = upscaler(hot), upscaler(samples)
    far = np.ones(big.shape, bool)
    reach = 4 * (model.generator.contract.receptive_field_px + 1)
    far[160 - reach : 164 + reach, 160 - reach : 164 + reach] = False
    assert far.any()
    np.testing.assert_array_equal(big[far], plain[far])
    assert big.max() > 5e6


def test_a_given_range_is_what_the_network_sees(model: Model) -> None:
    samples = ground(np.int16, 0, 1000)
    upscaler = Upscaler(model, value_range=(-1000, 3000))
    expected = Upscaler(model, value_range="full").pixels(((samples + 1000.0) / 4000).astype(np.float32)) * 4000 - 1000
    np.testing.assert_allclose(upscaler.pixels(samples), expected.clip(-100, 1100), atol=0.6)


def bands(count: int = 5) -> Array:
    return np.random.default_rng(count).integers(0, 65536, (12, 10, count)).astype(np.uint16)


@pytest.mark.parametrize(
    ("choice", "together"), [("all", None), ("rgb+rest", [0, 1, 2]), ((4, 3, 2), [3, 2, 1]), ((5, 1, 2), [4, 0, 1])]
)
def test_bands_can_be_chosen_to_be_colours(choice: Any, together: list[int] | None, model: Model) -> None:
    samples = bands()
    single = Upscaler(model)
    big = Upscaler(model, bands=choice).enlarge(Image(samples)).pixels
    for band in range(5):
        if together is None or band not in together:
            np.testing.assert_array_equal(big[..., band], single.pixels(samples[..., [band]])[..., 0])
    if together is not None:
        np.testing.assert_array_equal(big[..., together], single.pixels(samples[..., together]))


def test_three_bands_are_seen_in_the_order_that_is_asked_for(model: Model) -> None:
    samples = bands(3)
    big = Upscaler(model, bands=(3, 2, 1)).enlarge(Image(samples))
    np.testing.assert_array_equal(big.pixels[..., ::-1], Upscaler(model).pixels(samples[..., ::-1]))
    assert any("3, 2, 1 together" in remark for remark in big.remarks)


def test_colours_that_the_file_states_are_seen_together_and_the_rest_alone(model: Model) -> None:
    samples = bands(4)
    upscaler = Upscaler(model)
    big = upscaler.enlarge(Image(samples, None, Metadata(leading_rgb=True)))
    np.testing.assert_array_equal(big.pixels[..., :3], upscaler.pixels(samples[..., :3]))
    np.testing.assert_array_equal(big.pixels[..., 3:], upscaler.pixels(samples[..., 3:]))
    assert any("1, 2, 3 together" in remark for remark in big.remarks)


def test_alpha_can_be_declared_a_band_and_a_band_that_is_missing_is_an_error(model: Model) -> None:
    samples = bands(4)
    big = Upscaler(model, bands="rgb+rest").enlarge(Image(samples[..., :3], samples[..., 3]))
    assert big.alpha is None
    assert big.metadata.leading_rgb
    np.testing.assert_array_equal(big.pixels[..., 3:], Upscaler(model).pixels(samples[..., 3:]))
    with pytest.raises(ImageError, match="4 bands, and no band 7"):
        Upscaler(model, bands=(7, 1, 2)).enlarge(Image(samples))


def test_back_projection_gives_back_measurements(model: Model) -> None:
    samples = ground(np.int16, -1024, 1656)
    big = Upscaler(model, consistent=True).enlarge(Image(samples))
    reduced = imresize(big.pixels.astype(np.float64), 1 / 4)
    assert psnr(reduced, samples, 2680) > 45
    assert any("back-projection" in notice for notice in big.notices)


def test_the_range_is_in_the_outcome_and_the_choices_in_the_remarks(model: Model, tmp_path: Path) -> None:
    tags = [(340, "h", 1, -1024, True), (341, "h", 1, 3071, True)]
    tifffile.imwrite(tmp_path / "ct.tif", ground(np.int16, -1000, 1656), photometric="minisblack", extratags=tags)
    (outcome,) = run_jobs([Job(tmp_path / "ct.tif", tmp_path / "big.tif")], Upscaler(model).enlarge, Settings(scale=4))
    assert json.loads(json.dumps(outcome.to_dict()))["range"] == [-1024, 3071]
    assert outcome.remarks == ("black to white: -1024 to 3071 (from the header)",)
    assert tifffile.imread(tmp_path / "big.tif").dtype == np.int16


def test_a_mask_and_transparency_hold_together(model: Model) -> None:
    samples = ground(np.uint8, 0, 255, side=20).repeat(3, axis=2)
    alpha = np.full((20, 20), 255, np.uint8)
    alpha[:5] = 0
    mask = np.ones((20, 20), bool)
    mask[:, :5] = False
    big = Upscaler(model).enlarge(Image(samples, alpha, mask=mask))
    assert big.mask is not None
    assert big.alpha is not None
    again = read_image(encode(big, ".tif"))
    assert again.mask is not None
    np.testing.assert_array_equal(again.mask, np.kron(mask, np.ones((4, 4), bool)))
    np.testing.assert_array_equal(again.alpha, big.alpha)
