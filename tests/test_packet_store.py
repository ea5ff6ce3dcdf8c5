"""Packets that wait: each is kept once, and counted once where it ends."""

from __future__ import annotations

import pytest

from streamcodec.errors import ConfigError
from streamcodec.live.packet_store import PacketStore, Waiting
from streamcodec.live.playout import Arrival, PlayoutStatistics
from streamcodec.live.sequence import Verdict
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags

NONE = Flags(0)


def store_of(*numbers: int) -> PacketStore:
    """Room for five packets of 20 ms; packet n arrived at 20 n ms."""
    store = PacketStore(20, 100)
    for number in numbers:
        store.enter(number, NONE)
        store.add(number, Waiting(b"x", NONE, 20.0 * number))
    return store


def counts(store: PacketStore) -> PlayoutStatistics:
    return store.statistics(concealed=0, underruns=0, target_ms=0)


def test_a_full_store_drops_its_oldest_packet() -> None:
    store = store_of(0, 1, 2, 3, 4)
    assert sorted(store.waiting) == [0, 1, 2, 3, 4]
    store.enter(5, NONE)
    assert store.add(5, Waiting(b"x", NONE, 100))
    assert sorted(store.waiting) == [1, 2, 3, 4, 5]
    assert (counts(store).skipped, counts(store).buffer_ms) == (1, 100)


def test_packets_that_waited_longer_than_the_bound_are_dropped() -> None:
    store = store_of(0, 1, 2)
    assert not store.drop_stale(100)
    assert store.drop_stale(121)
    assert sorted(store.waiting) == [2]
    assert counts(store).skipped == 2


def test_packets_before_the_one_to_be_played_are_dropped() -> None:
    store = store_of(0, 1, 2)
    store.drop_before(2)
    assert sorted(store.waiting) == [2]
    assert counts(store).skipped == 2


def test_a_restart_drops_everything() -> None:
    store = store_of(1_000, 1_001)
    assert store.enter(3, Flags.RESET) == (3, Verdict.RESTART)
    assert not store.waiting
    assert (counts(store).skipped, counts(store).restarts) == (2, 1)


def test_late_packets_are_counted_whether_stray_or_refused() -> None:
    store = store_of(1_000, 1_002)
    assert store.enter(3, NONE)[1] is Verdict.STRAY
    store.enter(1_001, NONE)
    assert store.refuse() is Arrival.LATE
    assert (counts(store).late, counts(store).lost) == (2, 0)


def test_a_copy_fills_a_gap_until_the_packet_itself_comes() -> None:
    store = store_of(0, 2)
    assert store.missing(1) == 1
    store.add(1, Waiting(b"copy", NONE, 50, is_copy=True))
    assert store.missing(1) is None
    store.enter(1, NONE)
    store.add(1, Waiting(b"x", NONE, 55))
    assert store.take(1, 60).payload == b"x"
    assert (counts(store).played, counts(store).recovered, counts(store).skipped) == (1, 0, 0)


def test_copies_count_where_they_are_played_and_not_where_they_are_dropped() -> None:
    store = store_of(0, 3)
    for number in (1, 2):
        store.add(number, Waiting(b"copy", NONE, 70, is_copy=True))
    store.drop_before(2)
    store.take(2, 80)
    statistics = counts(store)
    assert (statistics.received, statistics.skipped) == (2, 1)
    assert (statistics.played, statistics.recovered) == (1, 1)


def test_the_delay_that_is_reported_is_smoothed() -> None:
    store = store_of(0, 1)
    store.take(0, 60)
    assert counts(store).delay_ms == 60
    store.take(1, 120)
    assert counts(store).delay_ms == 80


def test_a_play_carries_numbers_as_on_the_wire() -> None:
    packet = Waiting(b"x", Flags.VOICE, 40, capture_time=7)
    play = packet.play(SEQUENCE_MODULUS + 5, 100, follows=True, speed=1.12)
    assert (play.sequence, play.capture_time, play.waited_ms) == (5, 7, 60)
    assert (play.payload, play.flags, play.follows, play.speed) == (b"x", Flags.VOICE, True, 1.12)


def test_a_packet_must_last_some_time() -> None:
    with pytest.raises(ConfigError, match="above 0 ms, got 0"):
        PacketStore(0, 100)
