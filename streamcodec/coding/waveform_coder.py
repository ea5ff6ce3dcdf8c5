"""The waveform layer of a payload: which integers it says, and their code words. In Python, which
tests compare the native bitstream with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..engines.api import Latents, Waveform
from ..tables import (
    BIT_WORTH,
    GAIN_MIN,
    LOUDNESS_STEP,
    STEP_BAND,
    WaveformTables,
)
from .joint_stereo import ON_ITS_OWN, Follower, Reference
from .prices import bits_of
from .range_coder import RangeDecoder, RangeEncoder
from .symbols import LATENT_LIMIT, cumulative, get_integer, put, put_integer, symbols_of
from .waveform_prior import CoefficientPrices, IntegerPrior, step_sizes


class WaveformCoder:
    """Rounds, writes and reads the layer under one model's tables."""

    def __init__(self, tables: WaveformTables, joint: Follower | None = None) -> None:
        """joint: tells that of a second channel by the first's."""
        self._joint = joint
        self._prior = IntegerPrior(tables)
        self._bins: list[int] = tables.level_bins.tolist()
        self._costs = bits_of(tables.frequencies)
        self._cumulative = [cumulative(row) for row in tables.frequencies]
        self._coded = [cumulative(row) for row in tables.coded_frequencies]
        self._loudness = cumulative(tables.loudness_frequencies[0])

    def holds(self, level: int) -> bool:
        """Whether payloads of a level have the layer."""
        return self._bins[level] > 0

    def quantise(
        self,
        latents: Latents,
        residual: NDArray[np.float32],
        loudness: NDArray[np.int32],
        bit_worth: float = BIT_WORTH,
    ) -> Latents:
        """residual [P, C, F, K] at unit gain, loudness [C] -> latents with the layer: each
        coefficient becomes the integer beside it, or zero, for which squared error plus `bit_worth`
        a bit is least.
        """
        packets, channels = latents.gain_index.shape
        layer = self._empty(latents.level, packets, channels)
        for p in range(packets):
            for c in range(channels):
                gain = int(latents.gain_index[p, c])
                if gain == GAIN_MIN:
                    continue
                prices = self.prices(latents, p, c, int(loudness[c]))
                reference = self._reference(layer, p, c, prices)
                q = self._cheapest(residual[p, c], prices, reference, bit_worth)
                layer.q[p, c, :, : layer.bins] = q
                if q.any():
                    layer.coded[p, c] = True
                    layer.loudness[p, c] = loudness[c]
                    layer.steps[p, c] = step_sizes(prices.step_rows)
        return Latents(latents.level, latents.gain_index, latents.y, layer)

    def error(
        self, latents: Latents, residual: NDArray[np.float32], loudness: NDArray[np.int32]
    ) -> float:
        """Squared error of all coefficients that the level codes, in steps."""
        assert latents.waveform is not None
        bins, total = latents.waveform.bins, 0.0
        for p, c in np.argwhere(latents.gain_index != GAIN_MIN).tolist():
            steps = _of_coefficients(self.prices(latents, p, c, int(loudness[c])), bins)
            z = residual[p, c, :, :bins] / steps
            total += float(np.square(latents.waveform.q[p, c, :, :bins] - _clipped(z)).sum())
        return total

    def put(self, coder: RangeEncoder, latents: Latents, packet: int, channel: int) -> None:
        """The layer of one packet that is not silent."""
        layer = latents.waveform
        assert layer is not None
        coded = bool(layer.coded[packet, channel])
        put(coder, self._coded[latents.level], int(coded))
        if not coded:
            return
        loudness = int(layer.loudness[packet, channel])
        put(coder, self._loudness, loudness)
        prices = self.prices(latents, packet, channel, loudness)
        rows, q = prices.rows.ravel(), layer.q[packet, channel, :, : layer.bins].ravel()
        reference = self._reference(layer, packet, channel, prices)
        if self._joint is not None and reference is not None:
            bits = self._joint.bits(reference, q)
            alone = self._joint.own_bits + self._costs[rows, symbols_of(q)].sum() <= bits.min()
            self._joint.put_class(coder, ON_ITS_OWN if alone else 1 + int(bits.argmin()))
            if not alone:
                self._joint.put(coder, int(bits.argmin()), reference, q)
                return
        for row, value in zip(rows.tolist(), q.tolist(), strict=True):
            put_integer(coder, self._cumulative[row], value)

    def get(self, coder: RangeDecoder, latents: Latents, packet: int, channel: int) -> None:
        """Reads it into `latents`, whose own numbers of this packet have been read."""
        layer = latents.waveform
        assert layer is not None
        if not coder.get(self._coded[latents.level]):
            return
        layer.coded[packet, channel] = True
        loudness = coder.get(self._loudness)
        layer.loudness[packet, channel] = loudness
        prices = self.prices(latents, packet, channel, loudness)
        values = self._values(coder, prices, self._reference(layer, packet, channel, prices))
        layer.q[packet, channel, :, : layer.bins] = np.reshape(values, prices.rows.shape)
        layer.steps[packet, channel] = step_sizes(prices.step_rows)

    def empty(self, level: int, packets: int, channels: int) -> Waveform | None:
        """To be read into; None where the level has no layer."""
        return self._empty(level, packets, channels) if self.holds(level) else None

    def _empty(self, level: int, packets: int, channels: int) -> Waveform:
        frames, bins = self._prior.frames, self._prior.bins
        return Waveform(
            self._bins[level],
            np.zeros((packets, channels), bool),
            np.zeros((packets, channels), np.int32),
            np.zeros((packets, channels, frames, bins), np.int32),
            np.zeros((packets, channels, -(-bins // STEP_BAND)), np.float32),
        )

    def prices(
        self, latents: Latents, packet: int, channel: int, loudness: int
    ) -> CoefficientPrices:
        """Of the coefficients of one packet that is not silent."""
        rise = int(latents.gain_index[packet, channel]) - GAIN_MIN - LOUDNESS_STEP * loudness
        return self._prior.prices(latents.level, rise, latents.y[packet, channel])

    def _values(
        self, coder: RangeDecoder, prices: CoefficientPrices, reference: Reference | None
    ) -> NDArray[np.int32] | list[int]:
        """Integers [F * bins] that follow."""
        if self._joint is not None and reference is not None:
            symbol = self._joint.get_class(coder)
            if symbol != ON_ITS_OWN:
                return self._joint.get(coder, symbol - 1, reference)
        return [get_integer(coder, self._cumulative[row]) for row in prices.rows.ravel().tolist()]

    def _reference(
        self, layer: Waveform, packet: int, channel: int, prices: CoefficientPrices
    ) -> Reference | None:
        """What the layer of a second channel may be told by; None where that is nothing."""
        if self._joint is None or channel == 0 or not layer.coded[packet, 0]:
            return None
        return Reference(layer.q[packet, 0, :, : layer.bins].ravel(), prices.rows.ravel())

    def _cheapest(
        self,
        residual: NDArray[np.float32],
        prices: CoefficientPrices,
        reference: Reference | None,
        bit_worth: float,
    ) -> NDArray[np.int32]:
        """residual [F, K] -> integers [F, bins]."""
        bins = prices.rows.shape[1]
        z = _clipped(residual[:, :bins] / _of_coefficients(prices, bins))
        choices = np.stack([np.rint(z), np.trunc(z), np.zeros_like(z)]).astype(np.int32)
        bits = self._costs[prices.rows, symbols_of(choices)]
        loss = np.square(choices - z) + bit_worth * bits
        chosen: NDArray[np.int32] = np.take_along_axis(choices, loss.argmin(0)[None], 0)[0]
        if self._joint is not None and reference is not None:
            together, least = self._joint.rounded(reference, z.ravel(), bit_worth)
            if least < loss.min(0).sum() + bit_worth * self._joint.own_bits:
                return together.reshape(chosen.shape)
        return chosen


def _of_coefficients(prices: CoefficientPrices, bins: int) -> NDArray[np.float64]:
    """Steps of the first `bins` coefficients of a frame."""
    return np.repeat(step_sizes(prices.step_rows), STEP_BAND)[:bins]


def _clipped(z: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = z.clip(-LATENT_LIMIT, LATENT_LIMIT)
    return clipped
