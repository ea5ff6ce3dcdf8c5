"""Control messages as JSON text (docs/protocol.md). Sans-I/O."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, TypeVar

from ..config import (
    MAX_CHANNELS,
    MAX_LEVEL,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
)
from ..errors import MalformedMessage, UnsupportedHello
from .packet import SEQUENCE_MODULUS, STREAM_NUMBERS, VERSION
from .redundancy import MAX_COPY_DISTANCE
from .session import (
    MAX_MESSAGE_BYTES,
    MAX_NAME_CHARACTERS,
    MOST_LISTENING_NAMED,
    Capture,
    CopiesWanted,
    Error,
    Hello,
    Listening,
    Members,
    Message,
    Mute,
    Present,
    Remove,
    Report,
    Role,
    Silence,
    Silenced,
    StreamEnd,
    StreamInfo,
    StreamStart,
    StreamUpdate,
    Time,
    Welcome,
    Who,
    is_printable,
)

MODEL_DIGITS = 16
KEY_ID_DIGITS = 16
MAX_BITRATE_BPS = 1_000_000
MAX_REPORT_FIELDS = 32
REPORTED_COUNTS = frozenset(
    (
        *("received", "played", "lost", "late", "duplicate", "skipped", "concealed"),
        *("underruns", "restarts", "recovered", "payload_bytes", "wire_bytes", "bad_payloads"),
    )
)
MAX_LISTENER = (1 << 53) - 1  # larger integers lose digits in JSON readers that use doubles
MAX_NUMBER = 1e18  # JSON has no infinity, although Python reads and writes one
MAX_MEMBERS = 1 << 31
MAX_TOKEN_CHARACTERS = 2_048
T = TypeVar("T")


def serialize_message(message: Message) -> str:
    """Raises MalformedMessage where the text would be longer than MAX_MESSAGE_BYTES."""
    fields = {"type": _TYPES[type(message)], **dataclasses.asdict(message)}
    # Escaped, names in other alphabets than Latin would take twice the bytes of UTF-8.
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    if (size := len(text.encode())) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"message of {size} bytes: at most {MAX_MESSAGE_BYTES} are allowed")
    return text


def parse_message(text: str) -> Message | None:
    """None for types that this version does not know; unknown fields are ignored. Raises
    MalformedMessage, naming the field, and UnsupportedHello for another protocol version.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"control message is no JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise MalformedMessage('control message must be a JSON object with a string "type"')
    if fields["type"] not in _FORMATS:
        return None
    _, parse = _FORMATS[fields["type"]]
    return parse(_Fields(fields["type"], fields))


