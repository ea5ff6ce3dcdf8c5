import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamcodec.errors import MalformedMessage, UnsupportedHello
from streamcodec.wire.message_json import parse_message, serialize_message
from streamcodec.wire.session import (
    Capture,
    CopiesWanted,
    Error,
    Hello,
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
)

PROTOCOL = Path(__file__).parents[1] / "docs" / "protocol.md"
INFO = StreamInfo("0123456789abcdef", 16_000, 1, 320, 5, 6_000)
MESSAGES: list[Message] = [
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
    Who(),
    Members((Present(12, "Ada", Role.TALK, 3, False, "192.0.2.7"),), more=False),
    Members((Present(12, "Lis", Role.LISTEN, None, False, ""),), more=True),
    Remove(12),
    Silence(12, True),
    Silenced(True),
    Error(4404, "no room cellar"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_is_parsed_as_it_was_serialized(message: Message) -> None:
    assert parse_message(serialize_message(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_unknown_fields_are_ignored(message: Message) -> None:
    fields = json.loads(serialize_message(message))
    assert parse_message(json.dumps({**fields, "from_the_future": [1]})) == message


def test_names_of_a_newer_unicode_are_taken() -> None:
    """A browser's emoji may be younger than the relay's Python."""
    name = "Ada \U0001fae9"
    hello = parse_message(serialize_message(Hello(Role.LISTEN, "hall", name)))
    assert isinstance(hello, Hello)
    assert hello.name == name


def test_examples_in_the_protocol_document() -> None:
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
def test_a_hello_of_another_version_has_an_error_of_its_own(rest: str) -> None:
    with pytest.raises(UnsupportedHello, match="version 1: this program speaks 3"):
        parse_message('{"type": "hello", "version": 1' + rest + "}")


def test_a_large_version_is_named_in_full() -> None:
    with pytest.raises(UnsupportedHello, match="version 1000000: this program"):
        parse_message('{"type": "hello", "version": 1000000}')


def test_messages_of_unknown_types_are_ignored() -> None:
    assert parse_message('{"type": "dance"}') is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "no JSON"),
        ("[]", 'JSON object with a string "type"'),
        ('{"type": 3}', 'JSON object with a string "type"'),
        ('{"type": "hello", "version": 3, "role": "listen"}', "hello lacks room"),
        (
            '{"type": "hello", "version": 3, "role": "sing", "room": "a"}',
            "talk, listen, both, got 'sing'",
        ),
        ('{"type": "hello", "version": 3, "role": "talk", "room": "a"}', "lacks stream_info"),
        (
            '{"type": "hello", "version": "2", "role": "listen", "room": "a"}',
            "hello.version must be a number, got '2'",
        ),
        (
            '{"type": "hello", "version": 3, "role": "listen", "room": ""}',
            "hello.room must not be empty",
        ),
        ('{"type": "hello", "version": 3, "role": "listen", "room": "a\\nb"}', "printable"),
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
        (
            '{"type": "stream_info", "info": {"model": "xyz"}}',
            "stream_info.info.model must be 16 hex digits, got 'xyz'",
        ),
        ('{"type": "mute"}', "mute lacks muted"),
    ],
)
def test_errors_name_message_and_field(text: str, error: str) -> None:
    with pytest.raises(MalformedMessage, match=re.escape(error)):
        parse_message(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(MESSAGES), st.data(), JSON)
def test_a_message_with_one_field_changed_is_parsed_or_refused_by_name(
    message: Message, draw: st.DataObject, value: object
) -> None:
    fields = json.loads(serialize_message(message))
    assume(len(fields) > 1)  # "who" says nothing more
    name = draw.draw(st.sampled_from(sorted(set(fields) - {"type"})))
    text = json.dumps({**fields, name: value})
    try:
        parsed = parse_message(text)
    except UnsupportedHello as error:
        assert (fields["type"], name) == ("hello", "version")
        assert f"version {value}" in str(error)
    except MalformedMessage as error:
        assert re.match(rf"{fields['type']}(\.{name}| lacks )", str(error))
        assert "\n" not in str(error)
    else:
        assert type(parsed) is type(message)
        assert parse_message(serialize_message(parsed)) == parsed


@given(st.text(max_size=60))
def test_other_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        parse_message(text)
    assert "\n" not in str(refused.value)


def test_a_deeply_nested_message_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="no JSON"):
        parse_message("[" * 100_000)


def test_an_oversized_message_is_refused_before_it_is_sent() -> None:
    for text in ("x" * 5000, "\N{GRINNING FACE}" * 1100):  # bytes count, not characters
        with pytest.raises(MalformedMessage, match="at most 4096"):
            serialize_message(Error(4400, text))


def test_a_message_that_was_accepted_can_be_forwarded() -> None:
    """Escapes would make names in other alphabets longer than a message may be."""
    text = json.dumps(
        {"type": "report", "stream": 1, "statistics": {f"{i}" + "é" * 60: 1 for i in range(30)}},
        ensure_ascii=False,
    )
    message = parse_message(text)
    assert message is not None
    assert len(serialize_message(message).encode()) <= len(text.encode()) + 20
