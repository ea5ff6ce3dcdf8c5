"""Members of a room and the streams that talkers send. Sans-I/O."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable

from streamcodec.wire.redundancy import MAX_COPY_DISTANCE
from streamcodec.wire.session import Role, StreamInfo, StreamStart

from .mailbox import Mailbox

MAX_REPORTS_PER_S = 10  # that one talker is sent: a sample where a room has many listeners


class ReportLimit:
    """Lets the first MAX_REPORTS_PER_S reports of each second pass."""

    def __init__(self) -> None:
        self._second_began_ms, self._passed = 0.0, 0

    def passes(self, now_ms: float) -> bool:
        if now_ms - self._second_began_ms >= 1_000:
            self._second_began_ms, self._passed = now_ms, 0
        self._passed += 1
        return self._passed <= MAX_REPORTS_PER_S


@dataclasses.dataclass(eq=False)
class Stream:
    """What a talker sends. `resumed`: the session that began the stream, empty for a new stream.
    `copies_wanted`: the distance that the talker has been told.
    """

    number: int
    name: str
    info: StreamInfo
    resumed: str = ""
    muted: bool = False
    copies_wanted: int = 0
    reports: ReportLimit = dataclasses.field(default_factory=ReportLimit)

    def start(self) -> StreamStart:
        """The message that announces the stream to listeners."""
        return StreamStart(self.number, self.name, self.info)


@dataclasses.dataclass(eq=False)
class Member:
    """One connection. Compared by identity, because several members may have the same name.

    number: distinguishes them in reports. copies: how many packets back a copy may
    lie that a listener takes. stream: None for a listener. room: None once it has left. session: the secret that lets
    a later connection resume the stream.
    """

    role: Role
    name: str
    number: int
    mailbox: Mailbox
    copies: int
    stream: Stream | None
    room: Room | None
    session: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))


class Room:
    """The members of one room, in the order in which they joined."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Member, None] = {}  # an ordered set
        self.talkers: dict[Member, Stream] = {}
        self._listeners_taking = [0] * (MAX_COPY_DISTANCE + 1)  # index: packets back

    def add(self, member: Member) -> None:
        self.members[member] = None
        if member.stream is not None:
            self.talkers[member] = member.stream
        self._listeners_taking[member.copies] += member.role.listens

    def remove(self, member: Member) -> None:
        del self.members[member]
        self.talkers.pop(member, None)
        self._listeners_taking[member.copies] -= member.role.listens

    @property
    def listening(self) -> int:
        """Number of listeners."""
        return sum(self._listeners_taking)

    def listeners(self, but: Member | None = None) -> Iterable[Member]:
        return (m for m in self.members if m.role.listens and m is not but)

    def copies_wanted(self, talker: Member) -> int:
        """How many packets back a copy may lie that any listener but the talker itself takes."""
        own = talker.copies if talker.role.listens else None
        taken = [n for n, count in enumerate(self._listeners_taking) if count > (n == own)]
        return max(taken, default=0)