class _Fields:
    """Typed access to the fields of one message. Methods raise MalformedMessage naming message and
    field.
    """

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self._where, self._values = where, values

    def text(self, name: str, default: str | None = None, most: int = MAX_NAME_CHARACTERS) -> str:
        value = self._get(name, str, "a string", default)
        if len(value) > most:
            raise MalformedMessage(
                f"{self._where}.{name}: at most {most} characters are allowed, got {len(value)}"
            )
        if not is_printable(value):
            raise MalformedMessage(f"{self._where}.{name}: only printable characters are allowed")
        return value

    def name(self, name: str) -> str:
        if not (value := self.text(name)):
            raise MalformedMessage(f"{self._where}.{name} must not be empty")
        return value

    def role(self, name: str) -> Role:
        value = self.text(name)
        if value not in list(Role):
            allowed = ", ".join(Role)
            raise MalformedMessage(f"{self._where}.{name} must be one of {allowed}, got {value!r}")
        return Role(value)

    def hex_digits(self, name: str, count: int) -> str:
        value = self.text(name, most=count)
        if len(value) != count or not set(value) <= set("0123456789abcdef"):
            raise MalformedMessage(
                f"{self._where}.{name} must be {count} hex digits, got {value!r}"
            )
        return value

    def digits_if_any(self, name: str, count: int) -> str:
        """As `hex_digits`, or "" where there are none."""
        return self.hex_digits(name, count) if self.text(name, "") else ""

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._get(name, int, "an integer", default)
        if isinstance(value, bool) or not low <= value <= high:
            raise MalformedMessage(f"{self._where}.{name} must be {low} to {high}, got {value!r}")
        return value

    def stream(self, default: int | None = None) -> int:
        return self.integer("stream", 0, STREAM_NUMBERS - 1, default)

    def member(self) -> int:
        return self.integer("member", 0, MAX_LISTENER)

    def number(self, name: str, default: float | None = None) -> float:
        value: float = self._get(name, (int, float), "a number", default)
        if not _is_number(value):
            raise MalformedMessage(
                f"{self._where}.{name} must be a number within {MAX_NUMBER:g}, got {value!r:.40}"
            )
        return value

    def boolean(self, name: str, default: bool | None = None) -> bool:
        return self._get(name, bool, "true or false", default)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        values: list[Any] = self._get(name, list, "a list", None)
        if len(values) > most:
            raise MalformedMessage(
                f"{self._where}.{name}: at most {most} are allowed, got {len(values)}"
            )
        items = [_Fields(f"{self._where}.{name}", {str(i): v}) for i, v in enumerate(values)]
        return tuple(item.text(str(i)) for i, item in enumerate(items))

    def numbers(self, name: str) -> dict[str, float]:
        values: dict[str, float] = self._get(name, dict, "an object", None)
        if len(values) > MAX_REPORT_FIELDS:
            raise MalformedMessage(
                f"{self._where}.{name}: at most {MAX_REPORT_FIELDS} numbers are allowed, "
                f"got {len(values)}"
            )
        for key, value in values.items():
            named = len(key) <= MAX_NAME_CHARACTERS and is_printable(key)
            if not named or not _is_number(value):
                raise MalformedMessage(
                    f"{self._where}.{name} must hold numbers by name, "
                    f"got {key!r:.40}: {value!r:.40}"
                )
            low, high = _range_of(key)
            if not low <= value <= high:
                raise MalformedMessage(
                    f"{self._where}.{name}.{key} must be {low:g} to {high:g}, got {value!r:.40}"
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


def _is_number(value: object) -> bool:
    """Finite and of a size that every JSON reader takes; Python counts True as an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_NUMBER


def _range_of(statistic: str) -> tuple[float, float]:
    """In which a number of a report lies, by its name; of those that we do not know, too."""
    if statistic == "mos":
        return 1, 5
    if statistic.endswith("_percent"):
        return 0, 100
    return (0 if statistic in REPORTED_COUNTS else -MAX_NUMBER), MAX_NUMBER


def _parse_info(fields: _Fields) -> StreamInfo:
    return StreamInfo(
        fields.hex_digits("model", MODEL_DIGITS),
        fields.integer("sample_rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
        fields.integer("channels", 1, MAX_CHANNELS),
        fields.integer("packet_samples", 1, MAX_SAMPLE_RATE),
        fields.integer("base_level", 0, MAX_LEVEL),
        fields.integer("bitrate_bps", 0, MAX_BITRATE_BPS, 0),
        fields.integer("redundancy", 0, MAX_COPY_DISTANCE, 0),
        fields.digits_if_any("key_id", KEY_ID_DIGITS),
        fields.digits_if_any("high_band", MODEL_DIGITS),
        fields.digits_if_any("joint_stereo", MODEL_DIGITS),
    )


def _parse_hello(fields: _Fields) -> Hello:
    # First, because in another version the other fields may mean something else.
    if (version := fields.number("version")) != VERSION:
        raise UnsupportedHello(
            f"hello of protocol version {version}: this program speaks {VERSION}"
        )
    role = fields.role("role")
    info = _parse_info(fields.section("stream_info")) if fields.has("stream_info") else None
    if info is None and role.talks:
        raise MalformedMessage(f"hello lacks stream_info: role {role} sends audio")
    return Hello(
        role,
        fields.name("room"),
        fields.text("name", ""),
        info,
        VERSION,
        fields.text("resume", ""),
        fields.integer("copies", 0, MAX_COPY_DISTANCE, 0),
        fields.text("token", "", MAX_TOKEN_CHARACTERS),
        fields.boolean("presence", False),
    )


def _parse_welcome(fields: _Fields) -> Welcome:
    return Welcome(
        fields.name("session"),
        fields.name("room"),
        fields.stream() if fields.has("stream") else None,
        tuple(_parse_stream_start(s) for s in fields.sections("streams")),
        fields.integer("talkers", 0, MAX_MEMBERS),
        fields.integer("listeners", 0, MAX_MEMBERS),
    )


def _parse_stream_start(fields: _Fields) -> StreamStart:
    return StreamStart(
        fields.stream(), fields.text("name", ""), _parse_info(fields.section("info"))
    )


def _parse_stream_end(fields: _Fields) -> StreamEnd:
    return StreamEnd(fields.stream())


def _parse_stream_info(fields: _Fields) -> StreamUpdate:
    return StreamUpdate(_parse_info(fields.section("info")))


def _parse_report(fields: _Fields) -> Report:
    return Report(
        fields.stream(),
        fields.numbers("statistics"),
        fields.text("name", ""),
        fields.integer("listener", 0, MAX_LISTENER, 0),
    )


def _parse_mute(fields: _Fields) -> Mute:
    return Mute(fields.boolean("muted"), fields.stream(0))


def _parse_time(fields: _Fields) -> Time:
    return Time(fields.number("sent_ms"), fields.number("relay_ms", 0.0))


def _parse_capture(fields: _Fields) -> Capture:
    return Capture(
        fields.integer("capture_time", 0, SEQUENCE_MODULUS - 1),
        fields.number("relay_ms"),
        fields.stream(0),
    )


def _parse_copies_wanted(fields: _Fields) -> CopiesWanted:
    return CopiesWanted(fields.integer("copies", 0, MAX_COPY_DISTANCE))


def _parse_who(fields: _Fields) -> Who:
    return Who()


def _parse_members(fields: _Fields) -> Members:
    present = tuple(
        Present(
            section.member(),
            section.text("name", ""),
            section.role("role"),
            section.stream() if section.has("stream") else None,
            section.boolean("silenced"),
            section.text("address", ""),
        )
        for section in fields.sections("members")
    )
    return Members(present, fields.boolean("more"))


def _parse_remove(fields: _Fields) -> Remove:
    return Remove(fields.member())


def _parse_silence(fields: _Fields) -> Silence:
    return Silence(fields.member(), fields.boolean("silenced"))


def _parse_listening(fields: _Fields) -> Listening:
    return Listening(
        fields.integer("listeners", 0, MAX_MEMBERS), fields.texts("names", MOST_LISTENING_NAMED)
    )


def _parse_silenced(fields: _Fields) -> Silenced:
    return Silenced(fields.boolean("silenced"))


def _parse_error(fields: _Fields) -> Error:
    return Error(fields.integer("code", 1000, 4999), fields.text("message", most=MAX_MESSAGE_BYTES))


# The "type" of each message, its class, and how its fields are read.
_FORMATS: dict[str, tuple[type[Message], Callable[[_Fields], Message]]] = {
    "hello": (Hello, _parse_hello),
    "welcome": (Welcome, _parse_welcome),
    "stream_start": (StreamStart, _parse_stream_start),
    "stream_end": (StreamEnd, _parse_stream_end),
    "stream_info": (StreamUpdate, _parse_stream_info),
    "report": (Report, _parse_report),
    "mute": (Mute, _parse_mute),
    "time": (Time, _parse_time),
    "capture": (Capture, _parse_capture),
    "copies_wanted": (CopiesWanted, _parse_copies_wanted),
    "who": (Who, _parse_who),
    "members": (Members, _parse_members),
    "remove": (Remove, _parse_remove),
    "silence": (Silence, _parse_silence),
    "silenced": (Silenced, _parse_silenced),
    "listening": (Listening, _parse_listening),
    "error": (Error, _parse_error),
}
_TYPES = {kind: name for name, (kind, _) in _FORMATS.items()}
