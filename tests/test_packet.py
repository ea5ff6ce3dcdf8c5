import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcodec.errors import MalformedPacket, UnsupportedVersion
from streamcodec.wire.packet import (
    HEADER_BYTES,
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


@given(FLAGS, U16, U32, U32, st.binary(min_size=1, max_size=100), st.integers(0, 15))
def test_round_trip(
    flags: Flags, stream: int, sequence: int, capture_time: int, payload: bytes, kind: int
) -> None:
    packet = Packet(flags, stream, sequence, capture_time, payload, kind)
    assert parse(serialize(packet)) == packet


def test_vectors_of_the_document_hold() -> None:
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


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_raise_one_error(datagram: bytes) -> None:
    try:
        packet = parse(datagram)
    except MalformedPacket:
        return
    assert len(packet.payload) == len(datagram) - HEADER_BYTES


@pytest.mark.parametrize(
    ("datagram", "complaint"),
    [
        (b"", "need 12 header bytes, got 0"),
        (b"\x10\0\0", "need 12 header bytes, got 3"),
        (b"\x10" + bytes(11), "empty payload"),
        (
            b"\x10" + bytes(11 + MAX_PAYLOAD_BYTES + 1),
            f"payload of {MAX_PAYLOAD_BYTES + 1} bytes: at most {MAX_PAYLOAD_BYTES}",
        ),
    ],
)
def test_complaints_have_numbers_in_them(datagram: bytes, complaint: str) -> None:
    for reader in (parse, check):
        with pytest.raises(MalformedPacket, match=complaint):
            reader(datagram)


def test_another_version_is_told_apart() -> None:
    with pytest.raises(UnsupportedVersion, match="version 2: this program speaks 1"):
        parse(b"\x20" + bytes(20))


def test_silence_may_be_empty_and_unknown_flags_are_dropped() -> None:
    assert parse(b"\x10\x04" + bytes(10)).flags == Flags.DTX
    assert parse(b"\x10\xf2" + bytes(11)).flags == Flags.VOICE


def test_the_relay_puts_its_own_stream_number() -> None:
    packet = Packet(Flags.VOICE, 7, 1, 2, b"abc")
    assert parse(restamp(serialize(packet), 500)) == Packet(Flags.VOICE, 500, 1, 2, b"abc")


@pytest.mark.parametrize(
    "field", [{"stream": 1 << 16}, {"sequence": -1}, {"capture_time": 1 << 32}, {"type": 16}]
)
def test_fields_that_do_not_fit_are_named(field: dict[str, int]) -> None:
    with pytest.raises(MalformedPacket, match=next(iter(field))):
        serialize(
            Packet(
                **{
                    "flags": Flags(0),
                    "stream": 0,
                    "sequence": 0,
                    "capture_time": 0,
                    "payload": b"x",
                    **field,
                }
            )
        )  # type: ignore[arg-type]


@given(U32, st.integers(-(2**30), 2**30))
def test_distance_survives_the_wrap(start: int, step: int) -> None:
    assert sequence_distance((start + step) % 2**32, start) == step
