"""Frames of clients, however they are cut, and whatever stands between them."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streamcodec_server.framing import BINARY, PING, PONG, TEXT, Framing, unmasked

MOST = 300
MASKS = st.binary(min_size=4, max_size=4)


def frame(first: int, data: bytes, mask: bytes) -> bytes:
    """As RFC 6455 has it, written down a second time."""
    size = len(data)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0xFE]) + size.to_bytes(2, "big")
    else:
        length = bytes([0xFF]) + size.to_bytes(8, "big")
    hidden = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return bytes([first]) + length + mask + hidden


def taken(stream: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes]], bytes]:
    """-> plain frames, and all that the library gets."""
    framing, messages, left = Framing(MOST), [], b""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for begin, end in itertools.pairwise(edges):
        framing.add(stream[begin:end])
        while (found := framing.next()) is not None:
            if found.kind:
                messages.append((found.kind, found.data))
            else:
                left += found.data
    return messages, left


CLOSE = 0x88
PLAIN = st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=MOST), MASKS)
CONTROL = st.tuples(st.sampled_from([CLOSE, PING, PONG]), st.binary(max_size=125), MASKS)


@given(st.lists(PLAIN | CONTROL, max_size=8), st.lists(st.integers(0, 4_000), max_size=12))
def test_plain_messages_are_taken_out_and_the_rest_is_handed_over(
    frames: list[tuple[int, bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(*one) for one in frames)
    plain = [(first, data) for first, data, _ in frames if first != CLOSE]
    others = b"".join(frame(*one) for one in frames if one[0] == CLOSE)
    assert taken(stream, cuts) == (plain, others)


@given(MASKS, st.binary(max_size=50), st.lists(st.integers(0, 999), max_size=5))
def test_messages_in_fragments_are_the_librarys(mask: bytes, data: bytes, cuts: list[int]) -> None:
    parts = [frame(0x02, data, mask), frame(0x89, b"ping", mask), frame(0x82, b"bad", mask)]
    parts += [frame(0x00, data, mask), frame(0x80, data, mask)]
    of_library = b"".join(parts[:1] + parts[2:])
    plain = [(PING, b"ping"), (BINARY, b"after")]
    assert taken(b"".join(parts) + frame(0x82, b"after", mask), cuts) == (plain, of_library)


@given(MASKS, st.lists(st.integers(0, 999), max_size=5))
def test_pings_that_break_the_rules_are_the_librarys(mask: bytes, cuts: list[int]) -> None:
    """Too long, or in fragments (RFC 6455, section 5.5)."""
    for bad in (frame(PING, bytes(126), mask), frame(PING & 0x7F, b"half", mask)):
        assert taken(frame(PONG, b"", mask) + bad, cuts) == ([(PONG, b"")], bad)


@given(st.binary(max_size=300), st.lists(st.integers(0, 999), max_size=5))
def test_what_is_no_frame_of_a_client_is_the_librarys_to_refuse(
    garbage: bytes, cuts: list[int]
) -> None:
    """Not masked, or too large: the library sees every byte from there on."""
    fine = frame(0x82, b"fine", b"abcd")
    for bad in (
        b"\x82\x05hello",
        b"\x82\xfe" + (MOST + 1).to_bytes(2, "big"),
        b"\x81\xff" + bytes([1] * 8),
    ):
        messages, left = taken(fine + bad + garbage, cuts)
        assert messages == [(BINARY, b"fine")]
        assert left == bad + garbage


@given(st.binary(max_size=2_000), st.lists(st.integers(0, 2_000), max_size=8))
def test_anything_is_cut_without_an_error(garbage: bytes, cuts: list[int]) -> None:
    messages, left = taken(garbage, cuts)
    assert len(left) + sum(len(message) for message, _ in messages) <= len(garbage)


def test_a_mask_is_taken_off() -> None:
    assert unmasked(bytes([1, 2, 3, 4, 5]), bytes([1, 1, 1, 1])) == bytes([0, 3, 2, 5, 4])
    assert taken(frame(0x81, b"x" * 200, bytes(4)), []) == ([(TEXT, b"x" * 200)], b"")
