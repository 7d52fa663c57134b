"""Several sources in one stream: exact shares, an order that seed and number decide, the same samples as without the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superscale.data.draws import DegradationConfig
from superscale.data.loader import load_batch
from superscale.data.mixture import BLOCK, Mixture, mixture_problems, seed_of, shares_of
from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.prepare import prepare_synthetic
from superscale.data.resident import ResidentPack
from superscale.errors import UsageError


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Pack]:
    folder = tmp_path_factory.mktemp("mixed")
    for number, count in enumerate((5, 3, 7)):
        prepare_synthetic(folder / str(number), count=count, side_px=64 + 16 * number)
    return [Pack(folder / str(number)) for number in range(3)]


def mixture(packs: list[Pack], shares: tuple[int, ...] = (700, 200, 100), degraded: bool = False, seed: int = 4) -> Mixture:
    plans = tuple(
        PatchPlan(pack, scale=4, patch_px=32, seed=seed_of(seed, source), degradation=DegradationConfig() if degraded else None)
        for source, pack in enumerate(packs)
    )
    return Mixture(plans, shares, seed)


def numbers_of(value: Any) -> Any:
    """All that a draw holds, as values that can be compared."""
    if is_dataclass(value):
        return [numbers_of(getattr(value, entry.name)) for entry in fields(value)]
    if isinstance(value, tuple):
        return [numbers_of(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([1.0], (1000,)),
        ([3.0, 1.0], (750, 250)),
        ([1.0, 1.0, 1.0], (334, 333, 333)),
        ([0.7, 0.2, 0.1], (700, 200, 100)),
        ([1.0, 2.0, 4.0], (143, 286, 571)),
    ],
)
def test_shares_are_the_weights_in_thousandths(weights: list[float], shares: tuple[int, ...]) -> None:
    assert shares_of(weights) == shares


def test_a_weight_of_less_than_one_patch_in_a_block_is_refused() -> None:
    with pytest.raises(UsageError, match=r"weight of 0\.0004 among 1\.0004 is less than one patch in 1000"):
        shares_of([1.0, 0.0004])


def test_every_block_of_a_thousand_holds_the_shares_exactly_and_each_patch_of_a_source_once(packs: list[Pack]) -> None:
    mixed = mixture(packs)
    for block in (0, 1, 7):
        places = [mixed.where(number) for number in range(block * BLOCK, (block + 1) * BLOCK)]
        assert Counter(source for source, _ in places) == {0: 700, 1: 200, 2: 100}
        for source, share in enumerate(mixed.shares):
            own = sorted(number for at, number in places if at == source)
            assert own == list(range(block * share, (block + 1) * share))
        # In an order of its own, not one source after another.
        assert len({source for source, _ in places[:40]}) == 3


def test_the_order_is_that_of_seed_and_number_alone(packs: list[Pack]) -> None:
    numbers = [3, 999, 1000, 12_345]
    first, again = mixture(packs), mixture(packs)
    # Asked in another order, and in one question or several.
    assert [first.where(number) for number in numbers] == [again.where(number) for number in reversed(numbers)][::-1]
    other = mixture(packs, seed=5)
    assert [first.where(number) for number in range(50)] != [other.where(number) for number in range(50)]
    blocks = [[first.where(start + number)[0] for number in range(50)] for start in (0, BLOCK)]
    assert blocks[0] != blocks[1]


@pytest.mark.parametrize("degraded", [False, True])
def test_a_mixed_batch_is_each_sources_own_patches_in_their_places(packs: list[Pack], degraded: bool) -> None:
    mixed = mixture(packs, (400, 300, 300), degraded)
    numbers = tuple(range(990, 1014))
    batch = mixed.loaded_by([partial(load_batch, plan) for plan in mixed.plans])(numbers)
    assert batch.numbers == numbers
    for index, number in enumerate(numbers):
        source, own = mixed.where(number)
        alone = load_batch(mixed.plans[source], (own,))
        assert torch.equal(batch.high_res[index], alone.high_res[0])
        assert batch.symmetries[index] == alone.symmetries[0]
        assert not degraded or numbers_of(batch.draws[index]) == numbers_of(alone.draws[0])
        assert mixed.photo(number) == packs[source].manifest.tiles[mixed.plans[source].place(own).tile].source
    assert len(batch.draws) == (len(numbers) if degraded else 0)


def test_packs_on_a_device_are_mixed_to_the_same_batches(packs: list[Pack]) -> None:
    mixed = mixture(packs)
    on_disk = mixed.loaded_by([partial(load_batch, plan) for plan in mixed.plans])
    resident = mixed.loaded_by([ResidentPack(plan, torch.device("cpu"), False).load for plan in mixed.plans])
    numbers = tuple(range(3, 40, 2))
    assert torch.equal(on_disk(numbers).high_res, resident(numbers).high_res)


def test_sources_do_not_cut_their_patches_alike(packs: list[Pack]) -> None:
    twins = mixture([packs[2], packs[2]], (500, 500))
    places = [[plan.place(number) for number in range(20)] for plan in twins.plans]
    assert places[0] != places[1]
    assert twins.plans[0].seed == 4


def test_packs_of_another_depth_cannot_be_mixed(packs: list[Pack], tmp_path: Path) -> None:
    import tifffile

    from superscale.data.prepare import prepare

    (tmp_path / "deep").mkdir()
    tifffile.imwrite(tmp_path / "deep" / "a.tif", np.full((64, 64), 9, np.uint16), photometric="minisblack")
    prepare(tmp_path / "deep", tmp_path / "pack")
    (problem,) = mixture_problems([packs[0], Pack(tmp_path / "pack")])
    assert "uint16 of 1 channels cannot be mixed with uint8 of 3" in problem
    assert mixture_problems(packs) == []
