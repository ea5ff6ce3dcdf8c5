"""Quantiser and range coder in C: what `Bitstream` does, to the byte, seventy times as fast."""

from __future__ import annotations

import ctypes
import threading
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
        self._local = threading.local()
        self.opened = ctypes.c_void_p()
        status = self._library.sc_bitstream_open(ctypes.byref(described), ctypes.byref(self.opened))
        if status != 0:
            raise ValueError(f"the native bitstream cannot use tables of these shapes ({status})")
        weakref.finalize(self, self._library.sc_bitstream_close, self.opened)

    def encode(self, means: Means, base_level: int) -> tuple[Latents, bytes]:
        """As `Bitstream.encode`."""
        level, gains, mean = means
        at = self._exchange(mean.shape)
        at.gains[...], at.mean[...] = gains, mean
        size = self._library.sc_bitstream_encode(
            self.opened, at.vectors, base_level, level, *at.encode, len(at.payload)
        )
        return Latents(level, gains, at.y.copy()), at.payload[: checked_size(size)].tobytes()

    def quantise(self, means: Means, bit_worth: float = BIT_WORTH) -> Latents:
        """As `Bitstream.quantise`."""
        level, gains, mean = means
        at = self._exchange(mean.shape)
        at.gains[...], at.mean[...] = gains, mean
        checked_size(
            self._library.sc_bitstream_quantise(
                self.opened, at.vectors, level, at.encode[0], at.encode[1], bit_worth, at.encode[2]
            )
        )
        return Latents(level, gains, at.y.copy())

    def serialize(self, latents: Latents, base_level: int) -> bytes:
        """As `Bitstream.serialize`."""
        check_sayable(latents, base_level, self.levels)
        level, gains, y = latents
        at = self._exchange(y.shape)
        at.gains[...], at.y[...] = gains, y
        size = self._library.sc_bitstream_serialize(
            self.opened, at.vectors, base_level, level, *at.serialize, len(at.payload)
        )
        return at.payload[: checked_size(size)].tobytes()

    def parse(self, payload: bytes, packets: int, channels: int, base_level: int) -> Latents:
        """As `Bitstream.parse`."""
        check_size(payload)
        at = self._exchange((packets, channels, self.latent_dim))
        status = self._library.sc_bitstream_parse(
            self.opened, payload, len(payload), at.vectors, base_level, *at.parse
        )
        level, detail = at.told.tolist()
        if status != 0:
            raise_refusal(status, detail, payload)
        return Latents(level, at.gains.copy(), at.y.copy())

    def _exchange(self, shape: tuple[int, ...]) -> _Exchange:
        """This thread's memory for payloads of one shape [P, C, D]."""
        kept: _Exchange | None = getattr(self._local, "exchange", None)
        if kept is None or kept.shape != shape:
            kept = self._local.exchange = _Exchange(shape, self.buffer(shape[0] * shape[1]))
        return kept

    def buffer(self, vectors: int) -> NDArray[np.uint8]:
        """For the longest payload of so many vectors of latents."""
        return np.empty((BYTES_A_LATENT * self.latent_dim + BYTES_AROUND) * vectors, np.uint8)


class _Exchange:
    """What goes into the library and comes out, for one payload of a shape [P, C, D]. The tuples
    are the addresses that its functions take, in their order.
    """

    def __init__(self, shape: tuple[int, ...], payload_buffer: NDArray[np.uint8]) -> None:
        self.shape, self.vectors = shape, shape[0] * shape[1]
        self.gains, self.mean = np.empty(shape[:2], np.int32), np.empty(shape, np.float32)
        self.y = np.empty(shape, np.int32)
        self.payload = payload_buffer
        self.told = np.zeros(2, np.int32)  # the level, and what says more of an error
        arrays = (self.gains, self.mean, self.y, self.payload, self.told)
        gains, mean, y, payload, told = map(address_of, arrays)
        self.encode, self.serialize = (gains, mean, y, payload), (gains, y, payload)
        self.parse = (told, gains, y, told + self.told.itemsize)


def checked_size(status: int) -> int:
    """What a function returned that encodes: a size, or an error that is the caller's mistake."""
    if status < 0:
        raise ValueError(
            f"a level, a gain or a latent lies outside what a payload can say ({status})"
        )
    return status


def raise_refusal(status: int, detail: int, payload: bytes | None) -> None:
    """Raises what a status other than 0 means, of a payload that was parsed."""
    if payload is not None:
        if not payload:
            raise empty_payload()
        if status == native.NO_SYMBOL:
            raise damaged_payload(detail, len(payload))
        if status == native.LONG_ESCAPE:
            raise long_escape(detail)
        if status == native.TRAILING_BYTES:
            raise trailing_bytes(detail, len(payload))
    checked_size(status)
