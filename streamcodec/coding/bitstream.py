"""Integer latents to payload bytes and back (docs/bitstream.md). Integer tables only: no float
decides a code word on either side.

A payload is one range-coded string: the quality level, cheap where it is near the stream's base
level; then for every packet in it and every channel the class that names the scale tables, or
silence; unless that, the gain and the latents. Nothing refers to another payload.
"""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ..config import MAX_PAYLOAD_BYTES
from ..engines.api import Latents, Means
from ..errors import PayloadError
from ..tables import BIT_WORTH, GAIN_MIN, SYMBOL_LIMIT, EntropyTables
from .prices import Prices
from .range_coder import RangeDecoder, RangeEncoder

ESCAPE = 2 * SYMBOL_LIMIT + 1
ESCAPE_BITS_MAX = 12
# The largest latent that an escape of ESCAPE_BITS_MAX bits can say.
LATENT_LIMIT = SYMBOL_LIMIT + (2 << ESCAPE_BITS_MAX) - 1
ROUNDINGS = (1.0, 0.8, 1.25)  # shares of BIT_WORTH that `encode` tries


class Bitstream:
    """`serialize` and `parse` payloads under one model's tables. Holds no state between
    payloads.
    """

    def __init__(self, tables: EntropyTables) -> None:
        self.levels, self.latent_dim = tables.level_scale.shape
        self._silence: int = tables.class_scale.shape[0]  # the class that stands for it
        self._level_cumulative = [_cumulative(row) for row in tables.level_frequencies]
        self._cumulative = [_cumulative(row) for row in tables.frequencies]
        self._class_cumulative = [_cumulative(row) for row in tables.class_frequencies]
        self._gain_cumulative = [_cumulative(row) for row in tables.gain_frequencies]
        self._prices = Prices.of(tables)

    def encode(self, means: Means, base_level: int) -> tuple[Latents, bytes]:
        """Quantise and serialize. Payloads are whole bytes: of several roundings, the one that
        fills them best is taken.
        """
        best, least = None, math.inf
        for share in ROUNDINGS:
            latents = self.quantise(means, share * BIT_WORTH)
            payload = self.serialize(latents, base_level)
            loss = float(
                np.square(latents.y - means.mean.clip(-LATENT_LIMIT, LATENT_LIMIT)).sum()
            ) + BIT_WORTH * 8 * len(payload)
            if loss < least:
                best, least = (latents, payload), loss
        assert best is not None
        return best

    def quantise(self, means: Means, bit_worth: float = BIT_WORTH) -> Latents:
        """Rate-distortion optimal rounding: each latent becomes the integer beside it, or zero, for
        which squared error plus `bit_worth` a bit is least. Costs a decoder nothing: whatever
        integers come, it reads them.
        """
        packets, channels, latent = means.mean.shape
        vectors = zip(
            means.gain_index.ravel().tolist(), means.mean.reshape(-1, latent), strict=True
        )
        y = np.stack(
            [
                self._cheapest(means.level, gain_index - GAIN_MIN, vector, bit_worth)
                for gain_index, vector in vectors
            ]
        )
        return Latents(means.level, means.gain_index, y.reshape(packets, channels, latent))

    def serialize(self, latents: Latents, base_level: int) -> bytes:
        """Of a stream with this base level. Raises ValueError where a number lies outside what a
        payload can say: that is the caller's mistake, not the input's.
        """
        check_sayable(latents, base_level, self.levels)
        coder = RangeEncoder()
        _put(coder, self._level_cumulative[base_level], latents.level)
        for gains, vectors in zip(latents.gain_index, latents.y, strict=True):
            for gain_index, y in zip(gains, vectors, strict=True):
                self._put_packet(coder, latents.level, int(gain_index) - GAIN_MIN, y)
        return coder.finish()

    def parse(self, payload: bytes, packets: int, channels: int, base_level: int) -> Latents:
        """Raises PayloadError for bytes that no encoder wrote, as far as they can be told apart."""
        check_size(payload)
        coder = RangeDecoder(payload)
        level = coder.get(self._level_cumulative[base_level])
        gain_index = np.full((packets, channels), GAIN_MIN, np.int32)
        y = np.zeros((packets, channels, self.latent_dim), np.int32)
        for packet in range(packets):
            for channel in range(channels):
                class_index = coder.get(self._class_cumulative[level])
                if class_index != self._silence:
                    gain_index[packet, channel] += 1 + coder.get(self._gain_cumulative[class_index])
                    y[packet, channel] = self._get_vector(coder, level, class_index)
        coder.finish()
        return Latents(level, gain_index, y)

    def class_of(self, level: int, gain: int, y: NDArray[np.int32]) -> int:
        """The class that codes a packet of `gain` steps above silence and integers y [D] in the
        fewest bits.
        """
        if not gain:
            return self._silence
        prices = self._prices
        costs: NDArray[np.float64] = (
            prices.symbols[prices.rows[level], symbols_of(y)].sum(1)
            + prices.classes[level]
            + prices.gains[:, gain - 1]
        )
        return int(costs.argmin())

    def _cheapest(
        self, level: int, gain: int, mean: NDArray[np.float32], bit_worth: float
    ) -> NDArray[np.int32]:
        """mean [D] -> integers [D]: rounded under every class, and the cheapest of those."""
        if not gain:
            return np.zeros(mean.shape, np.int32)
        mean = mean.clip(-LATENT_LIMIT, LATENT_LIMIT)
        choices = np.stack([np.rint(mean), np.trunc(mean), np.zeros_like(mean)]).astype(np.int32)
        prices = self._prices
        bits = prices.symbols[prices.rows[level][:, None], symbols_of(choices)]  # [classes, 3, D]
        loss = np.square(choices - mean) + bit_worth * bits
        around = prices.classes[level] + prices.gains[:, gain - 1]
        best = loss[(loss.min(1).sum(1) + bit_worth * around).argmin()].argmin(0)
        chosen: NDArray[np.int32] = np.take_along_axis(choices, best[None], 0)[0]
        return chosen

    def _put_packet(self, coder: RangeEncoder, level: int, gain: int, y: NDArray[np.int32]) -> None:
        class_index = self.class_of(level, gain, y)
        _put(coder, self._class_cumulative[level], class_index)
        if class_index == self._silence:
            return
        _put(coder, self._gain_cumulative[class_index], gain - 1)
        for row, symbol, value in zip(
            self._prices.rows[level, class_index].tolist(),
            symbols_of(y).tolist(),
            y.tolist(),
            strict=True,
        ):
            _put(coder, self._cumulative[row], symbol)
            if symbol == ESCAPE:
                _put_escape(coder, value)

    def _get_vector(self, coder: RangeDecoder, level: int, class_index: int) -> list[int]:
        y = []
        for row in self._prices.rows[level, class_index].tolist():
            symbol = coder.get(self._cumulative[row])
            y.append(_get_escape(coder) if symbol == ESCAPE else symbol - SYMBOL_LIMIT)
        return y


