"""NIQE against scipy's distributions and filters, against the paper's steps written out here, and on real photographs."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import gamma
from scipy.stats import gennorm
from torch import Tensor

from superscale.errors import DataError, ModelError, UsageError
from superscale.image.io import read_image
from superscale.image.pixels import to_float
from superscale.image.resize import imresize
from superscale.metrics.niqe import (
    NaturalModel,
    aggd,
    block_features,
    fit,
    from_json,
    mscn,
    niqe,
    read_model,
    shipped_model,
    to_json,
)  # fmt: skip

PHOTOS = {"astronaut": skimage.data.astronaut, "chelsea": skimage.data.chelsea, "coffee": skimage.data.coffee}


def batch(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float64)).movedim(-1, 0)[None]


def luma(picture: np.ndarray) -> np.ndarray:
    """MATLAB's rgb2ycbcr of uint8: whole numbers."""
    return np.floor(picture @ np.array([65.481, 128.553, 24.966]) / 255 + 16.5)


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (0.6, 0.4, 0.4), (1.0, 0.5, 2.0), (3.5, 2.0, 0.7)])
def test_the_fit_finds_the_parameters_that_scipy_sampled_from(shape: float, left: float, right: float) -> None:
    random = np.random.default_rng(0)
    size = np.abs(gennorm.rvs(shape, size=400_000, random_state=random))
    # One density, whose left side holds left / (left + right) of it.
    on_the_left = random.random(len(size)) < left / (left + right)
    samples = np.where(on_the_left, -left * size, right * size)
    got = [value.item() for value in aggd(torch.from_numpy(samples))]
    assert got == pytest.approx([shape, left, right], rel=0.015)


def test_a_gaussian_and_a_laplacian_have_shapes_two_and_one() -> None:
    places = (np.arange(100_000) + 0.5) / 100_000
    for shape in (2, 1):
        samples = torch.from_numpy(gennorm.ppf(places, shape))
        assert [value.item() for value in aggd(samples)] == pytest.approx([shape, 1, 1], abs=2e-3)


def test_mscn_coefficients_are_scipys_filters_put_into_equation_1() -> None:
    plane = luma(skimage.data.chelsea()[:96, :120])
    mean, square = (gaussian_filter(values, 7 / 6, radius=3, mode="nearest") for values in (plane, plane**2))
    deviation = np.sqrt(np.abs(square - mean**2))
    coefficients, got = mscn(torch.from_numpy(plane))
    np.testing.assert_allclose(got.numpy(), deviation, atol=1e-6)
    np.testing.assert_allclose(coefficients.numpy(), (plane - mean) / (deviation + 1), atol=1e-6)


def written_out_fit(samples: np.ndarray) -> tuple[float, float, float]:
    left = np.sqrt((samples[samples < 0] ** 2).mean())
    right = np.sqrt((samples[samples > 0] ** 2).mean())
    skew = left / right
    ratio = np.abs(samples).mean() ** 2 / (samples**2).mean() * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes = np.arange(0.2, 10.001, 0.001)
    shape = shapes[np.argmin((gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes)) - ratio) ** 2)]
    spread = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * spread, right * spread


