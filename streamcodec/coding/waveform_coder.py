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
from .prices import bits_of
from .range_coder import RangeDecoder, RangeEncoder
from .symbols import LATENT_LIMIT, cumulative, get_integer, put, put_integer, symbols_of
from .waveform_prior import CoefficientPrices, IntegerPrior, step_sizes


class WaveformCoder:
    """Rounds, writes and reads the layer under one model's tables."""

    def __init__(self, tables: WaveformTables) -> None:
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
                q = self._cheapest(residual[p, c], prices, bit_worth)
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
        rows = self.prices(latents, packet, channel, loudness).rows
        q = layer.q[packet, channel, :, : layer.bins]
        for row, value in zip(rows.ravel().tolist(), q.ravel().tolist(), strict=True):
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
        values = [get_integer(coder, self._cumulative[row]) for row in prices.rows.ravel().tolist()]
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

    def _cheapest(
        self, residual: NDArray[np.float32], prices: CoefficientPrices, bit_worth: float
    ) -> NDArray[np.int32]:
        """residual [F, K] -> integers [F, bins]."""
        bins = prices.rows.shape[1]
        z = _clipped(residual[:, :bins] / _of_coefficients(prices, bins))
        choices = np.stack([np.rint(z), np.trunc(z), np.zeros_like(z)]).astype(np.int32)
        bits = self._costs[prices.rows, symbols_of(choices)]
        best = (np.square(choices - z) + bit_worth * bits).argmin(0)
        chosen: NDArray[np.int32] = np.take_along_axis(choices, best[None], 0)[0]
        return chosen


def _of_coefficients(prices: CoefficientPrices, bins: int) -> NDArray[np.float64]:
    """Steps of the first `bins` coefficients of a frame."""
    return np.repeat(step_sizes(prices.step_rows), STEP_BAND)[:bins]


def _clipped(z: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = z.clip(-LATENT_LIMIT, LATENT_LIMIT)
    return clipped