def check_sayable(latents: Latents, base_level: int, levels: int) -> None:
    """Raises ValueError where a number lies outside what a payload can say."""
    for level in (latents.level, base_level):
        if not 0 <= level < levels:
            raise ValueError(f"level must be 0 to {levels - 1}, got {level}")
    if np.abs(latents.y).max(initial=0) > LATENT_LIMIT:
        raise ValueError(f"latents must lie within +-{LATENT_LIMIT}")


def check_size(payload: bytes) -> None:
    """Raises PayloadError for a payload that no packet could have carried."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError(
            f"payload of {len(payload)} bytes: at most {MAX_PAYLOAD_BYTES} are allowed"
        )


def long_escape(bits: int) -> PayloadError:
    return PayloadError(f"escaped latent of {bits} bits: at most {ESCAPE_BITS_MAX} are allowed")


def symbols_of(y: NDArray[np.int32]) -> NDArray[np.int32]:
    """Columns of the frequency tables for latents of any shape."""
    symbols: NDArray[np.int32] = np.where(np.abs(y) > SYMBOL_LIMIT, ESCAPE, y + SYMBOL_LIMIT)
    return symbols


def _cumulative(frequencies: NDArray[np.int32]) -> list[int]:
    return list(accumulate(frequencies.tolist(), initial=0))


def _put(coder: RangeEncoder, cumulative: list[int], symbol: int) -> None:
    coder.put(cumulative[symbol], cumulative[symbol + 1] - cumulative[symbol])


def _put_escape(coder: RangeEncoder, value: int) -> None:
    """Sign, then |value| - SYMBOL_LIMIT as Elias gamma."""
    excess = abs(value) - SYMBOL_LIMIT
    bits = excess.bit_length() - 1
    coder.put_bits(value < 0, 1)
    coder.put_bits(bits, 4)
    if bits:
        coder.put_bits(excess - (1 << bits), bits)


def _get_escape(coder: RangeDecoder) -> int:
    negative = coder.get_bits(1)
    bits = coder.get_bits(4)
    if bits > ESCAPE_BITS_MAX:
        raise long_escape(bits)
    magnitude = SYMBOL_LIMIT + (1 << bits) + (coder.get_bits(bits) if bits else 0)
    return -magnitude if negative else magnitude
