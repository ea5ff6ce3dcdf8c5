"""Joint stereo: the second channel of a packet told by the first (docs/bitstream.md). Both are
coded as mono is, with all that a network makes of them; but where channels are alike, so are their
latents, and those of the second cost next to nothing. Nothing is lost by it: decoders get the same
integers.

Shapes: C classes of how alike channels are, D latents. Levels and gains as in `Bitstream`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..tables import GAIN_COUNT, JOINT_MAGNITUDES, JointTables
from .prices import Bits, bits_of
from .range_coder import RangeDecoder, RangeEncoder
from .symbols import LATENT_LIMIT, cumulative, get_integer, put, put_integer, symbols_of

Integers = NDArray[np.int32]
ON_ITS_OWN = 0  # the class symbol of a second channel that the first says nothing of


class FirstChannel(NamedTuple):
    """What the second is told by: gain in steps above silence, at least 1; y [D]; rows [D] of the
    scales that y was priced with.
    """

    gain: int
    y: Integers
    rows: Integers


class JointCoder:
    """Rounds, writes and reads second channels under one model's tables."""

    def __init__(self, tables: JointTables) -> None:
        self._tables = tables
        self._class_cumulative = cumulative(tables.class_frequencies[0])
        self._gain_cumulative = [cumulative(row) for row in tables.gain_frequencies]
        self._follows = tables.follows[:, None].astype(np.int32)
        flat = tables.frequencies.reshape(len(tables.follows), -1, tables.frequencies.shape[-1])
        self._cumulative = [[cumulative(row) for row in rows] for rows in flat]
        self._class_bits, self._gain_bits = (
            bits_of(tables.class_frequencies[0]),
            bits_of(tables.gain_frequencies),
        )
        self._bits = bits_of(flat)
        self.own_bits = float(self._class_bits[ON_ITS_OWN])

    def bits(self, first: FirstChannel, gain: int, y: Integers) -> Bits:
        """Of each class [C], for a channel of `gain` steps above silence, at least 1."""
        told = self._told(first, y)
        bits: Bits = self._bits_of(first, told[:, None])[:, 0].sum(1) + self._around(first, gain)
        bits[np.abs(told).max(1) > LATENT_LIMIT] = np.inf  # no escape says it
        return bits

    def rounded(
        self, first: FirstChannel, gain: int, mean: NDArray[np.float32], bit_worth: float
    ) -> tuple[Integers, float]:
        """mean [D] -> integers [D] under the class that is cheapest, and their loss: squared error
        plus `bit_worth` a bit. Besides the integers beside it and zero, each may become that of the
        first channel.
        """
        mean = mean.clip(-LATENT_LIMIT, LATENT_LIMIT)
        nearest = [np.rint(mean), np.trunc(mean), np.zeros_like(mean)]
        choices = np.stack([*nearest, first.y]).astype(np.int32)
        bits = self._bits_of(first, self._told(first, choices))
        loss = np.square(choices - mean) + bit_worth * bits  # [C, choices, D]
        losses = loss.min(1).sum(1) + bit_worth * self._around(first, gain)
        best = int(losses.argmin())
        chosen: Integers = np.take_along_axis(choices, loss[best].argmin(0)[None], 0)[0]
        return chosen, float(losses[best])

    def put(
        self,
        coder: RangeEncoder,
        first: FirstChannel,
        gain: int,
        y: Integers,
        bits_on_its_own: float,
    ) -> bool:
        """Writes how the channel is told, and the channel if it is told by the first -> whether it
        is. bits_on_its_own: what it costs otherwise.
        """
        bits = self.bits(first, gain, y) if gain else np.array([np.inf])
        if bits_on_its_own + self.own_bits <= bits.min():
            put(coder, self._class_cumulative, ON_ITS_OWN)
            return False
        chosen = int(bits.argmin())
        put(coder, self._class_cumulative, 1 + chosen)
        put(coder, self._gain_cumulative[chosen], gain - first.gain + GAIN_COUNT - 1)
        rows = self._rows(first).tolist()
        for row, value in zip(rows, self._told(first, y)[chosen].tolist(), strict=True):
            put_integer(coder, self._cumulative[chosen][row], value)
        return True

    def get(self, coder: RangeDecoder, first: FirstChannel) -> tuple[int, Integers] | None:
        """-> gain and y [D] of a channel that is told by the first; None for one that follows on
        its own. Raises PayloadError.
        """
        symbol = coder.get(self._class_cumulative)
        if symbol == ON_ITS_OWN:
            return None
        chosen = symbol - 1
        gain = coder.get(self._gain_cumulative[chosen]) - GAIN_COUNT + 1 + first.gain
        if not 0 < gain < GAIN_COUNT:
            raise coder.damaged()
        rows = self._rows(first).tolist()
        told = [get_integer(coder, self._cumulative[chosen][row]) for row in rows]
        y: Integers = np.array(told, np.int32) * _turned(first.y)
        y += self._follows[chosen] * first.y
        if np.abs(y).max() > LATENT_LIMIT:
            raise coder.damaged()
        return gain, y

    def _rows(self, first: FirstChannel) -> Integers:
        """[D] rows of a class's frequencies."""
        magnitudes = np.minimum(np.abs(first.y), JOINT_MAGNITUDES - 1)
        rows: Integers = self._tables.buckets[first.rows] * JOINT_MAGNITUDES + magnitudes
        return rows

    def _told(self, first: FirstChannel, y: Integers) -> Integers:
        """Integers y [..., D] as each class tells them, [C, ..., D]."""
        follows = self._follows.reshape(-1, *[1] * y.ndim)
        told: Integers = (y - follows * first.y) * _turned(first.y)
        return told

    def _bits_of(self, first: FirstChannel, told: Integers) -> Bits:
        """told [C, choices, D] -> bits of the same shape."""
        classes = np.arange(len(told))[:, None, None]
        bits: Bits = self._bits[classes, self._rows(first), symbols_of(told)]
        return bits

    def _around(self, first: FirstChannel, gain: int) -> Bits:
        """Bits of class and gain, [C]."""
        difference = gain - first.gain + GAIN_COUNT - 1
        bits: Bits = self._class_bits[1:] + self._gain_bits[:, difference]
        return bits


def _turned(y: Integers) -> Integers:
    """-1 where below zero, else 1."""
    signs: Integers = np.where(y < 0, np.int32(-1), np.int32(1))
    return signs
