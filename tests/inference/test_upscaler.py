from __future__ import annotations

import io
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from superscale.data.synthetic import synthetic_picture
from superscale.errors import Cancelled, ModelError, OutOfMemoryError, UsageError
from superscale.image.io import Image
from superscale.image.resize import resize_to
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.weights.checkpoint import Model, save_model

Array = NDArray[Any]
PICTURE = synthetic_picture(3, 40)[:29]


def network_output(model: Model, pixels: np.ndarray) -> np.ndarray:
    """The definition: scale to [0, 1], the network on the whole picture, round to 8 bits."""
    with torch.no_grad():
        planes = model.generator(torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None])[0]
    return (planes.permute(1, 2, 0).numpy() * 255 + 0.5).clip(0, 255).astype(np.uint8)


def test_every_kind_of_picture_comes_back_as_its_kind_with_the_same_pixels(tiny_model: Model, tmp_path: Path) -> None:
    upscaler = Upscaler(tiny_model)
    expected = network_output(tiny_model, PICTURE)
    path = tmp_path / "a.png"
    PillowImage.fromarray(PICTURE).save(path)
    for given in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), PillowImage.fromarray(PICTURE)):
        result = upscaler(given)
        assert isinstance(result, PillowImage.Image)
        assert np.abs(np.asarray(result).astype(int) - expected).max() <= 1
    array = upscaler(PICTURE)
    assert array.dtype == np.uint8
    assert np.abs(array.astype(int) - expected).max() <= 1
    tensor = upscaler(torch.from_numpy(PICTURE).permute(2, 0, 1)[None])
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor[0].permute(1, 2, 0).numpy(), array)
    alone = upscaler(torch.from_numpy(PICTURE).permute(2, 0, 1))
    assert torch.equal(alone, tensor[0])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_array_with_alpha_is_what_pillow_makes_of_it(mode: str, tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model)
    picture = PillowImage.fromarray(PICTURE).convert(mode)
    picture.putalpha(PillowImage.linear_gradient("L").resize(picture.size))
    np.testing.assert_array_equal(upscaler(np.asarray(picture)), np.asarray(upscaler(picture)))


def test_many_pictures_come_one_by_one_with_progress(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model)
    said: list[tuple[int, int | None]] = []
    larger = list(upscaler.each([PICTURE, PICTURE[:8]], progress=lambda *done: said.append(done)))
    assert [one.shape[0] for one in larger] == [4 * 29, 4 * 8]
    np.testing.assert_array_equal(larger[0], upscaler(PICTURE))
    assert said == [(1, 2), (2, 2)]
    assert len(list(upscaler.each(iter([PICTURE[:4]])))) == 1


def test_an_upscaler_says_what_it_is(tiny_model: Model) -> None:
    assert repr(Upscaler(tiny_model, scale=3, device="cpu")) == f"Upscaler({tiny_model.name!r}, scale=3, device='cpu')"


def test_fidelity_is_between_a_model_and_its_partner() -> None:
    picture = PICTURE[:12, :12]
    ends = [Upscaler("srgan-x4", fidelity=value, device="cpu")(picture).astype(int) for value in (0, 1)]
    whole = [Upscaler(name, device="cpu")(picture).astype(int) for name in ("srgan-x4", "srresnet-x4")]
    for end, model in zip(ends, whole, strict=True):
        assert np.abs(end - model).max() <= 1
    between = Upscaler("srgan-x4", fidelity=0.5, device="cpu")(picture).astype(int)
    assert min(np.abs(between - end).mean() for end in ends) > 0.05


def test_sixteen_bits_and_floats_keep_their_precision(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model)
    fine = (PICTURE.astype(np.uint16) * 257) + 3
    deep, floats = upscaler(fine), upscaler((fine / 65535).astype(np.float32))
    assert deep.dtype == np.uint16
    assert len(np.unique(deep)) > 1000
    # Floats may leave the least and the greatest sample of their band by a tenth of their distance, for ringing.
    low, high = (fine.min(axis=(0, 1)) / 65535, fine.max(axis=(0, 1)) / 65535)
    reach = (high - low) / 10
    np.testing.assert_allclose((deep / 65535).clip(low - reach, high + reach), floats.clip(0, 1), atol=1e-5)


def test_grey_arrays_stay_grey(tiny_model: Model) -> None:
    grey = PICTURE[..., 0]
    result = Upscaler(tiny_model)(grey)
    with torch.no_grad():
        planes = tiny_model.generator(torch.from_numpy(grey / 255).float().expand(1, 3, -1, -1))[0]
    expected = planes.mean(dim=0).clamp(0, 1).numpy() * 255
    assert result.shape == (116, 160)
    assert np.abs(result - expected).max() <= 0.501


