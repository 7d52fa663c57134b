"""How long is left, on a clock that is written out here: what was foretold is compared with what came."""

from __future__ import annotations

import random

import pytest

from superscale.training.run.pace import Pace, hours

BATCH = 4


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def foretold_and_actual(
    steps: list[float],
    *,
    first: int = 0,
    validate_every: int = 0,
    validation: float = 0.0,
    save_every: int = 0,
    save: float = 0.0,
) -> list[tuple[int, float, float]]:
    """A stage played on the clock: (steps done, seconds foretold as left, seconds then really left) after every step."""
    clock = Clock()
    pace = Pace(clock)
    pace.begin(first, BATCH)
    total = first + BATCH * len(steps)
    foretold: list[tuple[int, float, float]] = []
    for number, seconds in enumerate(steps, start=1):
        with pace.waiting():
            clock.now += 0.1 * seconds
        clock.now += 0.9 * seconds
        pace.step()
        if validate_every and number % validate_every == 0:
            with pace.pause("validation"):
                clock.now += validation
        if save_every and number % save_every == 0:
            with pace.pause("save"):
                clock.now += save
        left = pace.seconds_left(total)
        assert left is not None
        foretold.append((number, left, clock.now))
    return [(number, left, clock.now - then) for number, left, then in foretold]


def assert_within_a_fifth(foretold: list[tuple[int, float, float]], since: int, until: int) -> None:
    for number, left, actual in foretold:
        if since <= number <= until:
            assert left == pytest.approx(actual, rel=0.2), f"after step {number}"


def test_the_time_left_is_within_a_fifth_in_spite_of_a_slow_start_and_jitter() -> None:
    rng = random.Random(0)
    steps = [30.0, 8.0, 4.0] + [rng.uniform(0.8, 1.2) * (5 if rng.random() < 0.02 else 1) for _ in range(1000)]
    assert_within_a_fifth(foretold_and_actual(steps), since=8, until=800)


def test_the_time_left_is_within_a_fifth_in_spite_of_validation_and_saving() -> None:
    """Validation takes as long as half of the steps between two; from the first one on it is reckoned with."""
    foretold = foretold_and_actual([1.0] * 1000, validate_every=100, validation=50.0, save_every=70, save=3.0)
    assert_within_a_fifth(foretold, since=100, until=880)


def test_the_time_left_follows_a_change_of_speed() -> None:
    foretold = foretold_and_actual([1.0] * 200 + [3.0] * 400)
    assert_within_a_fifth(foretold, since=200 + 30, until=600)


def test_a_stage_that_goes_on_is_foretold_from_its_own_steps() -> None:
    assert_within_a_fifth(foretold_and_actual([2.0] * 100, first=40_000, validate_every=10, validation=5.0), since=10, until=90)


def test_rates_leave_pauses_out_and_waiting_in() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin(0, BATCH)
    for _ in range(3):
        with pace.waiting():
            clock.now += 0.5
        clock.now += 1.5
        pace.step()
    with pace.pause("validation"):
        clock.now += 100.0
    assert pace.rates() == pytest.approx((BATCH / 2.0, 0.25))
    assert pace.rates() == (0.0, 0.0)


def test_a_device_that_works_behind_our_back_is_waited_for_in_the_steps_it_took() -> None:
    """Ten steps are handed over in no time; reading their numbers takes the twenty seconds they really took."""
    clock = Clock()
    pace = Pace(clock)
    pace.begin(0, BATCH)
    for _ in range(10):
        clock.now += 0.001
        pace.step()
    clock.now += 20.0
    pace.catch_up()
    assert pace.seconds_a_step == pytest.approx(2.0, rel=0.01)
    assert pace.rates()[0] == pytest.approx(BATCH / 2.0, rel=0.01)
    assert pace.seconds_left(BATCH * 20) == pytest.approx(20.0, rel=0.01)


def test_hours_are_shown_as_a_clock_does() -> None:
    assert (hours(59.9), hours(3661), hours(100 * 3600)) == ("0:00:59", "1:01:01", "100:00:00")
