"""Samples that a program hands over, on a simulated clock."""

from __future__ import annotations

import numpy as np

from fakes import ManualClock
from streamcodec.units import Pcm
from streamcodec_client.audio.pushed import PushedSource

RATE, FRAME = 16_000, 320


def source(clock: ManualClock) -> PushedSource:
    return PushedSource(clock, RATE, ahead_ms=20, limit_ms=100, pause_ms=60)


def frame() -> Pcm:
    return np.zeros((FRAME, 1), np.float32)


def positions(stall_ms: float, seconds: int) -> tuple[list[int], float]:
    """Of 20 ms in real time with a stall once a second -> where each lies, how late the last is."""
    clock = ManualClock()
    pushed, found = source(clock), []
    begin_ms = clock.now_ns() / 1e6
    for n in range(50 * seconds):
        clock.advance(20 + (stall_ms if n % 50 == 25 else 0))
        pushed.push(frame())
        block = pushed.read(0.0)
        assert block is not None
        found.append(block.position)
    elapsed_ms = clock.now_ns() / 1e6 - begin_ms
    return found, elapsed_ms - 1000 * (found[-1] + FRAME) / RATE


def test_what_is_handed_over_in_real_time_has_no_gap() -> None:
    found, late_ms = positions(0, 5)
    assert found == list(range(0, 250 * FRAME, FRAME))
    assert late_ms == 0


def test_a_stall_is_time_that_passed() -> None:
    _, late_ms = positions(150, 5)
    assert late_ms == 0


def test_short_stalls_do_not_add_up() -> None:
    _, late_ms = positions(40, 21)
    assert late_ms <= 60


def test_a_clock_that_is_a_little_slow_has_no_pauses() -> None:
    clock = ManualClock()
    pushed = source(clock)
    for n in range(20_000):  # 400 s at -200 ppm: 80 ms
        clock.advance(20.004)
        pushed.push(frame())
        block = pushed.read(0.0)
        assert block is not None
        assert block.position == n * FRAME


def test_nothing_is_lost_where_there_was_room() -> None:
    pushed = source(ManualClock())
    while pushed.has_room(7):
        pushed.push(np.zeros((7, 1), np.float32))
    assert pushed.dropped_samples == 0
    pushed.push(np.zeros((7, 1), np.float32))
    assert pushed.dropped_samples > 0


def test_dropping_makes_room_and_says_so() -> None:
    told: list[bool] = []
    pushed = PushedSource(
        ManualClock(),
        RATE,
        ahead_ms=20,
        limit_ms=100,
        pause_ms=60,
        taken=lambda: told.append(True),
    )
    pushed.push(np.zeros((1_600, 1), np.float32))
    pushed.drop()
    assert told
    assert pushed.has_room(1_600)
