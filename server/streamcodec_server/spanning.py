"""Rooms that span relays (docs/relays.md). Each relay tells the others, over a message bus, what
its own talkers do in a room; there, a talker from elsewhere is a member like any other, whose
connection is the bus. Sans-I/O: time is an argument, the bus a protocol.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol

from streamcodec.errors import MalformedMessage, MalformedPacket
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import (
    Capture,
    CloseCode,
    CopiesWanted,
    Hello,
    Message,
    Mute,
    Remove,
    Report,
    Role,
    Silence,
    StreamStart,
    StreamUpdate,
)

from .frames import TEXT, message_in
from .mailbox import HELD
from .members import Member, Room
from .refused import Refused
from .rooms import Rooms

NODES = "nodes"  # topic of heartbeats
BEAT_MS, DEAD_MS = 500.0, 1_500.0
OFFSETS_KEPT = 20  # of clocks, one a heartbeat
_HEAD = struct.Struct("!B8sH")  # kind, the node whose talker it is about, that one's stream
_BEAT = struct.Struct("!8sd")  # node, its clock in ms


class Bus(Protocol):
    """Brings what is published on a topic to all other relays that follow it, in the order in which
    one relay published it; or not at all.
    """

    def publish(self, topic: str, data: bytes) -> None: ...

    def follow(self, topic: str) -> None: ...

    def unfollow(self, topic: str) -> None: ...


class _Kind(enum.IntEnum):
    """ASK: who talks here? START: this talker does; also the answer. FOR: is meant for its talker,
    all else comes from it.
    """

    ASK = 0
    START = 1
    END = 2
    MEDIA = 3
    TOLD = 4
    FOR = 5


class _Ghost:
    """The outlet of a talker who is connected elsewhere: what it is sent goes back there."""

    writable, descriptor = True, HELD

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self.member: Member | None = None

    def write(self, frame: bytes) -> None:
        if frame[0] == TEXT:
            self._send(str(message_in(frame)))

    def abort(self) -> None:
        """There is no connection."""

    def dismiss(self, code: CloseCode, reason: str) -> None:
        """Where it is connected it is dismissed."""


@dataclasses.dataclass(eq=False)
class _Place:
    """One room: who is connected here, and the talkers from elsewhere by node and stream."""

    room: Room
    topic: str
    members: dict[Member, None] = dataclasses.field(default_factory=dict)
    ghosts: dict[tuple[bytes, int], Member] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class _Node:
    """Another relay. offsets: our clock less its own, and what a heartbeat took."""

    heard_ms: float
    offsets: deque[float] = dataclasses.field(default_factory=lambda: deque(maxlen=OFFSETS_KEPT))


class Spanning:
    """One relay's part of the rooms. An Elsewhere of its Rooms; `receive` takes what the bus
    brings, `tick` is to be called several times a second.
    """

    def __init__(self, rooms: Rooms, bus: Bus, node: bytes) -> None:
        """node: 8 bytes that no other relay has."""
        self._rooms, self._bus, self._node = rooms, bus, node
        self._places: dict[str, _Place] = {}  # by topic
        self._nodes: dict[bytes, _Node] = {}
        self._beaten_ms: float | None = None
        self._now_ms = 0.0
        bus.follow(NODES)

    # --- what happens here ------------------------------------------------------------------------

    def joined(self, room: Room, member: Member) -> None:
        topic = topic_of(room.name)
        place = self._places.get(topic)
        if place is None:
            place = self._places[topic] = _Place(room, topic)
            self._bus.follow(topic)
            self._publish(place, _Kind.ASK, self._node, 0)
        for replaced in [m for m in place.members if m.room is None]:
            del place.members[replaced]
        place.members[member] = None
        self._introduce(place, member)

    def left(self, room: Room, member: Member) -> None:
        place = self._places[topic_of(room.name)]
        place.members.pop(member, None)
        if member.stream is not None:
            self._publish(place, _Kind.END, self._node, member.stream.number)
        if not place.members:
            del self._places[place.topic]
            self._bus.unfollow(place.topic)
            for ghost in list(place.ghosts.values()):
                self._rooms.leave(ghost, self._now_ms)

    def said(self, room: Room, member: Member, datagram: bytes) -> None:
        assert member.stream is not None
        place = self._places[topic_of(room.name)]
        self._publish(place, _Kind.MEDIA, self._node, member.stream.number, datagram)

    def told(self, room: Room, member: Member, message: Message) -> None:
        assert member.stream is not None
        place = self._places[topic_of(room.name)]
        text = serialize_message(message).encode()
        self._publish(place, _Kind.TOLD, self._node, member.stream.number, text)

    # --- time, and other relays -------------------------------------------------------------------

    def tick(self, now_ms: float) -> None:
        """Says that we are alive, and notices who is not any more."""
        self._now_ms = now_ms
        if self._beaten_ms is None or now_ms - self._beaten_ms >= BEAT_MS:
            self._beaten_ms = now_ms
            self._bus.publish(NODES, _BEAT.pack(self._node, now_ms))
        for node in [n for n, other in self._nodes.items() if now_ms - other.heard_ms > DEAD_MS]:
            del self._nodes[node]
            self._bury(node)

    def receive(self, topic: str, data: bytes, now_ms: float) -> None:
        """What another relay has published. What cannot be read is ignored: it may run a later
        version.
        """
        self._now_ms = now_ms
        if topic == NODES:
            if len(data) == _BEAT.size:
                self._hear(*_BEAT.unpack(data))
            return
        place = self._places.get(topic)
        if place is None or len(data) < _HEAD.size:
            return
        kind, node, stream = _HEAD.unpack_from(data)
        try:
            self._take(place, kind, (node, stream), data[_HEAD.size :])
        except (Refused, MalformedMessage, MalformedPacket, UnicodeDecodeError):
            self._rooms.counters.refused += 1

    def _hear(self, node: bytes, their_ms: float) -> None:
        if node == self._node:
            return
        if node not in self._nodes:  # new, or back: what it said meanwhile we have missed
            self._nodes[node] = _Node(self._now_ms)
            for place in self._places.values():
                self._publish(place, _Kind.ASK, self._node, 0)
        other = self._nodes[node]
        other.heard_ms = self._now_ms
        other.offsets.append(self._now_ms - their_ms)

    def _bury(self, node: bytes) -> None:
        """Its talkers leave, and its listeners want nothing."""
        for place in self._places.values():
            for key in [key for key in place.ghosts if key[0] == node]:
                self._rooms.leave(place.ghosts.pop(key), self._now_ms)
            self._rooms.want_elsewhere(place.room, None, node, 0)

    # --- what happens elsewhere -------------------------------------------------------------------

    def _take(self, place: _Place, kind: int, key: tuple[bytes, int], body: bytes) -> None:
        ghost = place.ghosts.get(key)
        if kind == _Kind.ASK:
            for member in place.members:
                self._introduce(place, member)
        elif kind == _Kind.START:
            self._start(place, key, body)
        elif kind == _Kind.FOR and key[0] == self._node:
            self._deliver(place, key[1], body)
        elif ghost is None:
            return  # its start has been lost, or the room is full
        elif kind == _Kind.END:
            del place.ghosts[key]
            self._rooms.leave(ghost, self._now_ms)
        elif kind == _Kind.MEDIA:
            self._rooms.publish(ghost, body, self._now_ms)
        elif kind == _Kind.TOLD:
            message = parse_message(body.decode())
            if isinstance(message, Capture):
                message = self._by_our_clock(message, key[0])
            if isinstance(message, Mute | Capture | StreamUpdate):
                self._rooms.control(ghost, message, self._now_ms)

    def _start(self, place: _Place, key: tuple[bytes, int], body: bytes) -> None:
        muted, start = body[:1] == b"\1", parse_message(body[1:].decode())
        if key[0] == self._node or not isinstance(start, StreamStart):
            return
        ghost = place.ghosts.get(key)
        if ghost is None:
            hello = Hello(Role.TALK, place.room.name, start.name, start.info)
            outlet = _Ghost(lambda text: self._send_back(place, key, text))
            address = f"{key[0].hex()}/{key[1]}"  # no limit counts talkers of a relay together
            ghost = self._rooms.join(hello, outlet, address, self._now_ms, remote=True)
            place.ghosts[key] = ghost
        elif ghost.stream is not None and ghost.stream.info != start.info:
            self._rooms.control(ghost, StreamUpdate(start.info), self._now_ms)
        if ghost.stream is not None and ghost.stream.muted != muted:
            self._rooms.control(ghost, Mute(muted), self._now_ms)

    def _deliver(self, place: _Place, stream: int, body: bytes) -> None:
        """Something for a talker who is connected here: from node (8 bytes), and a message."""
        found = [m for m in place.members if m.stream is not None and m.stream.number == stream]
        message = parse_message(body[8:].decode())
        if not found or message is None:
            return
        if isinstance(message, CopiesWanted):
            self._rooms.want_elsewhere(place.room, found[0], body[:8], message.copies)
        elif isinstance(message, Report | Remove | Silence):
            self._rooms.from_elsewhere(found[0], message, self._now_ms)

    def _introduce(self, place: _Place, member: Member) -> None:
        stream = member.stream
        if stream is None:
            return
        body = bytes([stream.quiet]) + serialize_message(stream.start()).encode()
        self._publish(place, _Kind.START, self._node, stream.number, body)

    def _send_back(self, place: _Place, key: tuple[bytes, int], text: str) -> None:
        self._publish(place, _Kind.FOR, *key, self._node + text.encode())

    def _by_our_clock(self, capture: Capture, node: bytes) -> Capture | None:
        other = self._nodes.get(node)
        if other is None or not other.offsets:
            return None
        # The quickest heartbeat's: the others took longer on the way.
        return dataclasses.replace(capture, relay_ms=capture.relay_ms + min(other.offsets))

    def _publish(
        self, place: _Place, kind: _Kind, node: bytes, stream: int, body: bytes = b""
    ) -> None:
        self._bus.publish(place.topic, _HEAD.pack(kind, node, stream) + body)


def topic_of(room: str) -> str:
    """Names of rooms may hold what topics may not, and need not be seen by who runs the bus."""
    return hashlib.sha256(room.encode()).hexdigest()[:32]
