from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcodec.coding.range_coder import RangeDecoder, RangeEncoder
from streamcodec.errors import PayloadError

SKEWED = list(accumulate([65_533, 1, 1, 1], initial=0))
EVEN = list(accumulate([16_384] * 4, initial=0))


def coded(symbols: list[int], table: list[int]) -> bytes:
    coder = RangeEncoder()
    for s in symbols:
        coder.put(table[s], table[s + 1] - table[s])
    return coder.finish()


@given(st.lists(st.integers(0, 3), max_size=300), st.sampled_from([SKEWED, EVEN]))
def test_what_was_put_comes_back_and_nothing_is_left(symbols: list[int], table: list[int]) -> None:
    decoder = RangeDecoder(coded(symbols, table))
    assert [decoder.get(table) for _ in symbols] == symbols
    decoder.finish()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200))
def test_costs_at_most_a_byte_more_than_the_entropy(symbols: list[int]) -> None:
    assert len(coded(symbols, EVEN)) <= len(symbols) * 2 / 8 + 1.01


def test_likely_symbols_are_nearly_free() -> None:
    assert len(coded([0] * 1000, SKEWED)) == 1


def test_raw_bits_come_back() -> None:
    coder = RangeEncoder()
    for bits in range(1, 17):
        coder.put_bits((1 << bits) - 2, bits)
    decoder = RangeDecoder(coder.finish())
    assert [decoder.get_bits(bits) for bits in range(1, 17)] == [
        (1 << bits) - 2 for bits in range(1, 17)
    ]


def test_an_empty_payload_is_an_error() -> None:
    with pytest.raises(PayloadError, match="at least 1 byte"):
        RangeDecoder(b"")


def test_bytes_behind_the_last_symbol_are_an_error() -> None:
    decoder = RangeDecoder(coded([1, 2], EVEN) + b"\0\0\0\0\0")
    assert [decoder.get(EVEN), decoder.get(EVEN)] == [1, 2]
    with pytest.raises(PayloadError, match="goes on after its last symbol"):
        decoder.finish()


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_decode_or_raise_one_error(payload: bytes) -> None:
    decoder = RangeDecoder(payload)
    try:
        for _ in range(100):
            assert 0 <= decoder.get(SKEWED) < 4
            assert 0 <= decoder.get_bits(5) < 32
    except PayloadError:
        pass
