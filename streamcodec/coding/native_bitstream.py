"""Quantiser and range coder in C: what `Bitstream` does, to the byte, seventy times as fast."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.api import Latents, Means
from ..native import library as native
from ..native.library import address_of
from ..tables import BIT_WORTH, GAIN_COUNT, GAIN_MIN, SYMBOL_LIMIT, EntropyTables
from .bitstream import ROUNDINGS, check_sayable, check_size
from .prices import Prices
from .range_coder import damaged_payload, empty_payload, trailing_bytes
from .symbols import ESCAPE_BITS_MAX, long_escape

BYTES_A_LATENT = 5  # of the largest escape
BYTES_AROUND = 16  # of level, class and gain, and of the coder's end


class NativeBitstream:
    """As `Bitstream`, by the C library. Immutable: any number of streams and threads share it."""

    def __init__(self, tables: EntropyTables) -> None:
        """Raises ModelError where there is no library."""
        self._library = native.required_library()
        self.levels, self.latent_dim = tables.level_scale.shape
        prices = Prices.of(tables)
        integers = (
            prices.rows,
            tables.level_frequencies,
            tables.frequencies,
            tables.class_frequencies,
            tables.gain_frequencies,
        )
        arrays: list[NDArray[Any]] = [np.ascontiguousarray(a, np.int32) for a in integers]
        arrays += [prices.symbols, prices.classes, prices.gains]
        scales, symbols = tables.frequencies.shape
        described = native.Tables(
            *(self.levels, len(tables.class_scale), self.latent_dim),
            *(scales, GAIN_COUNT - 1, symbols),
            *(GAIN_MIN, SYMBOL_LIMIT, ESCAPE_BITS_MAX),
            BIT_WORTH,
            (ctypes.c_double * 3)(*ROUNDINGS),
            *map(address_of, arrays),
        )
        self._opened = ctypes.c_void_p()
        status = self._library.sc_bitstream_open(
            ctypes.byref(described), ctypes.byref(self._opened)
        )
        if status != 0:
            raise ValueError(f"the native bitstream cannot use tables of these shapes ({status})")
        weakref.finalize(self, self._library.sc_bitstream_close, self._opened)

    def encode(self, means: Means, base_level: int) -> tuple[Latents, bytes]:
        """As `Bitstream.encode`."""
        mean, gains = _floats(means.mean), _integers(means.gain_index)
        y = np.empty(mean.shape, np.int32)
        out = self._buffer(gains.size)
        numbers = (self._opened, gains.size, base_level, means.level)
        size = self._library.sc_bitstream_encode(
            *numbers, *map(address_of, (gains, mean, y, out)), len(out)
        )
        _check(size)
        return Latents(means.level, means.gain_index, y), out[:size].tobytes()

    def quantise(self, means: Means, bit_worth: float = BIT_WORTH) -> Latents:
        """As `Bitstream.quantise`."""
        mean, gains = _floats(means.mean), _integers(means.gain_index)
        y = np.empty(mean.shape, np.int32)
        numbers = (self._opened, gains.size, means.level)
        _check(
            self._library.sc_bitstream_quantise(
                *numbers, address_of(gains), address_of(mean), bit_worth, address_of(y)
            )
        )
        return Latents(means.level, means.gain_index, y)

    def serialize(self, latents: Latents, base_level: int) -> bytes:
        """As `Bitstream.serialize`."""
        check_sayable(latents, base_level, self.levels)
        y, gains = _integers(latents.y), _integers(latents.gain_index)
        out = self._buffer(gains.size)
        numbers = (self._opened, gains.size, base_level, latents.level)
        size = self._library.sc_bitstream_serialize(
            *numbers, *map(address_of, (gains, y, out)), len(out)
        )
        _check(size)
        return out[:size].tobytes()

    def parse(self, payload: bytes, packets: int, channels: int, base_level: int) -> Latents:
        """As `Bitstream.parse`."""
        if not payload:
            raise empty_payload()
        check_size(payload)
        gains = np.empty((packets, channels), np.int32)
        y = np.empty((packets, channels, self.latent_dim), np.int32)
        told = np.zeros(2, np.int32)  # the level, and what says more of an error
        at = address_of(told)
        numbers = (len(payload), gains.size, base_level)
        status = self._library.sc_bitstream_parse(
            self._opened, payload, *numbers, at, address_of(gains), address_of(y), at + 4
        )
        level, detail = told.tolist()
        if status == native.NO_SYMBOL:
            raise damaged_payload(detail, len(payload))
        if status == native.LONG_ESCAPE:
            raise long_escape(detail)
        if status == native.TRAILING_BYTES:
            raise trailing_bytes(detail, len(payload))
        _check(status)
        return Latents(level, gains, y)

    def _buffer(self, vectors: int) -> NDArray[np.uint8]:
        return np.empty((BYTES_A_LATENT * self.latent_dim + BYTES_AROUND) * vectors, np.uint8)


def _check(status: int) -> None:
    if status < 0:
        raise ValueError(
            f"a level, a gain or a latent lies outside what a payload can say ({status})"
        )


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


def _integers(array: NDArray[Any]) -> NDArray[np.int32]:
    return np.ascontiguousarray(array, np.int32)
