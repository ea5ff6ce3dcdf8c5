"""What the event loop hands to the receiver's worker thread."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from typing import NamedTuple

from streamcodec.wire.session import Capture, Message, Mute, StreamEnd, StreamStart, Welcome

INBOX_LIMIT_MS = 400.0  # a packet that waits longer for a stuck worker would not be played anyway
MAX_EVENTS = 1024
MAX_MARKS = 64  # capture marks; of those of one talker only the newest is of use


class StreamKey(NamedTuple):
    """The relay numbers the streams of each connection anew."""

    connection: int
    stream: int


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """A talker's stream begins, or goes on with another rate or over another connection."""

    key: StreamKey
    talker: StreamStart


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """A stream ends. stream None: our own connection broke, and with it every stream on it."""

    connection: int
    stream: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Muted:
    """A talker announced that it sends nothing for now, or that it sends again."""

    key: StreamKey
    muted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Marked:
    """A talker said when a sample was captured."""

    key: StreamKey
    mark: Capture


@dataclasses.dataclass(frozen=True, slots=True)
class Media:
    """A datagram that may hold a packet."""

    connection: int
    datagram: bytes
    received_ns: int


Event = Joined | Left | Muted


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """All that waited for the worker, to be read in the order of these fields."""

    events: tuple[Event, ...]
    marks: tuple[Marked, ...]
    media: tuple[Media, ...]
    event_count: int  # of the events since the beginning, the last of these included


class Inbox:
    """Three bounded queues from the event loop to the worker. On the event loop it is a
    TransportListener; the worker calls `take`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for as long as it takes to append or to swap
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._marks: deque[Marked] = deque(maxlen=MAX_MARKS)
        self._media: deque[Media] = deque()
        self._own_stream: int | None = None
        self.connection = 0  # number of the present connection, 0 before the first
        self.event_count = 0  # events since the beginning, taken or not
        self.overflow = 0  # packets that were dropped because they waited too long

    def connected(self, welcome: Welcome, connection: int) -> None:
        self.connection, self._own_stream = connection, welcome.stream
        for talker in welcome.streams:
            self.message(talker)

    def disconnected(self, reason: str) -> None:
        self._tell(Left(self.connection, None))

    def media(self, datagram: bytes, received_ns: int) -> None:
        """Drops what has waited longer than INBOX_LIMIT_MS, oldest first."""
        oldest_ns = received_ns - round(INBOX_LIMIT_MS * 1e6)
        with self._lock:
            while self._media and self._media[0].received_ns < oldest_ns:
                self._media.popleft()
                self.overflow += 1
            self._media.append(Media(self.connection, datagram, received_ns))

    def message(self, message: Message) -> None:
        if isinstance(message, StreamStart):
            if message.stream != self._own_stream:
                self._tell(Joined(self._key(message.stream), message))
        elif isinstance(message, StreamEnd):
            self._tell(Left(self.connection, message.stream))
        elif isinstance(message, Mute):
            self._tell(Muted(self._key(message.stream), message.muted))
        elif isinstance(message, Capture):
            with self._lock:
                self._marks.append(Marked(self._key(message.stream), message))

    def take(self) -> Batch:
        """Empties the queues."""
        with self._lock:
            batch = Batch(
                tuple(self._events), tuple(self._marks), tuple(self._media), self.event_count
            )
            for waiting in (self._events, self._marks, self._media):
                waiting.clear()
        return batch

    def _key(self, stream: int) -> StreamKey:
        return StreamKey(self.connection, stream)

    def _tell(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            self.event_count += 1
