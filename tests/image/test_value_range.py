"""Which values are black and white; expected numbers are worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from superscale.errors import Unsupported
from superscale.image.value_range import Block, ValueRange, value_range, within_ringing

Array = NDArray[Any]


def blocks(samples: Array, seen: Array | None = None, rows: int = 7) -> Iterator[Block]:
    for top in range(0, len(samples), rows):
        part = slice(top, top + rows)
        yield Block(top, 0, samples[part], None if seen is None else seen[part])


def of(samples: Array, choice: Any = "auto", seen: Array | None = None, stated: Any = None) -> tuple[float, float, str]:
    values, _ = value_range(lambda: blocks(samples, seen), samples.size, samples.dtype, choice, stated)
    return values.low, values.high, values.source


def ramp(low: float, high: float, dtype: Any) -> Array:
    """10000 values spread evenly."""
    return np.linspace(low, high, 10_000).reshape(100, 100, 1).astype(dtype)


@pytest.mark.parametrize("low", [0, 40, 90])
def test_eight_bits_always_have_the_full_range(low: int) -> None:
    assert of(ramp(low, 100, np.uint8), stated=(3.0, 7.0)) == (0, 255, "type")


def test_sixteen_bits_that_use_their_range_have_the_full_range() -> None:
    assert of(ramp(1000, 33000, np.uint16)) == (0, 65535, "type")
    assert of(ramp(0.1, 0.6, np.float32)) == (0, 1, "type")


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (12, 4095, np.uint16),
        (-1024, 1656, np.int16),
        (-3.5, 8849, np.float64),
        (100_000, 2_000_000_000, np.uint32),
        (-2e9, 2e9, np.int32),
    ],
)
def test_other_values_are_measured(low: float, high: float, dtype: Any) -> None:
    assert of(ramp(low, high, dtype)) == (low, high, "measured")


def test_reflectance_is_measured() -> None:
    assert of(ramp(0, 0.2, np.float32)) == (0, np.float32(0.2), "measured")


@pytest.mark.parametrize("size", [10, 100])
@pytest.mark.parametrize("outlier", [-9999, 60000])
def test_one_outlier_never_moves_the_range(size: int, outlier: int) -> None:
    samples = np.linspace(100, 4000, size * size).reshape(size, size, 1).astype(np.float32)
    low, high = samples.flat[1], samples.flat[-2]
    samples.flat[0 if outlier < 0 else -1] = outlier
    found = of(samples)
    lost = (low, samples.flat[-1]) if outlier < 0 else (samples.flat[0], high)
    assert found[:2] == lost


def test_extremes_near_the_rest_belong_to_the_picture() -> None:
    # The percentiles are about 100 and 1100; half of their distance beyond lies 1600.
    samples = ramp(100, 1100, np.float32)
    samples.flat[-1] = 1590
    assert of(samples)[1] == 1590
    samples.flat[-1] = 1610
    assert of(samples)[1] == samples.flat[-2]


def test_what_the_header_states_goes_before_what_is_measured() -> None:
    assert of(ramp(10, 20, np.int16), stated=(-1024.0, 3071.0)) == (-1024, 3071, "header")

    # A header that most samples contradict is wrong.
    assert of(ramp(10, 4000, np.uint16), stated=(0.0, 255.0)) == (10, 4000, "measured")


def test_values_and_percentiles_can_be_chosen() -> None:
    samples = np.arange(1001, dtype=np.float32).reshape(1, 1001, 1)
    assert of(samples, (5.0, 7.0)) == (5, 7, "given")
    assert of(samples, "p1:p99") == (10, 990, "percentiles")
    assert of(samples.astype(np.int16), "full") == (-32768, 32767, "type")
    with pytest.raises(Unsupported, match="both 3"):
        of(np.full((4, 4, 1), 3, np.int16), "p1:p99")


def test_only_what_is_seen_is_measured_and_one_value_is_a_range_too() -> None:
    samples = np.full((4, 4, 2), -9999, np.int16)
    samples[0, :2] = (5, 9)
    assert of(samples, seen=samples != -9999) == (5, 9, "measured")
    assert of(samples, seen=np.zeros((4, 4, 1), bool)) == (-32768, 32767, "type")
    constant = np.full((40, 40, 1), 7, np.int16)
    assert of(constant) == (7, 14, "measured")
    constant[3, 3] = 90
    assert of(constant) == (7, 90, "measured")


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32])
def test_samples_come_back_as_they_went_in(dtype: type) -> None:
    samples = np.random.default_rng(0).integers(0, 30_000, (50, 40, 2)).astype(dtype)
    unit, beyond = ValueRange(0, 30_000, "given").to_unit(samples, None)
    assert unit.dtype == np.float32
    assert beyond is None
    np.testing.assert_allclose(ValueRange(0, 30_000, "given").from_unit(unit, dtype), samples, atol=2e-3)
    # What lies beyond is kept apart, and is there again at the end.
    unit, beyond = ValueRange(1000, 2000, "given").to_unit(samples, None)
    assert (unit.min(), unit.max()) == (0, 1)
    np.testing.assert_allclose(ValueRange(1000, 2000, "given").from_unit(unit, dtype, beyond), samples, atol=2e-3)


def test_integers_stop_at_the_ends_of_their_type() -> None:
    values = ValueRange(-1024, 32000, "given")
    assert values.from_unit(np.array([[[-9.0, 9.0]]], np.float32), np.int16).ravel().tolist() == [-32768, 32767]


def test_the_bound_is_a_tenth_beyond_each_band() -> None:
    extremes = np.array([[0.0, 0.5], [1.0, 0.6]], np.float32)
    large = np.array([[[-5.0, -5.0], [5.0, 5.0]]], np.float32)
    np.testing.assert_allclose(within_ringing(large, extremes), [[[-0.1, 0.49], [1.1, 0.61]]], rtol=1e-6)
