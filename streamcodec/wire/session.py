"""Control messages: JSON objects in text frames of the subprotocol `streamcodec.v1`
(docs/protocol.md). Sans-I/O.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from ..config import (
    LATENTS_PER_PAYLOAD,
    MAX_CHANNELS,
    MAX_LEVEL,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
)
from ..errors import MalformedMessage
from .packet import SEQUENCE_MODULUS, VERSION
from .redundancy import MAX_COPIES

SUBPROTOCOL = "streamcodec.v1"
MAX_MESSAGE_BYTES = 4096
MAX_NAME_CHARACTERS = 64
MAX_REPORT_FIELDS = 32
MAX_LISTENER = (1 << 53) - 1  # what every JSON reader takes for an integer
MAX_REPORT_NUMBER = 1e18  # JSON has no infinity; Python would read and write one all the same
T = TypeVar("T")


class UnsupportedHello(MalformedMessage):
    """A hello of another protocol version: what else it says is not ours to judge."""


class CloseCode(enum.IntEnum):
    """Why a connection ends. 1000-1013 as in RFC 6455 and IANA's register, 44xx our own, named
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
    """What a connection is for."""

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
    """What a decoder must know. model: 16 hex digits. sample_rate in Hz; packet_samples of each
    payload at that rate; base_level: quality level that payloads are cheapest near; bitrate_bps 0
    where the talker sends constant quality; redundancy: of how many packets before it a packet may
    carry copies, for listeners that take them.
    """

    model: str
    sample_rate: int
    channels: int
    packet_samples: int
    latents_per_payload: int
    base_level: int
    bitrate_bps: int = 0
    redundancy: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Hello:
    """Client to relay, first message of a connection. A talker brings its stream_info. resume: the
    session of the connection before, whose stream goes on. copies: of how many packets before one a
    listener takes copies; the relay leaves the others out.
    """

    role: Role
    room: str
    name: str = ""
    stream_info: StreamInfo | None = None
    version: int = VERSION
    resume: str = ""
    copies: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class StreamStart:
    """Relay to listeners: a talker came, or changed its info. `stream` is the number that its
    packets bear.
    """

    stream: int
    name: str
    info: StreamInfo


@dataclasses.dataclass(frozen=True, slots=True)
class Welcome:
    """Relay to client. `stream` is the number of the client's own stream, None for a listener;
    `streams` who talks already, as far as one message holds them: a stream_start follows for each
    of the others.
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
    """Listener to relay to talkers: what the receiver sees of one stream, in numbers by name.
    `name` is the listener's, and `listener` a number that tells it from others of that name; both
    are set by the relay.
    """

    stream: int
    statistics: dict[str, float]
    name: str = ""
    listener: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Mute:
    """Talker to relay to listeners: no packets are meant to come for now. `stream` is set by the
    relay.
    """

    muted: bool
    stream: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Time:
    """Client to relay, which answers with its own time; ms of monotonic clocks with origins of
    their own.
    """

    sent_ms: float
    relay_ms: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Capture:
    """Talker to relay to listeners: sample `capture_time` of the stream was captured at relay_ms by
    the relay's clock. `stream` is set by the relay.
    """

    capture_time: int
    relay_ms: float
    stream: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class CopiesWanted:
    """Relay to talker: the most copies that any of its listeners takes, 0 until it has said
    otherwise.
    """

    copies: int


@dataclasses.dataclass(frozen=True, slots=True)
class Error:
    """Relay to client, last message before it closes with `code`."""

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
    | Error
)


def serialize_message(message: Message) -> str:
    """Raises MalformedMessage where the text would be longer than either side takes."""
    fields = {"type": _TYPE_NAMES[type(message)], **dataclasses.asdict(message)}
    # escapes would double the size of many a name
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    if (size := len(text.encode())) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"message of {size} bytes: at most {MAX_MESSAGE_BYTES} are allowed")
    return text


def parse_message(text: str) -> Message | None:
    """None for types this version does not know. Raises MalformedMessage, naming the field, and
    UnsupportedHello where only the version is to blame. Unknown fields are ignored.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"control message is no JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise MalformedMessage('control message must be a JSON object with a string "type"')
    parser = _PARSERS.get(fields["type"])
    return None if parser is None else parser(_Fields(fields["type"], fields))


