"""Whole websocket frames of a client in what its connection received (RFC 6455, section 5.2).
Sans-I/O. Plain messages, pings and pongs are taken out here, for a tenth of what the library needs
for them; what is anything else is left to the library: closing, fragments, faults.
"""

from __future__ import annotations

from typing import NamedTuple

TEXT, BINARY, PING, PONG = 0x81, 0x82, 0x89, 0x8A  # with FIN, without extensions
MASKED = 0x80
FIN, OPCODE = 0x80, 0x0F
FIRST_CONTROL = 8
TWO_BYTES = 126  # a length that means: in two bytes more; above it: in eight


class Found(NamedTuple):
    """kind: TEXT, BINARY, PING or PONG, with its data; 0 where only the library can take it: data
    is then as it was received.
    """

    kind: int
    data: bytes


class Framing:
    """What one connection received, cut into frames."""

    __slots__ = ("_given_up", "_in_fragments", "_most", "waiting")

    def __init__(self, most_bytes: int) -> None:
        """most_bytes: of a plain message; larger ones are the library's to refuse."""
        self._most = most_bytes
        self.waiting = b""  # that makes no whole frame, or was not asked for
        self._in_fragments = False  # of a message that the library puts together
        self._given_up = False  # the library has the rest, and will close

    def add(self, data: bytes) -> None:
        """More was received."""
        self.waiting = self.waiting + data if self.waiting else data

    def next(self) -> Found | None:
        """The next frame; None while it is not whole."""
        data = self.waiting
        size = len(data)
        if self._given_up:
            self.waiting = b""
            return Found(0, data) if data else None
        if size < 2:
            return None
        first, length, head = data[0], data[1] & ~MASKED, 2
        if length >= TWO_BYTES:
            head += 2 if length == TWO_BYTES else 8
            if size < head:
                return None
            length = int.from_bytes(data[2:head], "big")
        if length > self._most or not data[1] & MASKED:
            self._given_up, self.waiting = True, b""
            return Found(0, data)
        start = head + 4
        end = start + length
        if size < end:
            return None
        self.waiting = data[end:]
        is_message = first in (TEXT, BINARY) and not self._in_fragments
        if is_message or (first in (PING, PONG) and head == 2):
            return Found(first, unmasked(data[start:end], data[head:start]))
        if first & OPCODE < FIRST_CONTROL:
            self._in_fragments = not first & FIN
        return Found(0, data[:end])


def unmasked(data: bytes, mask: bytes) -> bytes:
    """data with the client's mask of 4 bytes taken off."""
    size = len(data)
    if not size or mask == b"\0\0\0\0":
        return data
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
