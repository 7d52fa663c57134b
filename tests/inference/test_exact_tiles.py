"""Tiles against the whole picture, for every generator: equal when they see the receptive field, and not with one pixel less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray
from torch import nn

from superscale.image.region import covering
from superscale.inference.upscaler import Upscaler
from superscale.networks.catalog import build_generator
from superscale.networks.generator import Generator
from superscale.options import LEAST_TILE_PX
from superscale.weights.checkpoint import Model
from superscale.weights.store import BUNDLED

Array = NDArray[Any]
GENERATORS: dict[str, dict[str, Any]] = {
    "srresnet": {"blocks": 1, "features": 8, "batch_norm": False},
    "srresnet with batch norm": {"blocks": 1, "features": 8},
    "rrdbnet": {"blocks": 1, "features": 8, "growth_channels": 4},
    "rrdbnet unshuffled": {"blocks": 1, "features": 8, "growth_channels": 4, "scale": 2},
    "compact": {"features": 8, "convolutions": 3},
}


def built(name: str) -> Generator:
    torch.manual_seed(0)
    return build_generator(name.split()[0], GENERATORS[name]).eval()


def convolutions(generator: Generator) -> list[nn.Conv2d]:
    return [layer for layer in generator.modules() if isinstance(layer, nn.Conv2d)]


def lively(name: str) -> Generator:
    """Every weight is random, and noise in becomes noise of all 8-bit levels out: what a tile misses is seen."""
    generator = built(name)
    for layer in convolutions(generator):
        nn.init.kaiming_normal_(layer.weight, a=0.2)
    with torch.no_grad():
        low_res = torch.rand(1, 3, 64, 64)
        middle = generator(low_res)
        last = convolutions(generator)[-1]
        last.weight.mul_(0.2 / middle.std())
        assert last.bias is not None
        last.bias.add_(0.5 - generator(low_res).mean())
    return generator


@pytest.mark.parametrize("size", [(1, 1), (1, 257), (23, 3), (51, 31)])
@pytest.mark.parametrize("name", GENERATORS)
def test_tiles_that_see_the_receptive_field_equal_the_whole_picture(
    size: tuple[int, int], name: str, noise: np.random.Generator
) -> None:
    generator = lively(name)
    pixels = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
    model = Model(name, generator, {})
    whole = Upscaler(model, tile=0)(pixels).astype(int)
    tiled = Upscaler(model, tile=16, overlap=generator.contract.receptive_field_px)(pixels).astype(int)
    assert np.abs(tiled - whole).max() <= 1
    if max(size) > 16:
        blind = Upscaler(model, tile=16, overlap=0)(pixels).astype(int)
        assert np.abs(blind - whole).max() > 1, "this test could not fail"


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("turned", [False, True])
def test_one_pixel_less_than_the_receptive_field_is_too_little(name: str, turned: bool) -> None:
    """Positive weights and no biases: light can neither vanish nor come from nowhere, so where it falls is exact."""
    generator = built(name)
    for key, weights in generator.named_parameters():
        nn.init.zeros_(weights) if key.endswith("bias") else nn.init.constant_(weights, 0.1)
    reach, unit = generator.contract.receptive_field_px, generator.contract.multiple_of
    tile = max(2 * reach + 3 * unit, LEAST_TILE_PX)
    second = covering(1, 2 * tile, tile, unit)[1].left
    pixels = np.zeros((7, 2 * tile, 3), np.float32)
    pixels[3, second - reach] = 1  # one column of it is the last thing that the second tile's first pixel depends on
    pixels = pixels.swapaxes(0, 1) if turned else pixels
    model = Model(name, generator, {})

    def lit(**options: int) -> Any:
        return Upscaler(model, **options)(pixels) > 0  # type: ignore[arg-type]

    whole = lit(tile=0)
    np.testing.assert_array_equal(lit(tile=tile, overlap=reach), whole)
    assert (lit(tile=tile, overlap=reach - unit) != whole).any()


@pytest.mark.parametrize("name", list(BUNDLED))
def test_the_automatic_overlap_keeps_60_db_against_the_whole_picture_on_trained_weights(name: str) -> None:
    keeps_60_db(name)


@pytest.mark.slow
def test_the_automatic_overlap_keeps_60_db_on_published_weights(shared: Path) -> None:
    keeps_60_db(str(shared / "weights" / "realesr-general-x4v3.pth"))


def keeps_60_db(name: str) -> None:
    picture = skimage.data.chelsea()[60:150, 100:190]
    whole = Upscaler(name, tile=0)(picture).astype(float)
    tiled = Upscaler(name, tile=48)(picture).astype(float)
    assert Upscaler(name).engine.overlap_px < Upscaler(name).contract.receptive_field_px, "this test could not fail"
    error = np.mean((tiled - whole) ** 2)
    assert error == 0 or 10 * np.log10(255**2 / error) >= 60
    blind = Upscaler(name, tile=48, overlap=0)(picture).astype(float)
    assert 10 * np.log10(255**2 / np.mean((blind - whole) ** 2)) < 60, "no overlap would do as well"


@pytest.mark.parametrize("side", [40, 80, 161])
def test_the_device_never_gets_more_than_a_tile_and_its_surroundings(side: int, tiny_model: Model) -> None:
    upscaler = Upscaler(tiny_model, tile=32, overlap=8)
    backend, seen = upscaler.engine.backend, []

    def noting(low_res: Array) -> Array:
        seen.append(tuple(low_res.shape))
        return backend(low_res)

    noting.contract = backend.contract  # type: ignore[attr-defined]
    upscaler.engine.backend = noting  # type: ignore[assignment]
    upscaler(np.zeros((side, side, 3), np.uint8))
    assert len(seen) == (-(-side // 32)) ** 2
    assert all(batch == 1 and max(height, width) <= 32 + 2 * 8 for batch, _, height, width in seen)
