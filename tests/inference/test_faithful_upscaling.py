"""What a file holds, its enlargement holds: alpha without fringes, depth, bands, metadata; and the notices reach the reader."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from superscale.errors import ImageError, UsageError
from superscale.image.io import Image, encode, read_image
from superscale.image.region import Part
from superscale.image.resize import resize_part
from superscale.inference.inputs import expand
from superscale.inference.jobs import run_jobs
from superscale.inference.outcomes import Settings
from superscale.inference.plan import Job, plan_jobs
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model

Array = NDArray[Any]
SIDE = 40


class Bicubic(Upscaler):
    """The upscaler with a network whose answer is known."""

    def part(self, pixels: Array, part: Part, cancel: Any = None, engine: Any = None) -> Array:
        assert pixels.shape[2] in (1, 3)
        return resize_part(pixels, part.seen, part.size, part.target, part.new_size)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(7)
    generator = build_generator("srresnet", {"blocks": 1, "features": 8, "batch_norm": False})
    # Away from its start as plain interpolation, so that it looks at what it is given.
    with torch.no_grad():
        for weights in generator.parameters():
            weights.add_(torch.randn_like(weights) * 0.05)
    return Model("tiny", generator.eval(), {})


def disc(dtype: type, below: tuple[float, float, float]) -> Image:
    """A solid red disc, its edge antialiased, on a transparent ground whose hidden colour is ``below``."""
    largest = 1 if dtype is np.float32 else np.iinfo(dtype).max
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    share = np.clip(SIDE * 0.3 + 0.5 - np.hypot(rows, columns), 0, 1)
    alpha = np.round(share * largest).astype(dtype) if dtype is not np.float32 else share.astype(dtype)
    pixels = np.where(alpha[..., None] > 0, (1.0, 0.0, 0.0), below) * largest
    return Image(pixels.astype(dtype), alpha)


@pytest.mark.parametrize("below", [(0, 0, 0), (0, 1, 0), (1, 1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_red_disc_is_pure_red_wherever_it_can_be_seen(model: Model, dtype: type, below: Any) -> None:
    image = disc(dtype, below)
    big = Bicubic(model).enlarge(image)
    assert big.alpha is not None
    assert big.alpha.dtype == dtype
    largest = 1 if dtype is np.float32 else np.iinfo(dtype).max
    seen = big.pixels[big.alpha > 0].astype(float) / largest
    np.testing.assert_allclose(seen, np.broadcast_to((1, 0, 0), seen.shape), atol=1e-6)
    # As much of it as before, sixteen times as many pixels.
    assert big.alpha.mean(dtype=float) == pytest.approx(image.alpha.mean(dtype=float), rel=0.01)  # type: ignore[union-attr]
    assert big.alpha.min() >= 0
    assert big.alpha.max() <= largest


def test_hidden_colours_do_not_reach_the_network(model: Model) -> None:
    upscaler = Upscaler(model, tile=16, overlap=8)
    results = [upscaler.enlarge(disc(np.uint8, below)) for below in ((0, 0, 0), (0, 1, 0))]
    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    # A picture that is red all over is what the network has been shown.
    solid = upscaler.enlarge(Image(np.full((SIDE, SIDE, 3), (255, 0, 0), np.uint8)))
    np.testing.assert_array_equal(results[0].pixels, solid.pixels)


@pytest.mark.parametrize("count", [2, 4, 5])
def test_each_band_goes_through_the_network_by_itself(model: Model, count: int) -> None:
    bands = np.random.default_rng(count).integers(0, 65536, (12, 10, count)).astype(np.uint16)
    upscaler = Upscaler(model)
    big = upscaler.enlarge(Image(bands)).pixels
    assert big.shape == (48, 40, count)
    assert big.dtype == np.uint16
    for band in range(count):
        np.testing.assert_array_equal(big[..., band], upscaler.pixels(bands[..., [band]])[..., 0])


def test_sixteen_bits_are_sixteen_bits_on_the_way_through(model: Model) -> None:
    # A ramp inside one 8-bit step: squeezed, all of it would be one value.
    ramp = (30000 + np.arange(200) % 200).astype(np.uint16).reshape(10, 20, 1).repeat(3, axis=2)
    upscaler = Upscaler(model)
    big = upscaler.pixels(ramp)
    exact = upscaler.pixels(ramp.astype(np.float32) / 65535) * 65535
    np.testing.assert_allclose(big.astype(float), exact.clip(0, 65535), atol=0.51)
    assert len(np.unique(big)) > 30


def test_floats_beyond_one_come_back_in_their_units(model: Model) -> None:
    heights = np.random.default_rng(2).normal(0, 700, (9, 9, 1)).astype(np.float32)
    upscaler = Upscaler(model)
    low, high = float(heights.min()), float(heights.max())
    expected = upscaler.pixels((heights - low) / (high - low)) * (high - low) + low
    np.testing.assert_allclose(upscaler.pixels(heights), expected, rtol=1e-5, atol=1e-2)


def test_a_path_whose_enlargement_pil_cannot_hold_is_an_error_with_a_way_out(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(np.zeros((4, 5, 3), np.uint16)))
    with pytest.raises(ImageError, match="array"):
        Upscaler(model)(path)
    grey = tmp_path / "grey.png"
    grey.write_bytes(imagecodecs.png_encode(np.full((4, 5), 40000, np.uint16)))
    assert Upscaler(model)(grey).mode == "I;16"


def test_arrays_of_other_channels_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match="expected a picture"):
        Upscaler(model)(np.zeros((3, 30, 30), np.uint8))


def run_one(model: Model, source: Path, target: Path, **options: Any) -> Any:
    (outcome,) = run_jobs([Job(source, target)], Upscaler(model).enlarge, Settings(scale=4, **options))
    assert outcome.error is None
    return outcome


def test_sixteen_bit_file_becomes_a_sixteen_bit_file(model: Model, tmp_path: Path) -> None:
    samples = np.random.default_rng(4).integers(0, 65536, (8, 6, 4)).astype(np.uint16)
    source = tmp_path / "deep.png"
    source.write_bytes(imagecodecs.png_encode(samples))
    run_one(model, source, tmp_path / "big.png")
    run_one(model, source, tmp_path / "big.tif")
    png = imagecodecs.png_decode((tmp_path / "big.png").read_bytes())
    assert png.shape == (32, 24, 4)
    assert png.dtype == np.uint16
    np.testing.assert_array_equal(png, tifffile.imread(tmp_path / "big.tif"))
    np.testing.assert_array_equal(
        png, np.dstack([*np.moveaxis(Upscaler(model).enlarge(read_image(source)).pixels, -1, 0), png[..., 3]])
    )


def test_geotiff_keeps_its_ground_and_its_bands(model: Model, tmp_path: Path) -> None:
    source, target = tmp_path / "field.tif", tmp_path / "big.tif"
    bands = np.random.default_rng(9).integers(0, 9000, (6, 8, 5)).astype(np.uint16)
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True)]
    tifffile.imwrite(source, bands, photometric="minisblack", planarconfig="contig", extratags=tags)
    run_one(model, source, target)
    with tifffile.TiffFile(target) as file:
        assert file.pages.first.tags[33550].value == (2.5, 2.5, 0.0)
        assert file.pages.first.tags[33922].value == (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)
        assert file.asarray().shape == (24, 32, 5)
        assert file.asarray().dtype == np.uint16


def test_notices_reach_the_outcome_and_not_the_promised_json(model: Model, tmp_path: Path) -> None:
    source = tmp_path / "disc.png"
    source.write_bytes(encode(disc(np.uint8, (0, 0, 0)), ".png"))
    outcome = run_one(model, source, tmp_path / "disc.jpg")
    assert any("white" in notice for notice in outcome.notices)
    assert outcome.to_dict().keys() == {
        *(
            "input",
            "output",
            "status",
            "width",
            "height",
            "seconds",
            "error",
            "code",
            "range",
            "pages",
            "input_width",
            "input_height",
            "model",
        )
    }
    with Pillow.open(tmp_path / "disc.jpg") as written:
        np.testing.assert_allclose(np.asarray(written)[0, 0].astype(int), 255, atol=2)


def test_metadata_is_stripped_when_asked(model: Model, tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[271] = "Maker"
    stream = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(stream, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())
    run_one(model, tmp_path / "a.jpg", tmp_path / "kept.jpg")
    run_one(model, tmp_path / "a.jpg", tmp_path / "stripped.jpg", metadata="strip")
    assert b"Maker" in (tmp_path / "kept.jpg").read_bytes()
    assert b"Maker" not in (tmp_path / "stripped.jpg").read_bytes()


def test_formats_that_are_only_read_are_written_as_png(tmp_path: Path) -> None:
    for name in ("a.bmp", "b.gif", "c.avif", "d.tif"):
        (tmp_path / name).write_bytes(b"")
    jobs = plan_jobs(expand([str(tmp_path)]), None, scale=4)
    assert [job.output.name for job in jobs if job.output] == ["a_x4.png", "b_x4.png", "c_x4.png", "d_x4.tif"]
