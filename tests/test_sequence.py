"""Counters that wrap at 2^32, and what a sequence number means."""

from __future__ import annotations

import pytest

from streamcodec.live.sequence import LONGEST_LOSS, SequenceLedger, Unwrapper, Verdict
from streamcodec.wire.packet import SEQUENCE_MODULUS, Flags

NONE = Flags(0)


def test_an_unwrapped_counter_goes_on_where_it_wraps() -> None:
    unwrapper = Unwrapper()
    wrapping = [SEQUENCE_MODULUS - 320, 0, 320, SEQUENCE_MODULUS - 1, 640]
    assert [unwrapper.unwrap(value) for value in wrapping] == [
        SEQUENCE_MODULUS - 320,
        SEQUENCE_MODULUS,
        SEQUENCE_MODULUS + 320,
        SEQUENCE_MODULUS - 1,
        SEQUENCE_MODULUS + 640,
    ]


def test_an_unwrapped_counter_goes_on_for_several_turns() -> None:
    unwrapper = Unwrapper()
    step = SEQUENCE_MODULUS // 3
    values = [unwrapper.unwrap(n * step % SEQUENCE_MODULUS) for n in range(10)]
    assert values == [n * step for n in range(10)]


def test_a_restarted_counter_has_a_new_origin() -> None:
    unwrapper = Unwrapper()
    unwrapper.unwrap(SEQUENCE_MODULUS - 1)
    unwrapper.unwrap(0)
    unwrapper.restart()
    assert unwrapper.unwrap(5) == 5


def test_a_ledger_unwraps_sequence_numbers() -> None:
    ledger = SequenceLedger(20)
    top = SEQUENCE_MODULUS - 1
    assert [ledger.enter(sequence, NONE) for sequence in (top, 1, 0, top)] == [
        (top, Verdict.NEW),
        (top + 2, Verdict.NEW),
        (top + 1, Verdict.NEW),
        (top, Verdict.DUPLICATE),
    ]
    assert (ledger.received, ledger.duplicates, ledger.lost) == (4, 1, 0)


@pytest.mark.parametrize(
    ("sequence", "flags", "verdict"),
    [
        (120, NONE, Verdict.NEW),
        (121, NONE, Verdict.GAP),
        (80, NONE, Verdict.NEW),
        (79, NONE, Verdict.STRAY),
        (100 + LONGEST_LOSS, NONE, Verdict.GAP),
        (101 + LONGEST_LOSS, NONE, Verdict.RESTART),
        (121, Flags.RESET, Verdict.RESTART),
        (79, Flags.RESET, Verdict.RESTART),
        (101, Flags.RESET, Verdict.NEW),
    ],
)
def test_what_a_number_means_depends_on_its_distance_from_the_newest(
    sequence: int, flags: Flags, verdict: Verdict
) -> None:
    ledger = SequenceLedger(20)
    ledger.enter(100, NONE)
    assert ledger.enter(sequence, flags)[1] is verdict


def test_only_packets_that_later_ones_overtook_are_missing() -> None:
    ledger = SequenceLedger(20)
    assert ledger.missing(100) is None
    for sequence in (SEQUENCE_MODULUS - 2, 1):
        ledger.enter(sequence, NONE)
    assert ledger.missing(SEQUENCE_MODULUS - 1) == SEQUENCE_MODULUS - 1
    assert ledger.missing(0) == SEQUENCE_MODULUS
    assert [ledger.missing(s) for s in (SEQUENCE_MODULUS - 3, SEQUENCE_MODULUS - 2, 1, 2)] == [
        None
    ] * 4
    assert ledger.lost == 2