class _Fields:
    """Typed access to the fields of one message; every complaint names message and field."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self._where, self._values = where, values

    def text(self, name: str, default: str | None = None, most: int = MAX_NAME_CHARACTERS) -> str:
        value = self._get(name, str, "a string", default)
        if len(value) > most:
            raise MalformedMessage(
                f"{self._where}.{name}: at most {most} characters are allowed, got {len(value)}"
            )
        if not value.isprintable():
            raise MalformedMessage(f"{self._where}.{name}: only printable characters are allowed")
        return value

    def name(self, name: str) -> str:
        if not (value := self.text(name)):
            raise MalformedMessage(f"{self._where}.{name} must not be empty")
        return value

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._get(name, int, "an integer", default)
        if isinstance(value, bool) or not low <= value <= high:
            raise MalformedMessage(f"{self._where}.{name} must be {low} to {high}, got {value!r}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value: float = self._get(name, (int, float), "a number", default)
        if isinstance(value, bool) or not abs(value) <= MAX_REPORT_NUMBER:
            raise MalformedMessage(
                f"{self._where}.{name} must be a number within {MAX_REPORT_NUMBER:g}, got {value!r:.40}"
            )
        return value

    def boolean(self, name: str) -> bool:
        return self._get(name, bool, "true or false", None)

    def numbers(self, name: str) -> dict[str, float]:
        values: dict[str, float] = self._get(name, dict, "an object", None)
        if len(values) > MAX_REPORT_FIELDS:
            raise MalformedMessage(
                f"{self._where}.{name}: at most {MAX_REPORT_FIELDS} numbers are allowed, got {len(values)}"
            )
        for key, value in values.items():
            number = (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and abs(value) <= MAX_REPORT_NUMBER
            )
            if not number or len(key) > MAX_NAME_CHARACTERS or not key.isprintable():
                raise MalformedMessage(
                    f"{self._where}.{name} must hold numbers by name, got {key!r:.40}: {value!r:.40}"
                )
        return values

    def section(self, name: str) -> _Fields:
        return _Fields(f"{self._where}.{name}", self._get(name, dict, "an object", None))

    def sections(self, name: str) -> list[_Fields]:
        values: list[Any] = self._get(name, list, "a list", None)
        if not all(isinstance(value, dict) for value in values):
            raise MalformedMessage(f"{self._where}.{name} must be a list of objects")
        return [_Fields(f"{self._where}.{name}[{i}]", value) for i, value in enumerate(values)]

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def _get(
        self, name: str, kind: type[T] | tuple[type[T], ...], described: str, default: T | None
    ) -> T:
        value = self._values.get(name, default)
        if not isinstance(value, kind):
            raise MalformedMessage(
                f"{self._where}.{name} must be {described}, got {value!r:.40}"
                if name in self._values
                else f"{self._where} lacks {name}"
            )
        return value


def _parse_info(fields: _Fields) -> StreamInfo:
    model = fields.text("model", most=16)
    if len(model) != 16 or not set(model) <= set("0123456789abcdef"):
        raise MalformedMessage(f"stream info: model must be 16 hex digits, got {model!r}")
    return StreamInfo(
        model,
        fields.integer("sample_rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        fields.integer("channels", 1, MAX_CHANNELS),
        fields.integer("packet_samples", 1, MAX_SAMPLE_RATE),
        fields.integer("latents_per_payload", LATENTS_PER_PAYLOAD[0], LATENTS_PER_PAYLOAD[-1]),
        fields.integer("base_level", 0, MAX_LEVEL),
        fields.integer("bitrate_bps", 0, 1_000_000, 0),
        fields.integer("redundancy", 0, MAX_COPIES, 0),
    )


def _parse_stream(fields: _Fields) -> StreamStart:
    return StreamStart(
        fields.integer("stream", 0, 0xFFFF),
        fields.text("name", ""),
        _parse_info(fields.section("info")),
    )


def _parse_hello(fields: _Fields) -> Hello:
    if (version := fields.integer("version", 0, 1 << 16)) != VERSION:
        raise UnsupportedHello(
            f"hello of protocol version {version}: this program speaks {VERSION}"
        )
    role = fields.text("role")
    if role not in list(Role):
        raise MalformedMessage(f"hello.role must be one of {', '.join(Role)}, got {role!r}")
    info = _parse_info(fields.section("stream_info")) if fields.has("stream_info") else None
    if info is None and Role(role).talks:
        raise MalformedMessage(f"hello lacks stream_info: role {role} sends audio")
    resume, copies = fields.text("resume", ""), fields.integer("copies", 0, MAX_COPIES, 0)
    return Hello(
        Role(role), fields.name("room"), fields.text("name", ""), info, version, resume, copies
    )


def _parse_welcome(fields: _Fields) -> Welcome:
    return Welcome(
        fields.name("session"),
        fields.name("room"),
        fields.integer("stream", 0, 0xFFFF) if fields.has("stream") else None,
        tuple(_parse_stream(s) for s in fields.sections("streams")),
        fields.integer("talkers", 0, 1 << 31),
        fields.integer("listeners", 0, 1 << 31),
    )


_PARSERS: dict[str, Callable[[_Fields], Message]] = {
    "hello": _parse_hello,
    "welcome": _parse_welcome,
    "stream_start": _parse_stream,
    "stream_end": lambda f: StreamEnd(f.integer("stream", 0, 0xFFFF)),
    "stream_info": lambda f: StreamUpdate(_parse_info(f.section("info"))),
    "report": lambda f: Report(
        f.integer("stream", 0, 0xFFFF),
        f.numbers("statistics"),
        f.text("name", ""),
        f.integer("listener", 0, MAX_LISTENER, 0),
    ),
    "mute": lambda f: Mute(f.boolean("muted"), f.integer("stream", 0, 0xFFFF, 0)),
    "time": lambda f: Time(f.number("sent_ms"), f.number("relay_ms", 0.0)),
    "capture": lambda f: Capture(
        f.integer("capture_time", 0, SEQUENCE_MODULUS - 1),
        f.number("relay_ms"),
        f.integer("stream", 0, 0xFFFF, 0),
    ),
    "copies_wanted": lambda f: CopiesWanted(f.integer("copies", 0, MAX_COPIES)),
    "error": lambda f: Error(
        f.integer("code", 1000, 4999), f.text("message", most=MAX_MESSAGE_BYTES)
    ),
}
_TYPE_NAMES: dict[type, str] = {
    Hello: "hello",
    Welcome: "welcome",
    StreamStart: "stream_start",
    StreamEnd: "stream_end",
    StreamUpdate: "stream_info",
    Report: "report",
    Mute: "mute",
    Time: "time",
    Capture: "capture",
    CopiesWanted: "copies_wanted",
    Error: "error",
}
