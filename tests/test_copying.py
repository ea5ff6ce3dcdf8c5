"""When copies of packets are sent: while listeners lose packets, and where somebody takes them."""

from __future__ import annotations

import pytest

from streamcodec.units import NS
from streamcodec.wire.redundancy import USUAL_COPY_DISTANCE
from streamcodec.wire.session import Report
from streamcodec_client.live.copying import CALM_S, CopyPolicy


class Listener:
    """Reports each second, of 50 packets a second."""

    def __init__(self, policy: CopyPolicy, number: int = 1) -> None:
        self.policy, self.number = policy, number
        self.received = self.lost = 0.0

    def second(self, at_s: float, lost: float = 0) -> int:
        """-> the distance of copies that the talker sends then."""
        self.received += 50 - lost
        self.lost += lost
        statistics = {"received": self.received, "lost": self.lost}
        self.policy.add(Report(1, statistics, "Lis", self.number), round(at_s * NS))
        return self.policy.distance


@pytest.fixture
def policy() -> CopyPolicy:
    policy = CopyPolicy(None)
    policy.take(4)
    return policy


def test_nothing_is_copied_while_nothing_is_lost(policy: CopyPolicy) -> None:
    listener = Listener(policy)
    assert not any(listener.second(s, lost=s % 5 == 0 and s < 20) for s in range(60))


def test_copies_begin_with_losses_and_end_when_they_are_over(policy: CopyPolicy) -> None:
    listener = Listener(policy)
    distances = [listener.second(s, lost=3 if 20 <= s < 40 else 0) for s in range(120)]
    assert not any(distances[:21])
    begun = distances.index(USUAL_COPY_DISTANCE)
    assert begun in (21, 22)
    ended = distances.index(0, begun)
    assert 39 + CALM_S <= ended <= 50 + CALM_S
    assert not any(distances[ended:])


def test_losses_of_one_listener_are_enough(policy: CopyPolicy) -> None:
    well, badly = Listener(policy, 1), Listener(policy, 2)
    for s in range(30):
        badly.second(s, lost=1)
        distance = well.second(s)
    assert distance == USUAL_COPY_DISTANCE


def test_losses_of_a_listener_that_counts_anew_are_seen_at_once(policy: CopyPolicy) -> None:
    before = Listener(policy)
    before.received, before.lost = 100_000, 5_000  # most of it before we came
    assert not any(before.second(s) for s in range(5))
    after = Listener(policy)
    assert [after.second(s, lost=4) for s in range(5, 9)][-1] == USUAL_COPY_DISTANCE


def test_reports_without_counts_say_nothing(policy: CopyPolicy) -> None:
    policy.add(Report(1, {"lost": 500.0}, "Lis", 1), 0)
    policy.add(Report(1, {}, "Lis", 1), NS)
    assert policy.distance == 0


def test_no_copy_lies_farther_back_than_listeners_take(policy: CopyPolicy) -> None:
    listener = Listener(policy)
    for s in range(10):
        listener.second(s, lost=5)
    distances = []
    for taken in (4, 3, 2, 1, 0):
        policy.take(taken)
        distances.append(policy.distance)
    assert distances == [4, 3, 2, 1, 0]


@pytest.mark.parametrize("asked", [0, 1, 4])
def test_a_distance_that_is_asked_for_holds_always(asked: int) -> None:
    policy = CopyPolicy(asked)
    assert (policy.offered, policy.distance) == (asked, 0)
    policy.take(4)
    assert policy.distance == asked
    assert Listener(policy).second(0, lost=25) == asked


def test_reports_of_any_number_of_listeners_take_bounded_memory(policy: CopyPolicy) -> None:
    for number in range(1_000):
        Listener(policy, number).second(number / 100)
    assert Listener(policy, 2_000).second(11) == 0
