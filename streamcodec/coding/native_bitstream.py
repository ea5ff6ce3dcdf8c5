"""Quantiser and range coder in C: what `Bitstream` does, to the byte, seventy times as fast."""

from __future__ import annotations

import ctypes
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

from ..engines.api import Latents, Means, Waveform
from ..native import library as native
from ..native.library import address_of
from ..tables import BIT_WORTH, STEP_BAND, EntropyTables, JointTables
from .bitstream import check_sayable, check_size
from .packed_tables import packed_joint_tables, packed_tables
from .range_coder import damaged_payload, empty_payload, trailing_bytes
from .symbols import long_escape

BYTES_AN_INTEGER = 5  # of the largest escape
BYTES_AROUND = 16  # of level, class, gain and loudness, and of the coder's end


class NativeBitstream:
    """As `Bitstream`, by the C library. Immutable: any number of streams and threads share it."""

    def __init__(
        self, tables: EntropyTables, variant: str | None = None, joint: JointTables | None = None
    ) -> None:
        """joint: as of `Bitstream`, for payloads of two channels only. variant: the instruction
        set, of which None takes the best; all say the same.

        Raises ModelError where there is no library.
        """
        self._library = native.required_library()
        self.levels, self.latent_dim = tables.level_scale.shape
        self._level_bins: list[int] = tables.waveform.level_bins.tolist()
        self._frames, self._bins = tables.waveform.shape.tolist()
        self._local = threading.local()
        self.opened = ctypes.c_void_p()
        packed = packed_tables(tables)
        named, opened = variant and variant.encode(), ctypes.byref(self.opened)
        if joint is None:
            status = self._library.sc_bitstream_open_packed(packed, len(packed), named, opened)
        else:
            more = packed_joint_tables(joint)
            status = self._library.sc_bitstream_open_joint(
                packed, len(packed), more, len(more), named, opened
            )
        if status != 0:
            raise ValueError(f"the native bitstream cannot use tables of these shapes ({status})")
        weakref.finalize(self, self._library.sc_bitstream_close, self.opened)

    def has_waveform(self, level: int) -> bool:
        """As `Bitstream.has_waveform`."""
        return self._level_bins[level] > 0

    def encode(self, means: Means, base_level: int) -> tuple[Latents, bytes]:
        """As `Bitstream.encode`."""
        level, gains, mean = means.level, means.gain_index, means.mean
        at = self._exchange(mean.shape)
        at.gains[...], at.mean[...] = gains, mean
        size = self._library.sc_bitstream_encode(
            self.opened, at.vectors, base_level, level, *at.encode, len(at.payload)
        )
        return Latents(level, gains, at.y.copy()), at.payload[: checked_size(size)].tobytes()

    def encode_waveform(
        self,
        latents: Latents,
        residual: NDArray[np.float32],
        loudness: NDArray[np.int32],
        base_level: int,
    ) -> tuple[Latents, bytes]:
        """As `Bitstream.encode_waveform`."""
        level, gains, y, _ = latents
        check_sayable(latents, base_level, self.levels)
        at = self._exchange(y.shape)
        at.gains[...], at.y[...], at.residual[...], at.talkers[...] = gains, y, residual, loudness
        size = self._library.sc_bitstream_encode_waveform(
            *(self.opened, at.vectors, y.shape[1], base_level, level),
            *(*at.encode_waveform, len(at.payload)),
        )
        payload = at.payload[: checked_size(size)].tobytes()
        return Latents(level, gains, y, at.layer(self._level_bins[level])), payload

    def quantise(self, means: Means, bit_worth: float = BIT_WORTH) -> Latents:
        """As `Bitstream.quantise`."""
        level, gains, mean = means.level, means.gain_index, means.mean
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
        level, gains, y, layer = latents
        at = self._exchange(y.shape)
        at.gains[...], at.y[...] = gains, y
        if layer is not None:
            at.coded[...], at.loudness[...], at.q[...] = layer.coded, layer.loudness, layer.q
        size = self._library.sc_bitstream_serialize(
            *(self.opened, at.vectors, base_level, level, *at.latents),
            *(None if layer is None else at.layer_at, at.payload_at, len(at.payload)),
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
        bins = self._level_bins[level]
        return Latents(level, at.gains.copy(), at.y.copy(), at.layer(bins) if bins else None)

    def _exchange(self, shape: tuple[int, ...]) -> _Exchange:
        """This thread's memory for payloads of one shape [P, C, D]."""
        kept: _Exchange | None = getattr(self._local, "exchange", None)
        if kept is None or kept.shape != shape:
            room = self.buffer(shape[0] * shape[1])
            kept = self._local.exchange = _Exchange(shape, (self._frames, self._bins), room)
        return kept

    def buffer(self, vectors: int) -> NDArray[np.uint8]:
        """For the longest payload of so many vectors of latents and their layer."""
        integers = self.latent_dim + self._frames * self._bins
        return np.empty((BYTES_AN_INTEGER * integers + BYTES_AROUND) * vectors, np.uint8)


class _Exchange:
    """What goes into the library and comes out, for one payload of a shape [P, C, D] with a layer
    of [F, K] coefficients a packet. The tuples are the addresses that its functions take, in their
    order.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        layer_shape: tuple[int, int],
        payload_buffer: NDArray[np.uint8],
    ) -> None:
        self.shape, self.vectors = shape, shape[0] * shape[1]
        two = shape[:2]
        self.gains, self.mean = np.empty(two, np.int32), np.empty(shape, np.float32)
        self.y = np.empty(shape, np.int32)
        self.payload = payload_buffer
        self.told = np.zeros(2, np.int32)  # the level, and what says more of an error
        self.residual = np.empty((*two, *layer_shape), np.float32)
        self.talkers = np.empty(shape[1], np.int32)  # their loudnesses
        self.coded, self.loudness = np.empty(two, bool), np.empty(two, np.int32)
        self.q = np.empty(self.residual.shape, np.int32)
        self.steps = np.empty((*two, -(-layer_shape[1] // STEP_BAND)), np.float32)
        layer = (self.coded, self.loudness, self.q, self.steps)
        self._layer = native.WaveformLayer(*map(address_of, layer))
        self.layer_at = ctypes.addressof(self._layer)
        arrays = (self.gains, self.mean, self.y, self.payload, self.told)
        gains, mean, y, payload, told = map(address_of, arrays)
        self.payload_at = payload
        self.encode, self.latents = (gains, mean, y, payload), (gains, y)
        talk = (address_of(self.residual), address_of(self.talkers))
        self.encode_waveform = (gains, y, *talk, self.layer_at, payload)
        self.parse = (told, gains, y, self.layer_at, told + self.told.itemsize)

    def layer(self, bins: int) -> Waveform:
        """What the library said, at a level that codes `bins` of a frame."""
        coded, loudness = self.coded.copy(), self.loudness.copy()
        return Waveform(bins, coded, loudness, self.q.copy(), self.steps.copy())


def checked_size(status: int) -> int:
    """What a function returned that encodes: a size, or an error that is the caller's mistake."""
    if status < 0:
        raise ValueError(
            f"a level, a gain, a loudness or an integer lies outside what a payload can say "
            f"({status})"
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
