from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from superscale.data.pack import Pack
from superscale.data.patches import PatchPlan
from superscale.data.photograph import PhotographConfig
from superscale.data.prepare import prepare_synthetic
from superscale.data.taught import HIGH_RES, LOW_RES, TEACHER, is_taught, taught_pack, teach
from superscale.errors import Cancelled, DataError


class Teacher:
    """Repeats pixels, and counts how often it is asked."""

    asked = 0

    def __call__(self, low_res: np.ndarray) -> np.ndarray:
        self.asked += 1
        return low_res.repeat(4, axis=0).repeat(4, axis=1)


@pytest.fixture
def plan(tmp_path: Path) -> PatchPlan:
    prepare_synthetic(tmp_path / "pack", count=3)
    return PatchPlan(Pack(tmp_path / "pack"), scale=4, patch_px=64, seed=5, augment=False, degradation=PhotographConfig())


def ignored(_made: int, _count: int) -> None:
    pass


def test_killed_amid_a_patch_it_goes_on_and_ends_with_the_same_bytes(plan: PatchPlan, tmp_path: Path) -> None:
    whole, parts, teacher = tmp_path / "whole", tmp_path / "parts", Teacher()
    teach(plan, 7, whole, teacher, "double", ignored)

    def stopping(made: int, _count: int) -> None:
        if made == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        teach(plan, 7, parts, teacher, "double", stopping)
    assert not is_taught(parts, 3), "without a manifest it is no pack"
    with open(parts / LOW_RES, "ab") as file:
        file.write(b"half a patch")
    with open(parts / TEACHER, "r+b") as file:
        file.truncate(2 * 64 * 64 * 3 + 100)
    before = teacher.asked
    teach(plan, 7, parts, teacher, "double", ignored)
    assert teacher.asked == before + 5
    for name in (LOW_RES, HIGH_RES, TEACHER, "manifest.json"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_more_patches_are_asked_for_later_and_the_first_stay(plan: PatchPlan, tmp_path: Path) -> None:
    teacher = Teacher()
    teach(plan, 2, tmp_path / "taught", teacher, "double", ignored)
    first = taught_pack(tmp_path / "taught", 2, 1.0).high_res(1).copy()
    teach(plan, 5, tmp_path / "taught", teacher, "double", ignored)
    assert teacher.asked == 5
    assert is_taught(tmp_path / "taught", 5)
    assert len(taught_pack(tmp_path / "taught", 2, 1.0)) == 2
    np.testing.assert_array_equal(taught_pack(tmp_path / "taught", 2, 1.0).high_res(1), first)


def test_a_mixture_that_was_damaged_since_is_made_anew(plan: PatchPlan, tmp_path: Path) -> None:
    teach(plan, 3, tmp_path / "taught", Teacher(), "double", ignored)
    expected = taught_pack(tmp_path / "taught", 3, 0.75).high_res(2).copy()
    (mixture,) = (tmp_path / "taught").glob("mixed-*")
    mixture.write_bytes(bytes(mixture.stat().st_size))
    np.testing.assert_array_equal(taught_pack(tmp_path / "taught", 3, 0.75).high_res(2), expected)


def test_the_target_is_the_mixture_of_answer_and_truth(plan: PatchPlan, tmp_path: Path) -> None:
    teach(plan, 3, tmp_path / "taught", Teacher(), "double", ignored)
    truth, answer, mixed = (taught_pack(tmp_path / "taught", 3, weight) for weight in (0.0, 1.0, 0.75))
    np.testing.assert_array_equal(answer.high_res(2), Teacher()(answer.low_res(2)))
    expected = 0.25 * truth.high_res(2) + 0.75 * answer.high_res(2)
    assert np.abs(mixed.high_res(2) - expected).max() <= 0.5
    assert not np.array_equal(truth.high_res(2), answer.high_res(2))
    teach(plan, 4, tmp_path / "taught", Teacher(), "double", ignored)
    assert len(taught_pack(tmp_path / "taught", 4, 0.75)) == 4, "the mixture is made anew for more patches"


def test_the_colours_of_the_target_are_those_of_the_truth_and_its_details_those_of_the_answer(
    plan: PatchPlan, tmp_path: Path
) -> None:
    teach(
        plan, 3, tmp_path / "taught", lambda low_res: Teacher()(low_res // 2 + (55, 64, 64)).astype(np.uint8), "double", ignored
    )  # type: ignore[arg-type, return-value]
    truth, answer, target = (taught_pack(tmp_path / "taught", 3, *mix).high_res(1) for mix in ((0.0,), (1.0,), (1.0, 3.0)))
    apart, left = (pixels.astype(float) - truth for pixels in (answer, target))
    inside = np.s_[16:-16, 16:-16]  # where no border takes part: three standard deviations and more
    coarse = gaussian_filter(apart, (3, 3, 0), truncate=5)
    clipped = (target == 0) | (target == 255)
    assert np.abs(left - (apart - coarse))[inside][~clipped[inside]].max() <= 0.51, "half a level of rounding"
    assert np.abs(apart.mean((0, 1))).max() > 5
    assert np.abs(left.mean((0, 1))).max() < 0.5


def test_an_answer_of_another_size_is_refused(plan: PatchPlan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected"):
        teach(plan, 1, tmp_path / "taught", lambda low_res: low_res, "double", ignored)
