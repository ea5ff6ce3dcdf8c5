"""How fast packets are played for an error of their delay."""

from __future__ import annotations

import pytest

from streamcodec.live.speed import (
    EARLY_MS,
    FAST,
    FASTER,
    FASTER_MS,
    FINE_SPEED,
    LATE_MS,
    NEEDED_PACKETS,
    SETTLED_MS,
    SLOW,
    SpeedControl,
    is_fine,
)

LONG_MS = 300.0  # a wait that allows any speed


def speeds(*errors_ms: float) -> list[float]:
    control = SpeedControl()
    return [control.next(error_ms, LONG_MS) for error_ms in errors_ms]


@pytest.mark.parametrize("speed", [1 - FINE_SPEED, 1.0, 1 + FINE_SPEED])
def test_speeds_up_to_the_fine_limit_are_fine(speed: float) -> None:
    """1.002 - 1 is above 0.002 in floating point, and 1.002 is fine nevertheless."""
    assert is_fine(speed)


@pytest.mark.parametrize("speed", [0.9979, 1.0021, SLOW, FAST, FASTER])
def test_speeds_beyond_the_fine_limit_are_not(speed: float) -> None:
    assert not is_fine(speed)


def test_small_errors_are_made_up_within_five_seconds() -> None:
    assert speeds(0.0, 5.0, -5.0) == [1.0, pytest.approx(1.001), pytest.approx(0.999)]


def test_an_error_up_to_the_limit_scales_no_time_however_long_it_lasts() -> None:
    assert all(is_fine(speed) for speed in speeds(*[LATE_MS] * 50))
    assert all(is_fine(speed) for speed in speeds(*[-EARLY_MS] * 50))


def test_time_scaling_begins_at_the_limit_and_goes_on_until_the_error_has_settled() -> None:
    late = [LATE_MS + 0.1, SETTLED_MS + 0.1, SETTLED_MS, SETTLED_MS + 0.1]
    assert [is_fine(speed) for speed in speeds(*late)] == [False, False, True, True]
    assert speeds(*late)[:2] == [FAST, FAST]
    early = [-EARLY_MS - 0.1, -SETTLED_MS - 0.1, -SETTLED_MS, -SETTLED_MS - 0.1]
    assert [is_fine(speed) for speed in speeds(*early)] == [False, False, True, True]
    assert speeds(*early)[:2] == [SLOW, SLOW]


def test_large_errors_are_won_back_faster() -> None:
    assert speeds(FASTER_MS, FASTER_MS + 0.1) == [FAST, FASTER]


def test_delay_that_one_of_the_last_packets_needed_is_not_won_back() -> None:
    control = SpeedControl()
    control.next(100.0, 5.0)
    after = [control.next(100.0, LONG_MS) for _ in range(NEEDED_PACKETS)]
    assert all(is_fine(speed) for speed in after[4:-1])
    assert after[-1] == FASTER


def test_packets_that_barely_come_in_time_are_played_slower() -> None:
    control = SpeedControl()
    assert [control.next(0.0, 2.0) for _ in range(5)] == [SLOW] * 5
