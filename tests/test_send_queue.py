"""Which packets are dropped while the socket takes nothing."""

from __future__ import annotations

from streamcodec.wire.packet import Flags, Packet
from streamcodec_client.live.outgoing import Outgoing
from streamcodec_client.live.send_queue import SendQueue

MS = 1_000_000
NO_FLAGS = Flags(0)


def outgoing(
    sequence: int, encoded_ms: float, connection: int = 1, flags: Flags = NO_FLAGS
) -> Outgoing:
    packet = Packet(flags=flags, stream=0, sequence=sequence, capture_time=0, payload=b"x")
    return Outgoing(packet, connection, 0, 0, round(encoded_ms * MS))


def taken(queue: SendQueue, now_ms: float, connection: int | None = 1) -> list[tuple[int, Flags]]:
    packets = []
    while (out := queue.take(round(now_ms * MS), connection)) is not None:
        packets.append((out.packet.sequence, out.packet.flags))
    return packets


def test_the_send_queue_drops_what_is_too_old() -> None:
    queue = SendQueue(limit_ms=100)
    for n in range(10):
        queue.offer(outgoing(n, 20 * n), 20 * n * MS)
    assert len(queue) == 6
    assert [n for n, _ in taken(queue, 200)] == [5, 6, 7, 8, 9]
    assert queue.dropped == 5


def test_the_next_packet_has_the_flags_of_a_dropped_one() -> None:
    queue = SendQueue(limit_ms=100)
    assert taken(queue, 0) == []
    queue.offer(outgoing(0, 0, flags=Flags.RESET | Flags.VOICE), 0)
    queue.offer(outgoing(1, 150), 150 * MS)
    queue.offer(outgoing(2, 170), 170 * MS)
    assert taken(queue, 170) == [(1, Flags.RESET), (2, Flags(0))]


def test_a_dropped_packet_tells_nothing_about_another_connection() -> None:
    queue = SendQueue(limit_ms=100)
    queue.offer(outgoing(0, 0, connection=1, flags=Flags.RESET | Flags.DISCONTINUITY), 0)
    queue.offer(outgoing(1, 150, connection=2), 150 * MS)
    assert queue.dropped == 1
    assert taken(queue, 150, connection=2) == [(1, Flags(0))]


def test_nothing_of_an_earlier_connection_is_sent() -> None:
    queue = SendQueue()
    queue.offer(outgoing(0, 0, connection=1), 0)
    queue.offer(outgoing(1, 0, connection=2, flags=Flags.RESET), 0)
    assert taken(queue, 1, connection=2) == [(1, Flags.RESET)]
    assert queue.dropped == 1
