"""Members of a room and the streams that talkers send. Sans-I/O."""

from __future__ import annotations

import dataclasses
import secrets

from streamcodec.wire.redundancy import MAX_COPY_DISTANCE
from streamcodec.wire.session import Role, StreamInfo, StreamStart
from streamcodec.wire.short_headers import Restorer

from .audience import Audience
from .budget import Budget
from .lateness import Lateness
from .mailbox import Mailbox
from .media import Outgoing

REPORTS_PER_S = 10  # that one talker is sent, of a room that has many listeners
LEAST_REPORT_INTERVAL_MS = 450.0  # of one listener: clients report once a second


@dataclasses.dataclass(eq=False, slots=True)
class Stream:
    """What a talker sends. `resumed`: the session that began the stream, empty for a new stream.
    `copies_wanted`: the distance that the talker has been told. `silenced`: by a moderator.
    `wanted_elsewhere`: how far back a copy may lie that listeners of other relays take, by relay.
    """

    number: int
    name: str
    info: StreamInfo
    resumed: str = ""
    muted: bool = False
    copies_wanted: int = 0
    silenced: bool = False
    wanted_elsewhere: dict[bytes, int] = dataclasses.field(default_factory=dict)
    lateness: Lateness = dataclasses.field(init=False)
    restorer: Restorer = dataclasses.field(init=False)
    outgoing: Outgoing = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.lateness = Lateness(self.info.sample_rate)
        self.restorer = Restorer(one_stream=True)
        self.outgoing = Outgoing(self.number)

    @property
    def quiet(self) -> bool:
        """Whether listeners are told that nothing comes."""
        return self.muted or self.silenced

    def start(self) -> StreamStart:
        """The message that announces the stream to listeners."""
        return StreamStart(self.number, self.name, self.info)


@dataclasses.dataclass(eq=False, slots=True)
class Budgets:
    """What one connection may send."""

    packets: Budget
    bytes: Budget
    control: Budget


@dataclasses.dataclass(eq=False, slots=True, weakref_slot=True)
class Member:
    """One connection. Compared by identity, because several members may have the same name.

    number: distinguishes them in reports. address: of the network that it comes from. copies: how
    many packets back a copy may lie that a listener takes. stream: None for a listener. room: None
    once it has left. identity: by which moderators' words about it are remembered; moderates: it is
    one. remote: it is connected to another relay. joined_ms: when. session: the secret that lets a
    later connection resume the stream. reported: when it last reported on a stream, by its number.
    """

    role: Role
    name: str
    number: int
    address: str
    mailbox: Mailbox
    budgets: Budgets
    copies: int
    stream: Stream | None
    room: Room | None
    identity: tuple[str, str, str] = ("", "", "")
    moderates: bool = False
    remote: bool = False
    joined_ms: float = 0.0
    session: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))
    reported: dict[int, float] = dataclasses.field(default_factory=dict)

    def may_report(self, stream: int, listeners: int, now_ms: float) -> bool:
        """Whether its turn has come again to report on a stream that so many listen to: each of
        them in its turn, so that a talker is sent about REPORTS_PER_S.
        """
        interval_ms = max(LEAST_REPORT_INTERVAL_MS, 1_000 * listeners / REPORTS_PER_S)
        last_ms = self.reported.get(stream)
        if last_ms is not None and now_ms - last_ms < interval_ms:
            return False
        self.reported[stream] = now_ms
        return True


class Room:
    """The members of one room, in the order in which they joined.

    only_listening: how many of them do not talk. watching: how many want to know of these;
    listening_told: what number they were told last.
    """

    __slots__ = (
        "_listeners_taking",
        "audience",
        "listening_told",
        "members",
        "name",
        "only_listening",
        "talkers",
        "watching",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Member, None] = {}  # an ordered set
        self.talkers: dict[Member, Stream] = {}
        self.audience = Audience()
        self.only_listening = self.listening_told = self.watching = 0
        self._listeners_taking = [0] * (MAX_COPY_DISTANCE + 1)  # index: packets back

    def add(self, member: Member) -> None:
        self.members[member] = None
        if member.stream is not None:
            self.talkers[member] = member.stream
        if member.role.listens:
            self._listeners_taking[member.copies] += 1
            self.only_listening += member.stream is None
            self.watching += member.mailbox.watches
            self.audience.add(member.mailbox)
            for stream in self.talkers.values():
                stream.outgoing.forget(member.mailbox.place)

    def remove(self, member: Member) -> None:
        del self.members[member]
        self.talkers.pop(member, None)
        if member.role.listens:
            self._listeners_taking[member.copies] -= 1
            self.only_listening -= member.stream is None
            self.watching -= member.mailbox.watches
            self.audience.remove(member.mailbox)
        if member.stream is not None:
            member.stream.outgoing.ended = True

    @property
    def listening(self) -> int:
        """Number of listeners."""
        return sum(self._listeners_taking)

    def copies_wanted(self, talker: Member) -> int:
        """How many packets back a copy may lie that any listener but the talker itself takes."""
        own = talker.copies if talker.role.listens else None
        taken = [n for n, count in enumerate(self._listeners_taking) if count > (n == own)]
        return max(taken, default=0)
