"""Integer latents to payload bytes and back (docs/bitstream.md). Integer tables only: no float
decides a code word on either side.

A payload is one range-coded string: the quality level, cheap where it is near the stream's base
level; then for every packet in it and every channel the class that names the scale tables, or
silence; unless that, the gain, the latents, and at higher levels the waveform layer. In joint
stereo a second channel may be told by the first instead (joint_stereo). Nothing refers to another
payload.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..config import MAX_PAYLOAD_BYTES
from ..engines.api import Latents, Means
from ..errors import PayloadError
from ..tables import BIT_WORTH, GAIN_MIN, EntropyTables, JointTables
from .joint_stereo import FirstChannel, JointCoder, Reference
from .prices import Prices
from .range_coder import RangeDecoder, RangeEncoder
from .symbols import LATENT_LIMIT, cumulative, get_integer, put, put_integer, symbols_of
from .waveform_coder import WaveformCoder

ROUNDINGS = (1.0, 0.8, 1.25)  # shares of BIT_WORTH that `encode` tries


class Bitstream:
    """`serialize` and `parse` payloads under one model's tables. Holds no state between
    payloads.
    """

    def __init__(self, tables: EntropyTables, joint: JointTables | None = None) -> None:
        """joint: for streams of two channels whose second is told by the first; no others."""
        self.levels, self.latent_dim = tables.level_scale.shape
        self._silence: int = tables.class_scale.shape[0]  # the class that stands for it
        of_levels = (tables if joint is None else joint).level_frequencies
        self._level_cumulative = [cumulative(row) for row in of_levels]
        self._cumulative = [cumulative(row) for row in tables.frequencies]
        self._class_cumulative = [cumulative(row) for row in tables.class_frequencies]
        self._gain_cumulative = [cumulative(row) for row in tables.gain_frequencies]
        self._prices = Prices.of(tables)
        self._joint = None if joint is None else JointCoder(joint)
        self.waveform = WaveformCoder(
            tables.waveform, None if self._joint is None else self._joint.waveform
        )

    def has_waveform(self, level: int) -> bool:
        """Whether payloads of a level have the waveform layer."""
        return self.waveform.holds(level)

    def encode(self, means: Means, base_level: int) -> tuple[Latents, bytes]:
        """Quantise and serialize, at a level without the waveform layer. Payloads are whole bytes:
        of several roundings, the one that fills them best is taken.
        """
        best, least = None, math.inf
        for share in ROUNDINGS:
            latents = self.quantise(means, share * BIT_WORTH)
            payload = self.serialize(latents, base_level)
            loss = _squared_error(latents.y, means.mean) + BIT_WORTH * 8 * len(payload)
            if loss < least:
                best, least = (latents, payload), loss
        assert best is not None
        return best

    def encode_waveform(
        self,
        latents: Latents,
        residual: NDArray[np.float32],
        loudness: NDArray[np.int32],
        base_level: int,
    ) -> tuple[Latents, bytes]:
        """Quantise the waveform layer over `latents` and serialize: residual [P, C, F, K] as the
        engine gives it; loudness [C] of the talker, in LOUDNESS_STEP gain steps above GAIN_MIN.
        """
        best, least = None, math.inf
        for share in ROUNDINGS:
            whole = self.waveform.quantise(latents, residual, loudness, share * BIT_WORTH)
            payload = self.serialize(whole, base_level)
            loss = self.waveform.error(whole, residual, loudness) + BIT_WORTH * 8 * len(payload)
            if loss < least:
                best, least = (whole, payload), loss
        assert best is not None
        return best

    def quantise(self, means: Means, bit_worth: float = BIT_WORTH) -> Latents:
        """Rate-distortion optimal rounding: each latent becomes the integer beside it, or zero, for
        which squared error plus `bit_worth` a bit is least. Costs a decoder nothing: whatever
        integers come, it reads them.
        """
        level, joint = means.level, self._joint
        y = np.zeros(means.mean.shape, np.int32)
        for packet, gains in enumerate((means.gain_index - GAIN_MIN).tolist()):
            first: FirstChannel | None = None
            for channel, gain in enumerate(gains):
                mean = means.mean[packet, channel]
                vector = self._cheapest(level, gain, mean, bit_worth)
                if joint is not None and first is not None and gain:
                    bits = joint.own_bits + self.cheapest_class(level, gain, vector)[1]
                    own_loss = _squared_error(vector, mean) + bit_worth * bits
                    together, loss = joint.rounded(first, gain, mean, bit_worth)
                    vector = together if loss < own_loss else vector
                y[packet, channel] = vector
                if joint is not None and channel == 0:
                    first = self._first(level, self.class_of(level, gain, vector), gain, vector)
        return Latents(means.level, means.gain_index, y)

    def serialize(self, latents: Latents, base_level: int) -> bytes:
        """Of a stream with this base level. Raises ValueError where a number lies outside what a
        payload can say: that is the caller's mistake, not the input's.
        """
        check_sayable(latents, base_level, self.levels)
        if (latents.waveform is not None) != self.has_waveform(latents.level):
            has = "has" if latents.waveform is None else "has not"
            raise ValueError(f"level {latents.level} {has} the waveform layer")
        coder, level, joint = RangeEncoder(), latents.level, self._joint
        put(coder, self._level_cumulative[base_level], level)
        packets, channels = latents.gain_index.shape
        for packet in range(packets):
            first: FirstChannel | None = None
            for channel in range(channels):
                gain = int(latents.gain_index[packet, channel]) - GAIN_MIN
                y = latents.y[packet, channel]
                class_index, bits = self.cheapest_class(level, gain, y)
                if joint is None or first is None or not joint.put(coder, first, gain, y, bits):
                    self._put_packet(coder, level, class_index, gain, y)
                first = self._first(level, class_index, gain, y)
                if gain and self.has_waveform(level):
                    self.waveform.put(coder, latents, packet, channel)
        return coder.finish()

    def parse(self, payload: bytes, packets: int, channels: int, base_level: int) -> Latents:
        """Raises PayloadError for bytes that no encoder wrote, as far as they can be told apart."""
        check_size(payload)
        coder = RangeDecoder(payload)
        level = coder.get(self._level_cumulative[base_level])
        gain_index = np.full((packets, channels), GAIN_MIN, np.int32)
        y = np.zeros((packets, channels, self.latent_dim), np.int32)
        latents = Latents(level, gain_index, y, self.waveform.empty(level, packets, channels))
        for packet in range(packets):
            first: FirstChannel | None = None
            for channel in range(channels):
                joined = self._joint.get(coder, first) if self._joint and first else None
                if joined is not None:
                    gain, vector = joined
                elif (own := self._get_packet(coder, level)) is not None:
                    first, gain, vector = own, own.gain, own.latents.y
                else:
                    continue
                gain_index[packet, channel] += gain
                y[packet, channel] = vector
                if latents.waveform is not None:
                    self.waveform.get(coder, latents, packet, channel)
        coder.finish()
        return latents

    def class_of(self, level: int, gain: int, y: NDArray[np.int32]) -> int:
        """The class that codes a packet of `gain` steps above silence and integers y [D] in the
        fewest bits.
        """
        return self.cheapest_class(level, gain, y)[0]

    def cheapest_class(self, level: int, gain: int, y: NDArray[np.int32]) -> tuple[int, float]:
        """With the bits; none are counted for silence."""
        if not gain:
            return self._silence, 0.0
        prices = self._prices
        costs: NDArray[np.float64] = (
            prices.symbols[prices.rows[level], symbols_of(y)].sum(1)
            + prices.classes[level]
            + prices.gains[:, gain - 1]
        )
        best = int(costs.argmin())
        return best, float(costs[best])

    def _first(
        self, level: int, class_index: int, gain: int, y: NDArray[np.int32]
    ) -> FirstChannel | None:
        """What a second channel may be told by; None where none is."""
        if self._joint is None or not gain:
            return None
        return FirstChannel(gain, Reference(y, self._prices.rows[level, class_index]))

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

    def _put_packet(
        self, coder: RangeEncoder, level: int, class_index: int, gain: int, y: NDArray[np.int32]
    ) -> None:
        put(coder, self._class_cumulative[level], class_index)
        if class_index == self._silence:
            return
        put(coder, self._gain_cumulative[class_index], gain - 1)
        rows = self._prices.rows[level, class_index].tolist()
        for row, value in zip(rows, y.tolist(), strict=True):
            put_integer(coder, self._cumulative[row], value)

    def _get_packet(self, coder: RangeDecoder, level: int) -> FirstChannel | None:
        """None for a packet that is silent."""
        class_index = coder.get(self._class_cumulative[level])
        if class_index == self._silence:
            return None
        gain = 1 + coder.get(self._gain_cumulative[class_index])
        rows = self._prices.rows[level, class_index]
        y = [get_integer(coder, self._cumulative[row]) for row in rows.tolist()]
        return FirstChannel(gain, Reference(np.array(y, np.int32), rows))


def _squared_error(y: NDArray[np.int32], mean: NDArray[np.float32]) -> float:
    """Over all of them, in quantiser steps."""
    return float(np.square(y - mean.clip(-LATENT_LIMIT, LATENT_LIMIT)).sum())


def check_sayable(latents: Latents, base_level: int, levels: int) -> None:
    """Raises ValueError where a number lies outside what a payload can say."""
    for level in (latents.level, base_level):
        if not 0 <= level < levels:
            raise ValueError(f"level must be 0 to {levels - 1}, got {level}")
    if np.abs(latents.y).max(initial=0) > LATENT_LIMIT:
        raise ValueError(f"latents must lie within +-{LATENT_LIMIT}")
    layer = latents.waveform
    if layer is not None and np.abs(layer.q).max(initial=0) > LATENT_LIMIT:
        raise ValueError(f"coefficients must lie within +-{LATENT_LIMIT}")


def check_size(payload: bytes) -> None:
    """Raises PayloadError for a payload that no packet could have carried."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError(
            f"payload of {len(payload)} bytes: at most {MAX_PAYLOAD_BYTES} are allowed"
        )
