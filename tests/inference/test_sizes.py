"""Sizes of outputs, by hand: what a factor gives, and what a target size does."""

from __future__ import annotations

import pytest

from superscale.errors import ImageError, UsageError
from superscale.inference.sizes import enlarged, label
from superscale.options import TargetSize, UpscaleOptions


@pytest.mark.parametrize(
    ("target", "size", "expected", "named"),
    [
        # (height, width)
        (TargetSize(width=1920), (100, 150), (1280, 1920), "w1920"),
        (TargetSize(height=1080), (100, 150), (1080, 1620), "h1080"),
        (TargetSize(long_side=3840), (100, 150), (2560, 3840), "3840px"),
        (TargetSize(long_side=3840), (150, 100), (3840, 2560), "3840px"),
        (TargetSize(fit="4k"), (100, 150), (2160, 3240), "4k"),
        (TargetSize(fit="4K"), (150, 100), (3240, 2160), "4k"),
        (TargetSize(fit="300x700"), (100, 200), (300, 600), "300x700"),
        (TargetSize(fit=(700, 300)), (100, 300), (233, 700), "700x300"),
        (TargetSize(width=50), (100, 100), (50, 50), "w50"),
        (2.5, (3, 5), (8, 13), "x2.5"),
        (4, (3, 5), (12, 20), "x4"),
    ],
)
def test_the_output_has_the_size_that_was_asked_for(
    target: TargetSize | float, size: tuple[int, int], expected: tuple[int, int], named: str
) -> None:
    assert enlarged(*size, target) == expected
    assert label(target) == named


def test_a_size_out_of_reach_is_refused_with_the_factor() -> None:
    with pytest.raises(ImageError, match="10x20 would have to grow 96 times, more than 64"):
        enlarged(20, 10, TargetSize(width=960))


@pytest.mark.parametrize(
    "sides", [{}, {"width": 10, "height": 10}, {"width": 0}, {"fit": "5k"}, {"fit": "0x9"}, {"fit": (0, 9)}, {"long_side": -1}]
)
def test_a_target_is_one_side_or_a_box_of_at_least_a_pixel(sides: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TargetSize(**sides)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [0, -1, 64.5, float("nan")])
def test_a_factor_lies_above_0_and_up_to_64(scale: float) -> None:
    with pytest.raises(UsageError, match="scale must be above 0 and at most 64, got"):
        UpscaleOptions(scale=scale)
