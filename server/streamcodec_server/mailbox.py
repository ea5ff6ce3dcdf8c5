"""What one connection still has to be sent: control messages and media that could not be written at
once. Sans-I/O.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections import deque
from collections.abc import Hashable
from typing import Protocol

from streamcodec.wire.session import CloseCode

from .frames import head_bytes
from .histogram import Histogram
from .media import Media

MOST_FRAMES = 1 << 30
HELD = -1  # in place of a socket: frames go through the mailbox


@dataclasses.dataclass
class Counters:
    """Traffic of a whole relay since it started. dropped: media packets that were discarded because
    they had waited too long for a listener; stale: because they came so late already; throttled:
    because their sender sends too fast. distributed: from a packet's arrival until it had been
    handed to the last listener of its room; waited: until it was sent to one for which it had to
    wait.
    """

    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    stale: int = 0
    throttled: int = 0
    refused: int = 0
    distributed: Histogram = dataclasses.field(default_factory=Histogram)
    waited: Histogram = dataclasses.field(default_factory=Histogram)

    def totals(self) -> dict[str, int]:
        """Those that are numbers."""
        return {name: n for name, n in vars(self).items() if isinstance(n, int)}


class Outlet(Protocol):
    """Where a mailbox writes to. `writable`: what is written now leaves soon; when it becomes true
    again, the owner sees to it that `Mailbox.flush` is called; when it becomes false, that
    `Mailbox.settle` is. `descriptor`: of a socket to which frames may be written past the outlet
    while it is writable and the mailbox is empty; HELD: none.
    """

    writable: bool
    descriptor: int

    def write(self, frame: bytes) -> None: ...

    def abort(self) -> None:
        """Ends the connection without a word."""
        ...

    def dismiss(self, code: CloseCode, reason: str) -> None:
        """Ends it, and says why."""
        ...


class Mailbox:
    """Frames in the order in which they came, written at once while the outlet takes them.

    Media that waits is bounded by age: frames older than `max_queue_ms` are dropped, oldest first.
    TCP signals back-pressure only after minutes of audio at these bit rates, so the relay measures
    how long a packet has waited. Control is bounded by what there is to say: a newer message takes
    the place of an older one with the same key.

    copies: how far back a copy may lie that the member takes. watches: it wants to know who
    listens. place: among its room's listeners, -1 for none.
    """

    __slots__ = (
        "_closed",
        "_control",
        "_counters",
        "_dropping_since_ms",
        "_max_queue_ms",
        "_media",
        "_media_arrived",
        "_outlet",
        "_sockets",
        "_unkeyed",
        "copies",
        "dropped",
        "place",
        "watches",
    )

    def __init__(
        self,
        outlet: Outlet,
        max_queue_ms: float,
        counters: Counters,
        copies: int = 0,
        *,
        watches: bool = False,
    ) -> None:
        self._outlet, self._max_queue_ms, self._counters = outlet, max_queue_ms, counters
        # Each with the number of media frames that had come before it; oldest first.
        self._control: dict[Hashable, tuple[int, bytes]] = {}
        self._media: deque[tuple[float, Media]] = deque()  # each with its arrival time
        self.copies, self.watches = copies, watches
        self._sockets: array[int] | None = None
        self.place = -1
        self._media_arrived = self._unkeyed = 0
        self._dropping_since_ms: float | None = None
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._control) + len(self._media)

    def put_control(self, frame: bytes, key: Hashable = None) -> None:
        """`key`: of what the message is the latest news; None: each such message counts."""
        if self._closed:
            return
        if self._outlet.writable and not self._control and not self._media:
            self._outlet.write(frame)
            return
        if key is None:
            self._unkeyed += 1
            key = self._unkeyed
        self._control.pop(key, None)
        self._control[key] = self._media_arrived, frame

    def put_media(self, media: Media, arrived_ms: float, now_ms: float) -> None:
        """arrived_ms: when the packet came to the relay."""
        if self._closed:
            return
        if self._outlet.writable and not self._media and not self._control:
            self._dropping_since_ms = None
            self._write(media)
            return
        self._drop_expired(now_ms)
        self._media.append((arrived_ms, media))
        self._media_arrived += 1

    def put_rest(self, rest: bytes) -> None:
        """What the kernel did not take of a frame that was written past the mailbox."""
        if not self._closed:
            self._outlet.write(rest)

    def sit(self, sockets: array[int], place: int) -> None:
        """The member listens. sockets: of all listeners of its room, by their places."""
        self._sockets, self.place = sockets, place
        self.settle()

    def stand_up(self) -> None:
        """It has left the place."""
        self._sockets, self.place = None, -1

    def settle(self) -> None:
        """Whether frames may be written past the mailbox may have changed."""
        if self._sockets is not None:
            waits = self._media or self._control or self._closed or not self._outlet.writable
            self._sockets[self.place] = HELD if waits else self._outlet.descriptor

    @property
    def can_flush(self) -> bool:
        """Whether something waits that the outlet would take."""
        return bool(self._outlet.writable and (self._media or self._control))

    def flush(self, now_ms: float, most: int = MOST_FRAMES) -> int:
        """Writes as much of what waits as the outlet takes, at most so many frames -> how many."""
        written = 0
        while self._outlet.writable and not self._closed and written < most:
            self._drop_expired(now_ms)
            # A stream_end must not overtake the stream's last packets, and new stream info must
            # not overtake packets that were encoded before it.
            if self._control:
                key, (behind, frame) = next(iter(self._control.items()))
                if behind <= self._media_arrived - len(self._media):
                    del self._control[key]
                    self._outlet.write(frame)
                    written += 1
                    continue
            if not self._media:
                self._dropping_since_ms = None  # nothing waits: the member has caught up
                break
            arrived_ms, media = self._media.popleft()
            if now_ms - arrived_ms < self._max_queue_ms / 2:
                self._dropping_since_ms = None  # the queue is short: the member has caught up
            self._write(media)
            written += 1
            self._counters.waited.add(now_ms - arrived_ms)
        self.settle()
        return written

    def dropping_ms(self, now_ms: float) -> float:
        """For how long media has been dropped without the member's catching up."""
        self._drop_expired(now_ms)
        since_ms = self._dropping_since_ms
        return 0.0 if since_ms is None else now_ms - since_ms

    def close(self) -> None:
        """Nothing more is to be sent."""
        self._closed = True
        self._control.clear()
        self._media.clear()
        self.settle()

    def abort(self) -> None:
        """Ends the connection without a word."""
        self.close()
        self._outlet.abort()

    def dismiss(self, code: CloseCode, reason: str) -> None:
        """Ends the connection, and says why."""
        self.close()
        self._outlet.dismiss(code, reason)

    def _write(self, media: Media) -> None:
        frame = media.frame_for(self.place, self.copies)
        self._counters.packets_out += 1
        self._counters.bytes_out += len(frame) - head_bytes(frame)
        self._outlet.write(frame)

    def _drop_expired(self, now_ms: float) -> None:
        while self._media and now_ms - self._media[0][0] > self._max_queue_ms:
            self._media.popleft()
            self.dropped += 1
            self._counters.dropped += 1
            if self._dropping_since_ms is None:
                self._dropping_since_ms = now_ms
