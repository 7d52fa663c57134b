from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from superscale.data.loader import batch_numbers, load_batch, stream, to_device, turned
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare

CPU = torch.device("cpu")


@pytest.fixture
def plan(photos: Path, tmp_path: Path) -> PatchPlan:
    prepare(photos, tmp_path / "pack", low_res="double")
    return PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=32, seed=5)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("rounding", ["double", "uint8"])
def test_reducing_patches_equals_cropping_reduced_photos(scale: int, rounding: str, photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "p", scale=8)
    prepare(photos, tmp_path / "s", scale=scale, low_res=rounding)  # type: ignore[arg-type]
    loaded = PatchPlan(Pack(tmp_path / "p"), scale=scale, patch_px=32, seed=1, augment=False)
    stored = PatchPlan(Pack(tmp_path / "s"), scale=scale, patch_px=32, seed=1, augment=False)
    first = to_device(next(stream(partial(load_batch, loaded), start=0, batch=24)), CPU, scale, rounding)  # type: ignore[arg-type]
    second = to_device(next(stream(partial(load_batch, stored, stored_low_res=True), start=0, batch=24)), CPU, scale, rounding)  # type: ignore[arg-type]
    torch.testing.assert_close(first.high_res, second.high_res, rtol=0, atol=0)
    torch.testing.assert_close(first.low_res, second.low_res, rtol=0, atol=0)


def test_starting_at_image_n_gives_the_same_batches_as_never_having_stopped(plan: PatchPlan) -> None:
    whole = [to_device(raw, CPU, 4, "double") for raw in islice(stream(partial(load_batch, plan), start=0, batch=4), 6)]
    late = [to_device(raw, CPU, 4, "double") for raw in islice(stream(partial(load_batch, plan), start=12, batch=4), 3)]
    for expected, got in zip(whole[3:], late, strict=True):
        assert expected.numbers == got.numbers
        torch.testing.assert_close(expected.low_res, got.low_res, rtol=0, atol=0)
        torch.testing.assert_close(expected.high_res, got.high_res, rtol=0, atol=0)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_ranks_share_the_images_of_a_step(world_size: int) -> None:
    shares = [batch_numbers(36, 12 // world_size, rank, world_size) for rank in range(world_size)]
    assert sorted(number for share in shares for number in share) == list(range(36, 48))


def test_the_eight_symmetries_are_distinct_and_numpys() -> None:
    patch = torch.arange(9.0).reshape(1, 1, 3, 3)
    results = [turned(patch, (symmetry,))[0, 0].numpy() for symmetry in range(8)]
    assert len({result.tobytes() for result in results}) == 8
    np.testing.assert_array_equal(results[1], np.rot90(patch[0, 0].numpy()))
    np.testing.assert_array_equal(results[4], patch[0, 0].numpy()[:, ::-1])


def test_low_res_and_high_res_are_turned_alike(plan: PatchPlan) -> None:
    batch = to_device(next(stream(partial(load_batch, plan), start=0, batch=16)), CPU, 4, "double")
    averaged = torch.nn.functional.avg_pool2d(batch.high_res, 4)
    same = (averaged - batch.low_res).abs().mean(dim=(1, 2, 3))
    turned_away = (averaged - batch.low_res.flip(-1)).abs().mean(dim=(1, 2, 3))
    assert (same < turned_away).float().mean() > 0.9
    assert batch.low_res.min() >= 0
    assert batch.low_res.max() <= 1
