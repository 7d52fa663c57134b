"""What one process makes of the number of processes: without starting any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from superscale.data.pack import Pack
from superscale.data.prepare import prepare_synthetic
from superscale.errors import RecipeError, UsageError
from superscale.machine import processes
from superscale.training.recipe.schema import load_recipe
from superscale.training.run.states import SavedState, check_same_run, flat_settings, step_notice

Settings = Callable[[int, int], dict[str, Any]]


def tell(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The settings of a run with so many processes and so large a batch."""
    prepare_synthetic(tmp_path / "pack", count=1)
    recipe = load_recipe("smoke")

    def of(processes: int, batch: int) -> dict[str, Any]:
        tell(monkeypatch, 0, processes)
        return flat_settings(replace(recipe, data=replace(recipe.data, batch=batch)), [Pack(tmp_path / "pack")], tmp_path)

    return of


def saved(before: dict[str, Any]) -> SavedState:
    return SavedState({}, {"stage_number": 0, "images": 8, "settings": before})


@pytest.mark.parametrize("now", [(1, 8), (4, 2), (2, 4)])
def test_a_step_of_as_many_images_goes_on_without_a_word(now: tuple[int, int], settings_of: Settings) -> None:
    before, after = saved(settings_of(2, 4)), settings_of(*now)
    check_same_run(load_recipe("smoke"), after, before, "run")
    assert step_notice(before, after) is None


def test_more_processes_with_the_same_batch_go_on_and_say_so(settings_of: Settings) -> None:
    before, after = saved(settings_of(2, 4)), settings_of(3, 4)
    check_same_run(load_recipe("smoke"), after, before, "run")
    assert step_notice(before, after) == "a step was 8 images and is now 12, by 3 processes"


def test_another_batch_that_makes_another_step_is_refused(settings_of: Settings) -> None:
    before, after = saved(settings_of(2, 4)), settings_of(2, 8)
    with pytest.raises(RecipeError, match=r"data.batch was 4, is 8"):
        check_same_run(load_recipe("smoke"), after, before, "run")


def test_processes_cannot_share_a_named_device(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 1, 2)
    with pytest.raises(UsageError, match="cannot share the device 'cuda:1'"), processes.together("cuda:1"):
        pass


def test_a_process_without_a_gpu_of_its_own_is_told_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 1, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"--nproc-per-node=1, or the device cpu"), processes.together():
        pass


def test_without_torchrun_everything_is_one_process() -> None:
    assert (processes.rank(), processes.world_size(), processes.restarted()) == (0, 1, False)
    assert processes.gather({"a": 1}) == [{"a": 1}]
    assert processes.in_order([1, 2, 3]) == [1, 2, 3]
    assert list(processes.share(3)) == [0, 1, 2]
    with processes.together("cpu") as device:
        assert device == torch.device("cpu")
    assert type(processes.synchronized(torch.nn.Sequential(torch.nn.BatchNorm2d(1)))[0]) is torch.nn.BatchNorm2d