@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 4, 6])
def test_any_factor_is_the_network_and_then_an_exact_resize(scale: float, tiny_model: Model) -> None:
    got = Upscaler(tiny_model, scale=scale)(PICTURE)
    height, width = int(29 * scale + 0.5), int(40 * scale + 0.5)
    expected = network_output(tiny_model, PICTURE)
    if scale != 4:
        expected = resize_to(expected, height, width)
    assert got.shape == (height, width, 3)
    assert np.abs(got.astype(int) - expected).max() <= 2


class Flaky:
    """A backend that is out of memory for tiles above a size."""

    def __init__(self, model: Model, limit: int) -> None:
        self.generator, self.limit, self.contract = model.generator, limit, model.generator.contract
        self.calls: list[int] = []

    def __call__(self, low_res: Array) -> Array:
        self.calls.append(max(low_res.shape[-2:]))
        if self.calls[-1] > self.limit:
            raise OutOfMemoryError("full")
        with torch.no_grad():
            return self.generator(torch.from_numpy(low_res)).numpy()


def test_out_of_memory_halves_automatic_tiles_and_never_leaves_a_stale_one(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model)
    flaky = Flaky(tiny_model, limit=35)
    upscaler.engine.backend = flaky  # type: ignore[assignment]
    upscaler.engine.overlap_px = 8
    wide = synthetic_picture(5, 64)
    expected = network_output(tiny_model, wide)
    assert np.abs(upscaler(wide).astype(int) - expected).max() <= 1
    assert flaky.calls[0] > 35


def test_only_the_tile_that_did_not_fit_is_done_again(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, overlap=8)
    upscaler.engine.tile_px = 64
    flaky = Flaky(tiny_model, limit=60)
    upscaler.engine.backend = flaky  # type: ignore[assignment]
    long = synthetic_picture(5, 160)[:40]
    assert np.abs(upscaler(long).astype(int) - network_output(tiny_model, long)).max() <= 1
    outer = [61, 69, 62]  # tiles of 53, 53 and 54 columns with 8 of their surroundings on each inner side
    assert [size for size in flaky.calls if size > 60] == outer
    assert len(flaky.calls) > len(outer)


def test_what_the_failed_tile_had_allocated_is_free_before_it_is_done_again(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, overlap=8)
    flaky, held = Flaky(tiny_model, limit=35), []

    def filling(low_res: Array) -> Array:
        assert not any(activations() is not None for activations in held), "the device would be as full as before"
        activations = np.zeros_like(low_res)
        held.append(weakref.ref(activations))
        return flaky(low_res)

    filling.contract = flaky.contract  # type: ignore[attr-defined]
    upscaler.engine.backend = filling  # type: ignore[assignment]
    upscaler(synthetic_picture(5, 64))
    assert len(held) > 4


class Overflowing(torch.nn.Module):
    """A network whose half precision overflows, as deep ones' can."""

    def __init__(self, model: Model, always: bool) -> None:
        super().__init__()
        self.model, self.contract, self.always = model.generator, model.generator.contract, always

    def forward(self, low_res: torch.Tensor) -> torch.Tensor:
        half = torch.is_autocast_enabled("cpu")
        return self.model(low_res) * (float("inf") if half or self.always else 1.0)


def test_a_tile_that_is_not_finite_is_computed_again_in_fp32_or_refused(tiny_model: Model) -> None:
    model = Model("overflowing", Overflowing(tiny_model, always=False), {})  # type: ignore[arg-type]
    expected = network_output(tiny_model, PICTURE)
    assert np.abs(Upscaler(model, precision="bf16")(PICTURE).astype(int) - expected).max() <= 1
    hopeless = Model("hopeless", Overflowing(tiny_model, always=True), {})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="not finite"):
        Upscaler(hopeless)(PICTURE)


def test_a_size_the_user_gave_is_never_shrunk_silently(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, tile=64)
    upscaler.engine.backend = Flaky(tiny_model, limit=35)  # type: ignore[assignment]
    with pytest.raises(OutOfMemoryError):
        upscaler(synthetic_picture(5, 64))


def test_cancelling_stops_before_the_next_tile(tiny_model: Model) -> None:
    cancel, done = threading.Event(), []

    def progress(tiles_done: int, tiles: int) -> None:
        done.append((tiles_done, tiles))
        cancel.set()

    with pytest.raises(Cancelled):
        Upscaler(tiny_model, tile=16)(PICTURE, progress=progress, cancel=cancel)
    assert done == [(1, 6)]


