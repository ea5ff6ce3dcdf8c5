import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcodec.errors import MalformedMessage, UnsupportedHello
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import (
    Capture,
    CopiesWanted,
    Error,
    Hello,
    Mute,
    Report,
    Role,
    StreamEnd,
    StreamInfo,
    StreamStart,
    StreamUpdate,
    Time,
    Welcome,
)

PROTOCOL = Path(__file__).parents[1] / "docs" / "protocol.md"
INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 1, 5, 6_000)
MESSAGES = [
    Hello(Role.LISTEN, "lobby"),
    Hello(Role.LISTEN, "lobby", copies=4),
    Hello(Role.BOTH, "lobby", "Ada", INFO),
    Welcome("s1", "lobby", 3, (StreamStart(2, "Bob", INFO),), 2, 1),
    Welcome("s1", "lobby", None, (), 0, 1),
    StreamStart(2, "Bob", INFO),
    StreamEnd(2),
    StreamUpdate(INFO),
    Report(2, {"lost": 1, "buffer_ms": 61.5}, "Bob", 7),
    Time(5_120.25, 88_042.5),
    CopiesWanted(2),
    Capture(320, 88_040.0, 3),
    Mute(True, 4),
    Error(4404, "no room cellar"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: object) -> None:
    assert parse_message(serialize_message(message)) == message  # type: ignore[arg-type]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_unknown_fields_are_ignored(message: object) -> None:
    fields = json.loads(serialize_message(message))  # type: ignore[arg-type]
    assert parse_message(json.dumps({**fields, "from_the_future": [1]})) == message


def test_the_documents_examples_hold() -> None:
    """docs/protocol.md shows one message of each type, as it is serialized."""
    section = (
        PROTOCOL.read_text()
        .partition("### Examples")[2]
        .partition("```json\n")[2]
        .partition("```")[0]
    )
    examples = [parse_message(line) for line in section.splitlines()]
    assert {type(message) for message in examples} == {type(message) for message in MESSAGES}
    for line, message in zip(section.splitlines(), examples, strict=True):
        assert message is not None
        assert serialize_message(message) == line


@pytest.mark.parametrize(
    "rest", ["", ', "role": "sing"', ', "role": "talk", "room": 7, "stream_info": []']
)
def test_another_version_is_told_apart_whatever_else_it_says(rest: str) -> None:
    with pytest.raises(UnsupportedHello, match="version 2: this program speaks 1"):
        parse_message('{"type": "hello", "version": 2' + rest + "}")


def test_unknown_types_are_ignored() -> None:
    assert parse_message('{"type": "dance"}') is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no JSON"),
        ("[]", 'JSON object with a string "type"'),
        ('{"type": 3}', 'JSON object with a string "type"'),
        ('{"type": "hello", "version": 1, "role": "listen"}', "hello lacks room"),
        (
            '{"type": "hello", "version": 1, "role": "sing", "room": "a"}',
            "talk, listen, both, got 'sing'",
        ),
        ('{"type": "hello", "version": 1, "role": "talk", "room": "a"}', "lacks stream_info"),
        (
            '{"type": "hello", "version": "1", "role": "listen", "room": "a"}',
            "hello.version must be an integer",
        ),
        (
            '{"type": "hello", "version": 1, "role": "listen", "room": ""}',
            "hello.room must not be empty",
        ),
        ('{"type": "hello", "version": 1, "role": "listen", "room": "a\\nb"}', "printable"),
        (
            '{"type": "stream_end", "stream": 65536}',
            "stream_end.stream must be 0 to 65535, got 65536",
        ),
        (
            '{"type": "stream_end", "stream": true}',
            "stream_end.stream must be 0 to 65535, got True",
        ),
        ('{"type": "report", "stream": 1, "statistics": {"lost": "many"}}', "numbers by name"),
        ('{"type": "report", "stream": 1, "statistics": {"lost": NaN}}', "numbers by name"),
        ('{"type": "report", "stream": 1, "statistics": {"lost": 1e999}}', "numbers by name"),
        (
            '{"type": "report", "stream": 1, "statistics": {"lost": 1' + "0" * 400 + "}}",
            "numbers by name",
        ),
        ('{"type": "report", "stream": 1, "statistics": {"\\ud800": 1}}', "numbers by name"),
        ('{"type": "stream_info", "info": {"model": "xyz"}}', "16 hex digits"),
        ('{"type": "mute"}', "mute lacks muted"),
    ],
)
def test_complaints_name_message_and_field(text: str, complaint: str) -> None:
    with pytest.raises(MalformedMessage, match=complaint.replace("(", r"\(")):
        parse_message(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELD = st.sampled_from(
    [
        "version",
        "role",
        "room",
        "name",
        "stream_info",
        "streams",
        "stream",
        "info",
        "statistics",
        "muted",
        "code",
    ]
)
TYPE = st.sampled_from(
    ["hello", "welcome", "stream_start", "stream_end", "stream_info", "report", "mute", "error"]
)


@given(TYPE, st.dictionaries(FIELD, JSON, max_size=8))
def test_any_object_parses_or_raises_one_error(kind: str, fields: dict[str, object]) -> None:
    try:
        message = parse_message(json.dumps({"type": kind, **fields}))
    except MalformedMessage:
        return
    assert message is not None


@given(st.text(max_size=60))
def test_any_text_parses_or_raises_one_error(text: str) -> None:
    try:
        parse_message(text)
    except MalformedMessage as error:
        assert "\n" not in str(error)


def test_a_deeply_nested_message_is_one_error() -> None:
    with pytest.raises(MalformedMessage):
        parse_message("[" * 100_000)


def test_an_oversized_message_is_refused_before_it_is_sent() -> None:
    for text in ("x" * 5000, "\N{GRINNING FACE}" * 1100):  # bytes count, not characters
        with pytest.raises(MalformedMessage, match="at most 4096"):
            serialize_message(Error(4400, text))


def test_what_any_client_may_send_can_be_sent_on() -> None:
    """Names of another alphabet are not blown up by escapes."""
    text = json.dumps(
        {"type": "report", "stream": 1, "statistics": {f"{i}" + "é" * 60: 1 for i in range(30)}},
        ensure_ascii=False,
    )
    assert len(serialize_message(parse_message(text)).encode()) <= len(text.encode()) + 20  # type: ignore[arg-type]
