"""The target of the adaptive delay: what it learns from the lateness of packets."""

from __future__ import annotations

from streamcodec.live.delay import DelayTarget

PACKET_MS = 20.0


def test_a_target_rises_at_once_and_falls_a_packet_a_second() -> None:
    target = DelayTarget(packet_ms=PACKET_MS, min_ms=20, max_ms=360)
    for i in range(500):
        target.arrived(20.0 * i, 20.0 * i + (100 if i % 100 == 50 else 0))
    assert 100 <= target.ms <= 110
    before = target.ms
    for i in range(500, 1000):
        target.arrived(20.0 * i, 20.0 * i)
        assert before - target.ms <= 0.02 * 20 + 1e-9
        before = target.ms
    assert target.ms == 20


def test_an_outage_does_not_raise_the_target() -> None:
    target = DelayTarget(packet_ms=PACKET_MS, min_ms=20, max_ms=360)
    for i in range(500):
        target.arrived(20.0 * i, 20.0 * i)
    settled = target.ms
    for i in range(500, 550):
        target.arrived(20.0 * i, 11_000.0)
    assert target.ms <= settled
