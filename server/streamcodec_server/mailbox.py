"""What one connection still has to be sent: a queue of control messages and media. Sans-I/O."""

from __future__ import annotations

import dataclasses
from collections import deque

MAX_CONTROL_BACKLOG = 256


@dataclasses.dataclass
class Counters:
    """Traffic of a whole relay since it started. `dropped`: media packets that were discarded
    because they had waited too long in a listener's queue.
    """

    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    refused: int = 0


class Mailbox:
    """Control messages and media in the order in which they arrived. Media is bounded by age:
    packets older than `max_queue_ms` are dropped, oldest first. Control messages are never dropped.

    TCP signals back-pressure only after minutes of audio at these bit rates, so the relay measures
    how long a packet has waited.
    """

    def __init__(self, max_queue_ms: float, too_slow_ms: float, counters: Counters) -> None:
        """`too_slow_ms`: how long a member may keep losing media before it is disconnected."""
        self._max_queue_ms, self._too_slow_ms, self._counters = max_queue_ms, too_slow_ms, counters
        # Each with the number of media packets that had arrived before it.
        self._control: deque[tuple[int, str]] = deque()
        self._media: deque[tuple[float, bytes]] = deque()  # each with its arrival time
        self._media_arrived = 0
        self._dropping_since_ms: float | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._control) + len(self._media)

    def put_control(self, text: str) -> bool:
        """False if the backlog of control messages is too long: the member must be disconnected."""
        self._control.append((self._media_arrived, text))
        return len(self._control) <= MAX_CONTROL_BACKLOG

    def put_media(self, datagram: bytes, now_ms: float) -> bool:
        """False if the member has been too slow for too long: it must be disconnected."""
        self._drop_expired(now_ms)
        self._media.append((now_ms, datagram))
        self._media_arrived += 1
        since_ms = self._dropping_since_ms
        return since_ms is None or now_ms - since_ms < self._too_slow_ms

    def take(self, now_ms: float) -> str | bytes | None:
        """The next control message (str) or media packet (bytes) to send; None if nothing waits."""
        self._drop_expired(now_ms)
        # A stream_end must not overtake the stream's last packets, and new stream info must not
        # overtake packets that were encoded before it.
        if self._control and self._control[0][0] <= self._media_arrived - len(self._media):
            return self._control.popleft()[1]
        if not self._media:
            self._dropping_since_ms = None  # the queue is empty: the member has caught up
            return None
        arrived_ms, datagram = self._media.popleft()
        if now_ms - arrived_ms < self._max_queue_ms / 2:
            self._dropping_since_ms = None  # the queue is short: the member has caught up
        self._counters.packets_out += 1
        self._counters.bytes_out += len(datagram)
        return datagram

    def _drop_expired(self, now_ms: float) -> None:
        while self._media and now_ms - self._media[0][0] > self._max_queue_ms:
            self._media.popleft()
            self.dropped += 1
            self._counters.dropped += 1
            if self._dropping_since_ms is None:
                self._dropping_since_ms = now_ms