def test_progress_of_bands_and_batches_goes_from_one_tile_to_all_and_never_back(tiny_model: Model) -> None:
    told: list[tuple[int, int]] = []
    upscaler = Upscaler(tiny_model, tile=16)

    def progress(done: int, tiles: int) -> None:
        told.append((done, tiles))

    upscaler.enlarge(Image(np.zeros((29, 30, 5), np.uint8)), progress=progress)  # five bands, four tiles each
    assert told == [(done, 20) for done in range(1, 21)]
    told.clear()
    upscaler(torch.zeros(3, 3, 16, 20), progress=progress)
    assert told == [(done, 6) for done in range(1, 7)]


def test_threads_share_one_upscaler(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, tile=16)
    pictures = [synthetic_picture(number, 32) for number in range(6)]
    expected = [upscaler(picture) for picture in pictures]
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        results[number] = upscaler(pictures[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, picture in enumerate(expected):
        np.testing.assert_array_equal(results[number], picture)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": "2"}, "scale must be a number or a TargetSize, got '2'"),
        ({"fidelity": 0.5}, "fidelity needs the name of a model"),
        ({"tile": -3}, "tile"),
        ({"overlap": "much"}, "overlap"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": "abacus"}, "unknown device"),
        ({"precision": "fp12"}, "fp16"),
        ({"value_range": "wide"}, "value range"),
        ({"value_range": (3.0, 3.0)}, "value range"),
        ({"value_range": (0.0, float("nan"))}, "value range"),
        ({"value_range": "p99:p1"}, "value range"),
        ({"bands": (1, 2)}, "bands"),
        ({"bands": (0, 1, 2)}, "bands"),
        ({"bands": "some"}, "bands"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, object], match: str, tiny_model: Model) -> None:
    with pytest.raises(UsageError, match=match):
        Upscaler(tiny_model, **options)  # type: ignore[arg-type]


def test_pictures_of_the_wrong_shape_are_refused(tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model)
    for bad in (
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 4), np.uint16),
        np.zeros((0, 4, 3), np.uint8),
        torch.zeros(4, 4),
        torch.zeros(0, 3, 4, 4),
        7,
    ):
        with pytest.raises(UsageError):
            upscaler(bad)  # type: ignore[call-overload]
    for dtype in (np.int64, np.complex64, bool):
        with pytest.raises(UsageError, match="expected samples of one of the types"):
            upscaler(np.zeros((4, 4, 3), dtype))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_upscaled_as_the_array_it_holds(tiny_model: Model) -> None:
    pixels = synthetic_picture(1, 16)[:, :, 0]
    upscaled = Upscaler(tiny_model)(np.asmatrix(pixels))
    assert type(upscaled) is np.ndarray
    assert np.array_equal(upscaled, Upscaler(tiny_model)(pixels))


def test_an_array_whose_mask_would_be_lost_is_refused(tiny_model: Model) -> None:
    masked = np.ma.masked_equal(np.full((8, 8), -9999, np.int16), -9999)
    with pytest.raises(UsageError, match="without a mask"):
        Upscaler(tiny_model)(masked)


def test_self_ensemble_turns_with_the_picture_also_in_tiles(tiny_model: Model) -> None:
    """The mean over the eight orientations cannot prefer one of them, whatever the network; a single pass can."""
    turned = np.rot90(PICTURE)[:, ::-1].copy()
    ensemble = Upscaler(tiny_model, tta=True, tile=16, overlap=8)
    straight = np.rot90(ensemble(PICTURE))[:, ::-1].astype(int)
    assert np.abs(ensemble(turned).astype(int) - straight).max() <= 1
    once = Upscaler(tiny_model, tile=16, overlap=8)
    assert np.abs(once(turned).astype(int) - np.rot90(once(PICTURE))[:, ::-1]).max() > 1


def test_a_network_of_four_channels_takes_alpha_as_its_last(tmp_path: Path) -> None:
    save_model(tmp_path / "rgba.safetensors", build_generator("compact", {"channels": 4, "features": 4, "convolutions": 1}), {})
    upscaler = Upscaler(tmp_path / "rgba.safetensors", device="cpu")
    bands = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    enlarged = upscaler(PillowImage.fromarray(bands))
    assert enlarged.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(enlarged), upscaler(bands))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_program_that_changed_torchs_defaults_gets_the_same_pixels(
    dtype: torch.dtype, tiny_model: Model, tmp_path: Path
) -> None:
    save_model(path := tmp_path / "tiny.safetensors", tiny_model.generator, {})
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    expected = Upscaler(path, device="cpu", backend="torch")(picture)
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            upscaler = Upscaler(path, device="cpu", backend="torch")
        np.testing.assert_array_equal(upscaler(picture), expected)
    finally:
        torch.set_default_dtype(torch.float32)
