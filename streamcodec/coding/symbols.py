"""Integers as symbols of the range coder: small ones by a table of frequencies, larger ones behind
an escape.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ..errors import PayloadError
from ..tables import SYMBOL_LIMIT
from .range_coder import RangeDecoder, RangeEncoder

ESCAPE = 2 * SYMBOL_LIMIT + 1
ESCAPE_BITS_MAX = 12
# The largest latent that an escape of ESCAPE_BITS_MAX bits can say.
LATENT_LIMIT = SYMBOL_LIMIT + (2 << ESCAPE_BITS_MAX) - 1


def long_escape(bits: int) -> PayloadError:
    return PayloadError(f"escaped latent of {bits} bits: at most {ESCAPE_BITS_MAX} are allowed")


def symbols_of(y: NDArray[np.int32]) -> NDArray[np.int32]:
    """Columns of the frequency tables for latents of any shape."""
    symbols: NDArray[np.int32] = np.where(np.abs(y) > SYMBOL_LIMIT, ESCAPE, y + SYMBOL_LIMIT)
    return symbols


def cumulative(frequencies: NDArray[np.int32]) -> list[int]:
    return list(accumulate(frequencies.tolist(), initial=0))


def put(coder: RangeEncoder, cumulative: list[int], symbol: int) -> None:
    coder.put(cumulative[symbol], cumulative[symbol + 1] - cumulative[symbol])


def put_integer(coder: RangeEncoder, cumulative: list[int], value: int) -> None:
    symbol = ESCAPE if abs(value) > SYMBOL_LIMIT else value + SYMBOL_LIMIT
    put(coder, cumulative, symbol)
    if symbol == ESCAPE:
        put_escape(coder, value)


def get_integer(coder: RangeDecoder, cumulative: list[int]) -> int:
    symbol = coder.get(cumulative)
    return get_escape(coder) if symbol == ESCAPE else symbol - SYMBOL_LIMIT


def put_escape(coder: RangeEncoder, value: int) -> None:
    """Sign, then |value| - SYMBOL_LIMIT as Elias gamma."""
    excess = abs(value) - SYMBOL_LIMIT
    bits = excess.bit_length() - 1
    coder.put_bits(value < 0, 1)
    coder.put_bits(bits, 4)
    if bits:
        coder.put_bits(excess - (1 << bits), bits)


def get_escape(coder: RangeDecoder) -> int:
    negative = coder.get_bits(1)
    bits = coder.get_bits(4)
    if bits > ESCAPE_BITS_MAX:
        raise long_escape(bits)
    magnitude = SYMBOL_LIMIT + (1 << bits) + (coder.get_bits(bits) if bits else 0)
    return -magnitude if negative else magnitude
