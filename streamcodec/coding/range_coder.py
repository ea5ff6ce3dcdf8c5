"""Range coder (Martin 1979) for payloads of a few bytes: integers only, and not one byte longer
than its symbols need.

Symbols are intervals [start, start + frequency) of 2^16. The encoder's `low` is a Python integer of
any length, so carries need no care and the end can be cut to the shortest byte string that lies in
the final interval; the decoder reads zeros beyond the last byte.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ..errors import PayloadError

PRECISION_BITS = 16
_TOTAL = 1 << PRECISION_BITS
_WINDOW_BITS = 32
_SMALLEST_RANGE = 1 << 24


class RangeEncoder:
    """Append symbols with `put`, take the bytes with `finish`."""

    def __init__(self) -> None:
        self._low = 0
        self._range = (1 << _WINDOW_BITS) - 1
        self._shift = 0

    def put(self, start: int, frequency: int) -> None:
        unit = self._range >> PRECISION_BITS
        self._low += unit * start
        self._range = unit * frequency
        while self._range < _SMALLEST_RANGE:
            self._range <<= 8
            self._low <<= 8
            self._shift += 8

    def put_bits(self, value: int, bits: int) -> None:
        """`bits` (at most 16) equally likely bits."""
        self.put(value << (PRECISION_BITS - bits), 1 << (PRECISION_BITS - bits))

    def finish(self) -> bytes:
        """The shortest bytes that decode to the symbols put so far; at least one, because an empty
        payload means none.
        """
        width = _WINDOW_BITS + self._shift
        for length in range(1, width // 8 + 1):
            drop = width - 8 * length
            value = -(-self._low >> drop)
            if value << drop < self._low + self._range:
                return value.to_bytes(length, "big")
        raise AssertionError("the final interval holds at least 2^24 values")


class RangeDecoder:
    """Reads what RangeEncoder wrote. Any bytes decode to some symbols, or raise PayloadError; the
    work depends on the symbols asked for.
    """

    def __init__(self, payload: bytes) -> None:
        if not payload:
            raise empty_payload()
        self._payload = payload
        self._position = _WINDOW_BITS // 8
        self._code = int.from_bytes(payload[: self._position].ljust(self._position, b"\0"), "big")
        self._range = (1 << _WINDOW_BITS) - 1

    def get(self, cumulative: Sequence[int]) -> int:
        """Index of the next symbol, given the starts of all symbols and 2^16 behind them."""
        unit = self._range >> PRECISION_BITS
        target = self._code // unit
        if target >= _TOTAL:
            raise self.damaged()
        symbol = bisect_right(cumulative, target) - 1
        self._take(unit, cumulative[symbol], cumulative[symbol + 1])
        return symbol

    def get_bits(self, bits: int) -> int:
        unit = self._range >> PRECISION_BITS
        width = PRECISION_BITS - bits
        value = self._code // unit >> width
        if value >= 1 << bits:
            raise self.damaged()
        self._take(unit, value << width, value + 1 << width)
        return value

    def damaged(self) -> PayloadError:
        """What to raise where the symbols that were read so far make no sense."""
        return damaged_payload(self._position, len(self._payload))

    def finish(self) -> None:
        """Raises PayloadError where bytes are left that no symbol could have needed."""
        if len(self._payload) > self._position:
            raise trailing_bytes(self._position, len(self._payload))

    def _take(self, unit: int, start: int, end: int) -> None:
        self._code -= unit * start
        self._range = unit * (end - start)
        while self._range < _SMALLEST_RANGE:
            following = self._payload[self._position] if self._position < len(self._payload) else 0
            self._code = self._code << 8 | following
            self._range <<= 8
            self._position += 1


def empty_payload() -> PayloadError:
    return PayloadError("empty payload: need at least 1 byte")


def damaged_payload(position: int, size: int) -> PayloadError:
    return PayloadError(f"damaged payload: no symbol at byte {min(position, size)} of {size}")


def trailing_bytes(position: int, size: int) -> PayloadError:
    return PayloadError(f"payload of {size} bytes goes on after its last symbol at byte {position}")