def written_out_features(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every block: 36 features and sharpness."""
    features: list[list[float]] = [[] for _ in range((plane.shape[0] // 96) * (plane.shape[1] // 96))]
    sharpness: list[float] = []
    for side in (96, 48):
        mean, square = (gaussian_filter(values, 7 / 6, radius=3, mode="nearest") for values in (plane, plane**2))
        deviation = np.sqrt(np.abs(square - mean**2))
        # On flat ground only rounding would choose a side.
        difference = np.where(np.abs(plane - mean) < 1e-6, 0, plane - mean)
        places = [(y, x) for y in range(0, plane.shape[0], side) for x in range(0, plane.shape[1], side)]
        for number, (y, x) in enumerate(places):
            block = (difference / (deviation + 1))[y : y + side, x : x + side]
            shape, left, right = written_out_fit(block)
            features[number] += [shape, (left + right) / 2]
            for step in ((0, 1), (1, 0), (1, 1), (1, -1)):
                shape, left, right = written_out_fit(block * np.roll(block, step, axis=(0, 1)))
                features[number] += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
            if side == 96:
                sharpness.append(deviation[y : y + side, x : x + side].mean())
        plane = imresize(plane, 0.5)
    return np.array(features), np.array(sharpness)


def test_niqe_is_the_papers_distance_written_out() -> None:
    picture = skimage.data.astronaut()[:220, :310]
    border = 4
    features, _ = written_out_features(luma(picture)[border : border + 192, border : border + 288])
    random = np.random.default_rng(0)
    mean, root = features.mean(axis=0) + random.normal(0, 0.1, 36), random.normal(0, 0.3, (36, 36))
    apart, pooled = features.mean(axis=0) - mean, (np.cov(features.T) + root @ root.T) / 2
    expected = np.sqrt(apart @ np.linalg.pinv(pooled) @ apart)
    model = NaturalModel(torch.from_numpy(mean), torch.from_numpy(root @ root.T), {})
    assert niqe(batch(picture), model, data_range=255, border=border).item() == pytest.approx(expected, rel=1e-5)
    got = niqe(batch(picture / 255), model, data_range=1, border=border)
    assert got.item() == pytest.approx(expected, rel=1e-5)
    two = torch.cat((batch(picture), batch(picture[::-1])))
    assert niqe(two, model, data_range=255, border=border)[0].item() == pytest.approx(got.item(), abs=1e-9)


def test_the_model_is_mean_and_covariance_of_the_sharp_blocks() -> None:
    whole = [picture() for picture in (*PHOTOS.values(), skimage.data.immunohistochemistry, skimage.data.hubble_deep_field)]
    photos = [
        picture[y : y + 192, x : x + 192]
        for picture in whole
        for y in range(0, picture.shape[0] - 191, 192)
        for x in range(0, picture.shape[1] - 191, 192)
    ]
    kept = []
    for photo in photos:
        features, sharpness = written_out_features(luma(photo))
        kept.append(features[sharpness > 0.75 * sharpness.max()])
    expected = np.concatenate(kept)
    assert len(expected) < 4 * len(photos)
    model = fit(((str(number), batch(photo) / 255) for number, photo in enumerate(photos)), "skimage")
    assert model.facts == {"source": "skimage", "photos": len(photos), "blocks": len(expected)}
    np.testing.assert_allclose(model.mean.numpy(), expected.mean(axis=0), atol=2e-5)
    np.testing.assert_allclose(model.covariance.numpy(), np.cov(expected.T), atol=2e-5)


def test_luma_is_rounded_to_whole_8_bit_steps_as_matlab_does() -> None:
    picture = skimage.data.astronaut()[:200, :300]
    grey = batch(luma(picture)[..., None])
    options = {"data_range": 255, "border": 4}
    assert niqe(batch(picture), shipped_model(), **options) == niqe(grey, shipped_model(), **options)  # type: ignore[arg-type]
    sixteen = batch(picture.astype(np.float64) * 257)
    assert niqe(sixteen, shipped_model(), data_range=65535, border=4) == niqe(grey, shipped_model(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PHOTOS)
def test_blur_and_noise_make_real_photographs_worse_and_more_of_it_worse_still(name: str) -> None:
    photo = PHOTOS[name]()
    noise = np.random.default_rng(0).normal(0, 1, photo.shape)
    options = {"data_range": 255, "border": 4}
    clean = niqe(batch(photo), shipped_model(), **options).item()  # type: ignore[arg-type]
    blurred = [niqe(batch(gaussian_filter(photo, (s, s, 0))), shipped_model(), **options).item() for s in (1, 2)]  # type: ignore[arg-type]
    noisy = [niqe(batch((photo + s * noise).clip(0, 255)), shipped_model(), **options).item() for s in (5, 15)]  # type: ignore[arg-type]
    assert clean < blurred[0] < blurred[1]
    assert clean < noisy[0] < noisy[1]
    # In the range of the published figures for clean photographs.
    assert 1.5 < clean < 5


def test_what_has_no_statistics_is_refused() -> None:
    model = shipped_model()
    with pytest.raises(UsageError, match="96x96 pixels inside the border, got"):
        niqe(torch.rand(1, 3, 103, 300), model, data_range=1, border=4)
    with pytest.raises(UsageError, match=r"two blocks .* got 1 of 1"):
        niqe(torch.rand(1, 3, 104, 104), model, data_range=1, border=4)
    with pytest.raises(UsageError, match=r"two blocks .* got 0 of 4"):
        niqe(torch.full((1, 3, 200, 200), 0.5), model, data_range=1, border=4)
    with pytest.raises(DataError, match=r"small\.png: NIQE needs 96x96"):
        fit([("small.png", torch.rand(1, 3, 90, 300))], "none")
    with pytest.raises(DataError, match=r"72 sharp blocks .* got .* of 1 photos; add photos"):
        fit([("one.png", torch.rand(1, 3, 192, 192))], "none")


def test_a_model_file_comes_back_to_ten_digits_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    features, _ = block_features(torch.rand(960, 1152, dtype=torch.float64) * 255)
    model = NaturalModel(features.mean(dim=0), features.T.cov(), {"source": "nöise", "photos": 1, "blocks": len(features)})
    path = tmp_path / "model.json"
    path.write_text(to_json(model), encoding="utf-8")
    back = read_model(path)
    assert back.facts == model.facts
    np.testing.assert_allclose(back.mean, model.mean, rtol=1e-9)
    np.testing.assert_allclose(back.covariance, model.covariance, rtol=1e-9)
    for text, match in [
        ("[]", "not a NIQE model"),
        ('{"format": "other"}', "not a NIQE model"),
        (to_json(model).replace("[", "[NaN, ", 1), "36 finite means"),
    ]:
        with pytest.raises(ModelError, match=match):
            from_json(text, "damaged.json")
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path / "absent.json")


@pytest.mark.parametrize("lost", ["a number of a row", "a variance"])
def test_a_model_that_is_no_covariance_is_refused(lost: str) -> None:
    content = json.loads(to_json(shipped_model()))
    if lost == "a variance":
        content["covariance"][3][0] = 0.0
    else:
        content["covariance"][3].pop()
    with pytest.raises(ModelError, match="not a NIQE model"):
        from_json(json.dumps(content), "m.json")


def test_the_shipped_model_says_what_it_was_fitted_on() -> None:
    model = shipped_model()
    assert "every ninth tile" in model.facts["source"]
    assert model.facts["blocks"] > 10 * 36
    assert torch.linalg.eigvalsh(model.covariance).min() > 0


@pytest.mark.slow
def test_the_shipped_model_is_fitted_on_the_photographs_it_names(shared: Path) -> None:
    def tiles() -> list[tuple[str, Tensor]]:
        found = []
        for path in sorted((shared / "data" / "train").glob("photos-?.tar")):
            with tarfile.open(path) as archive:
                names = sorted(name for name in archive.getnames() if name.endswith(".jpg"))[::9]
                found += [(name, archive.extractfile(name).read()) for name in names]  # type: ignore[union-attr]
        return [(name, torch.from_numpy(to_float(read_image(data).pixels))[None]) for name, data in found]

    model, shipped = fit(tiles(), "the same"), shipped_model()
    assert (model.facts["photos"], model.facts["blocks"]) == (shipped.facts["photos"], shipped.facts["blocks"])
    np.testing.assert_allclose(model.mean, shipped.mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.covariance, shipped.covariance, rtol=1e-2, atol=1e-4)
