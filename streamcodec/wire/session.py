"""What client and relay say to each other: the types of control messages, roles and close codes
(docs/protocol.md). message_json.py reads and writes them. Sans-I/O.
"""

from __future__ import annotations

import dataclasses
import enum
import unicodedata
from typing import TypeAlias

from .packet import VERSION

SUBPROTOCOL = f"streamcodec.v{VERSION}"
MAX_MESSAGE_BYTES = 4096  # UTF-8
MAX_NAME_CHARACTERS = 64
MOST_LISTENING_NAMED = 16
UNASSIGNED = "Cn"  # characters of a newer Unicode than this Python's, such as this year's emoji


def is_printable(text: str) -> bool:
    """Whether a name may be made of these characters."""
    return text.isprintable() or all(
        c.isprintable() or unicodedata.category(c) == UNASSIGNED for c in text
    )


class CloseCode(enum.IntEnum):
    """Why a connection ends. 1000-1013 as in RFC 6455 and IANA's register; 44xx are our own, named
    after HTTP's.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    UNSUPPORTED_DATA = 1003
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    MALFORMED = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_SUCH_ROOM = 4404
    PUBLISHER_CONFLICT = 4409
    TOO_LARGE = 4413
    VERSION = 4426
    TOO_FAST = 4429
    TOO_SLOW = 4490


class Role(enum.StrEnum):
    """Whether a connection sends audio, receives it, or both."""

    TALK = "talk"
    LISTEN = "listen"
    BOTH = "both"

    @property
    def talks(self) -> bool:
        return self is not Role.LISTEN

    @property
    def listens(self) -> bool:
        return self is not Role.TALK


@dataclasses.dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a decoder must know about a stream.

    model: 16 hex digits. sample_rate: Hz. packet_samples: of each payload, at that rate.
    base_level: quality level that payloads are parsed with. bitrate_bps: 0 for constant quality.
    redundancy: a packet may carry a copy of one that lies at most so many packets back, for
    listeners that take it. key_id: 16 hex digits where payloads are encrypted end to end, else "".
    high_band: 16 hex digits of the tables that describe what is above that rate's band, at the end
    of each payload, where that is there, else "". joint_stereo: of those that tell the second
    channel by the first, where it is told so.
    """

    model: str
    sample_rate: int
    channels: int
    packet_samples: int
    base_level: int
    bitrate_bps: int = 0
    redundancy: int = 0
    key_id: str = ""
    high_band: str = ""
    joint_stereo: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Hello:
    """Client to relay, the first message of a connection.

    stream_info: required of a talker. resume: session of the previous connection, whose stream this
    one continues. copies: how many packets back a copy may lie that this listener takes; the relay
    removes others. token: leave to do so, where the relay asks for one. presence: whether the relay
    is to tell who only listens.
    """

    role: Role
    room: str
    name: str = ""
    stream_info: StreamInfo | None = None
    version: int = VERSION
    resume: str = ""
    copies: int = 0
    token: str = ""
    presence: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StreamStart:
    """Relay to listeners: a talker joined, or changed its info. `stream`: number in the header of
    its packets.
    """

    stream: int
    name: str
    info: StreamInfo


@dataclasses.dataclass(frozen=True, slots=True)
class Welcome:
    """Relay to client, its answer to a hello.

    stream: number of the client's own stream, None for a listener. streams: the other talkers, as
    many as one message holds; a stream_start follows for each of the rest.
    """

    session: str
    room: str
    stream: int | None
    streams: tuple[StreamStart, ...]
    talkers: int
    listeners: int


@dataclasses.dataclass(frozen=True, slots=True)
class StreamEnd:
    """Relay to listeners: a talker left."""

    stream: int


@dataclasses.dataclass(frozen=True, slots=True)
class StreamUpdate:
    """Talker to relay: new stream_info, for example after the bit rate changed."""

    info: StreamInfo


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Listener to relay to the talker of `stream`: reception statistics, numbers by name.

    The relay sets `name`, the listener's, and `listener`, a number that distinguishes listeners of
    the same name.
    """

    stream: int
    statistics: dict[str, float]
    name: str = ""
    listener: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Mute:
    """Talker to relay to listeners: the talker has stopped (or resumed) sending on purpose.
    `stream` is set by the relay.
    """

    muted: bool
    stream: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Time:
    """Client to relay, which sends it back with its own time. Both in ms of a monotonic clock; the
    origins of the two clocks differ.
    """

    sent_ms: float
    relay_ms: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Capture:
    """Talker to relay to listeners: sample `capture_time` of the stream was captured when the
    relay's clock showed relay_ms. `stream` is set by the relay.
    """

    capture_time: int
    relay_ms: float
    stream: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class CopiesWanted:
    """Relay to talker: how many packets back a copy may lie that any of its listeners takes. It is
    0 until the first such message of a connection.
    """

    copies: int


@dataclasses.dataclass(frozen=True, slots=True)
class Who:
    """Moderator to relay: who is in the room? The answer is one or more `Members`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listening:
    """Relay to members that asked for it: how many members only listen, and the names of those who
    came first, at most MOST_LISTENING_NAMED.
    """

    listeners: int
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Present:
    """Who is in a room. member: a number of the relay's. stream: of a talker, else None. silenced:
    what it sends is passed on to nobody. address: of the network that it comes from.
    """

    member: int
    name: str
    role: Role
    stream: int | None
    silenced: bool
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class Members:
    """Relay to moderator, as many as one message holds. more: another message follows."""

    members: tuple[Present, ...]
    more: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """Moderator to relay: that member must leave the room, and may not come back for a time."""

    member: int


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """Moderator to relay: what that member sends is passed on to nobody, or is again."""

    member: int
    silenced: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Silenced:
    """Relay to talker: a moderator has silenced it, or lets it speak again."""

    silenced: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Error:
    """Relay to client, the last message before the relay closes with `code`."""

    code: int
    message: str


Message: TypeAlias = (
    Hello
    | Welcome
    | StreamStart
    | StreamEnd
    | StreamUpdate
    | Report
    | Mute
    | Time
    | Capture
    | CopiesWanted
    | Who
    | Members
    | Remove
    | Silence
    | Silenced
    | Listening
    | Error
)
