"""Patches cut on the device against those cut from the file; the device is a CPU here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from superscale.data.draws import DegradationConfig
from superscale.data.loader import RawBatch, load_batch, to_device
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare
from superscale.data.resident import ResidentPack
from superscale.data.synthetic import synthetic_picture
from superscale.errors import DataError
from superscale.image.io import Image, write_image
from superscale.training.loop import data_source

CPU = torch.device("cpu")


@pytest.fixture
def pack(photos: Path, tmp_path: Path) -> Pack:
    """Pictures of several sizes, one of them no larger than a patch, so that every border is met."""
    write_image(photos / "small.png", Image(synthetic_picture(7, 32)))
    write_image(photos / "wide.png", Image(synthetic_picture(8, 200)[:40]))
    prepare(photos, tmp_path / "pack", low_res="double")
    return Pack(tmp_path / "pack")


def assert_same(got: RawBatch, expected: RawBatch) -> None:
    assert (got.numbers, got.symmetries, len(got.draws)) == (expected.numbers, expected.symmetries, len(expected.draws))
    assert torch.equal(got.high_res, expected.high_res)
    assert (got.low_res is None) == (expected.low_res is None)
    if got.low_res is not None and expected.low_res is not None:
        assert torch.equal(got.low_res, expected.low_res)


@pytest.mark.parametrize("degradation", [None, DegradationConfig()])
def test_patches_with_their_surroundings_are_those_of_the_file(degradation: DegradationConfig | None, pack: Pack) -> None:
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=3, degradation=degradation)
    numbers = tuple(range(5, 69))
    got, expected = ResidentPack(plan, CPU, False).load(numbers), load_batch(plan, numbers)
    assert_same(got, expected)
    few, many = (to_device(raw, CPU, 4, "double") for raw in (got, expected))
    assert torch.equal(few.low_res, many.low_res)


def test_stored_pairs_are_those_of_the_file(pack: Pack) -> None:
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=3)
    numbers = tuple(range(64))
    assert_same(ResidentPack(plan, CPU, True).load(numbers), load_batch(plan, numbers, stored_low_res=True))


@pytest.mark.parametrize("degradation", [None, DegradationConfig()])
def test_a_batch_mixes_no_devices(degradation: DegradationConfig | None, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without memory, which as a GPU does refuses tensors of the CPU; it has no generators to seed."""
    torch.zeros(2, 1, device="meta") + torch.zeros(
        3, device="meta"
    )  # imports what annotates with the class that is replaced below
    seeded = torch.Generator

    def generator(device: torch.device | None = None) -> Any:
        return seeded() if device is None else SimpleNamespace(manual_seed=lambda _: None)

    monkeypatch.setattr(torch, "Generator", generator)
    plan = PatchPlan(pack, scale=4, patch_px=32, seed=3, degradation=degradation)
    meta = torch.device("meta")
    batch = to_device(ResidentPack(plan, meta, False).load(tuple(range(8))), meta, 4, "double")
    assert {batch.low_res.device, batch.high_res.device} == {meta}
    assert batch.low_res.shape == (8, 3, 8, 8)


def test_without_stored_reductions_there_are_none_to_hold(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "bare")
    plan = PatchPlan(Pack(tmp_path / "bare"), scale=4, patch_px=32, seed=3)
    with pytest.raises(DataError, match="no low-resolution pictures stored"):
        ResidentPack(plan, CPU, True)


def test_a_gpu_holds_the_pack_when_it_takes_a_quarter_of_its_free_memory_at_most(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is touched: what would be put on one is only named."""

    class Held:
        def __init__(self, plan: PatchPlan, device: torch.device, stored_low_res: bool) -> None:
            self.load = "held"

    plan = PatchPlan(pack, scale=4, patch_px=32, seed=3)
    size = sum((pack.folder / name).stat().st_size for name in ("high_res.u8", "low_res.u8"))
    monkeypatch.setattr(data_source, "ResidentPack", Held)
    for device, free, held in (("cuda", 4 * size, True), ("cuda", 4 * size - 4, False), ("cpu", 100 * size, False)):
        monkeypatch.setattr(data_source, "free_bytes", lambda device, free=free: free)
        assert (data_source.batch_loader(plan, True, torch.device(device)) == "held") is held
