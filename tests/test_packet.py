import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcodec.errors import MalformedPacket, UnsupportedVersion
from streamcodec.wire.packet import (
    KNOWN_FLAGS,
    MAX_PAYLOAD_BYTES,
    Flags,
    Packet,
    check,
    parse,
    restamp,
    sequence_distance,
    serialize,
)

PROTOCOL = Path(__file__).parents[1] / "docs" / "protocol.md"
U16, U32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
FLAGS = st.integers(0, KNOWN_FLAGS).map(Flags)


@given(FLAGS, U16, U32, U32, st.binary(min_size=1, max_size=100), st.integers(0, 7))
def test_a_packet_is_parsed_as_it_was_serialized(
    flags: Flags, stream: int, sequence: int, capture_time: int, payload: bytes, kind: int
) -> None:
    packet = Packet(flags, stream, sequence, capture_time, payload, kind)
    assert parse(serialize(packet)) == packet


def test_vectors_in_the_protocol_document() -> None:
    """docs/protocol.md shows each vector as a line `hex | flags | stream | sequence | capture time
    | payload hex`.
    """
    rows = re.findall(
        r"^\| `([0-9a-f]+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| `([0-9a-f]*)` \|$",
        PROTOCOL.read_text(),
        re.MULTILINE,
    )
    assert len(rows) >= 4
    for datagram, flags, stream, sequence, capture_time, payload in rows:
        packet = Packet(
            Flags(int(flags)), int(stream), int(sequence), int(capture_time), bytes.fromhex(payload)
        )
        assert serialize(packet).hex() == datagram
        assert parse(bytes.fromhex(datagram)) == packet


def valid(datagram: bytes) -> bool:
    """The rules of docs/protocol.md, written down a second time."""
    if len(datagram) < 12 or datagram[0] >> 4 != 3 or datagram[0] & 8:
        return False
    payload_bytes, kind, dtx = len(datagram) - 12, datagram[0] & 7, datagram[1] & 4
    return payload_bytes <= 1200 and bool(payload_bytes or kind or dtx)


@given(
    st.sampled_from([b"", b"\x30", b"\x31", b"\x38", b"\x20"]),
    st.binary(max_size=14),
    st.integers(0, 1300),
)
def test_exactly_the_valid_datagrams_are_accepted(first: bytes, rest: bytes, padding: int) -> None:
    for datagram in (first + rest, first + rest + bytes(padding)):
        if valid(datagram):
            check(datagram)
            assert parse(datagram).payload == datagram[12:]
        else:
            for reader in (parse, check):
                with pytest.raises(MalformedPacket):
                    reader(datagram)


@pytest.mark.parametrize(
    ("datagram", "error"),
    [
        (b"", "need 12 header bytes, got 0"),
        (b"\x30\0\0", "need 12 header bytes, got 3"),
        (b"\x30" + bytes(11), "empty payload"),
        (
            b"\x30" + bytes(11 + MAX_PAYLOAD_BYTES + 1),
            f"payload of {MAX_PAYLOAD_BYTES + 1} bytes: at most {MAX_PAYLOAD_BYTES}",
        ),
    ],
)
def test_errors_state_the_sizes(datagram: bytes, error: str) -> None:
    for reader in (parse, check):
        with pytest.raises(MalformedPacket, match=error):
            reader(datagram)


def test_another_version_has_an_error_of_its_own() -> None:
    with pytest.raises(UnsupportedVersion, match="version 1: this program speaks 3"):
        parse(b"\x10" + bytes(20))


def test_a_dtx_packet_may_be_empty() -> None:
    assert parse(b"\x30\x04" + bytes(10)) == Packet(Flags.DTX, 0, 0, 0, b"")


def test_a_packet_of_an_unknown_type_may_be_empty() -> None:
    assert parse(b"\x37" + bytes(11)) == Packet(Flags(0), 0, 0, 0, b"", type=7)


def test_a_payload_of_exactly_the_largest_size_is_accepted() -> None:
    packet = Packet(Flags(0), 0, 0, 0, bytes(MAX_PAYLOAD_BYTES))
    assert parse(serialize(packet)) == packet


def test_unknown_flags_are_neither_read_nor_written() -> None:
    assert parse(b"\x30\xf2" + bytes(11)).flags == Flags.VOICE
    packet = Packet(Flags(0xF2), 0, 0, 0, b"x")
    assert serialize(packet)[1] == Flags.VOICE


def test_restamp_changes_only_the_stream_number() -> None:
    packet = Packet(Flags.VOICE, 7, 1, 2, b"abc")
    assert parse(restamp(serialize(packet), 500)) == Packet(Flags.VOICE, 500, 1, 2, b"abc")


@pytest.mark.parametrize(
    "field", [{"stream": 1 << 16}, {"sequence": -1}, {"capture_time": 1 << 32}, {"type": 8}]
)
def test_fields_out_of_range_are_named(field: dict[str, int]) -> None:
    (name,) = field
    packet = dataclasses.replace(Packet(Flags(0), 0, 0, 0, b"x"), **field)  # type: ignore[arg-type]
    with pytest.raises(MalformedPacket, match=f"{name} must be 0 to .*, got {field[name]}"):
        serialize(packet)


@given(U32, st.integers(-(2**31), 2**31 - 1))
def test_sequence_distance_is_right_across_the_wrap(start: int, step: int) -> None:
    assert sequence_distance((start + step) % 2**32, start) == step
