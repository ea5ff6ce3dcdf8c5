"""Joint stereo: the second channel of a packet told by the first (docs/bitstream.md). Both are
coded as mono is, with all that a network makes of them; but where channels are alike, so are their
integers, and those of the second cost next to nothing. Nothing is lost by it: decoders get the same
integers.

Shapes: C classes of how alike channels are, D integers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..tables import GAIN_COUNT, JOINT_MAGNITUDES, FollowTables, JointTables
from .prices import Bits, bits_of
from .range_coder import RangeDecoder, RangeEncoder
from .symbols import LATENT_LIMIT, cumulative, get_integer, put, put_integer, symbols_of

Integers = NDArray[np.int32]
ON_ITS_OWN = 0  # the class symbol of a second channel that the first says nothing of


class Reference(NamedTuple):
    """What integers are told by: those of the first channel, y [D], and rows [D], which scales the
    integers would have without it.
    """

    y: Integers
    rows: Integers


class Follower:
    """Rounds, writes and reads integers by those of a first channel, and their class."""

    def __init__(self, tables: FollowTables) -> None:
        self._tables = tables
        self._class_cumulative = cumulative(tables.class_frequencies[0])
        self._follows = tables.follows[:, None].astype(np.int32)
        flat = tables.frequencies.reshape(len(tables.follows), -1, tables.frequencies.shape[-1])
        self._cumulative = [[cumulative(row) for row in rows] for rows in flat]
        self._bits = bits_of(flat)
        class_bits = bits_of(tables.class_frequencies[0])
        self.own_bits, self.class_bits = float(class_bits[ON_ITS_OWN]), class_bits[1:]

    def bits(self, reference: Reference, y: Integers) -> Bits:
        """Of each class [C]."""
        told = self._told(reference, y)
        bits: Bits = self._bits_of(reference, told[:, None])[:, 0].sum(1) + self.class_bits
        bits[np.abs(told).max(1) > LATENT_LIMIT] = np.inf  # no escape says it
        return bits

    def rounded(
        self,
        reference: Reference,
        exact: NDArray[np.floating],
        bit_worth: float,
        around: Bits | float = 0.0,
    ) -> tuple[Integers, float]:
        """exact [D] -> integers [D] under the class that is cheapest, and their loss: squared error
        plus `bit_worth` a bit. Besides the integers beside it and zero, each may become that of the
        first channel. around [C]: more bits that a class takes.
        """
        exact = exact.clip(-LATENT_LIMIT, LATENT_LIMIT)
        nearest = [np.rint(exact), np.trunc(exact), np.zeros_like(exact)]
        choices = np.stack([*nearest, reference.y]).astype(np.int32)
        bits = self._bits_of(reference, self._told(reference, choices))
        loss = np.square(choices - exact) + bit_worth * bits  # [C, choices, D]
        losses = loss.min(1).sum(1) + bit_worth * (self.class_bits + around)
        best = int(losses.argmin())
        chosen: Integers = np.take_along_axis(choices, loss[best].argmin(0)[None], 0)[0]
        return chosen, float(losses[best])

    def put_class(self, coder: RangeEncoder, symbol: int) -> None:
        """ON_ITS_OWN, or 1 more than a class."""
        put(coder, self._class_cumulative, symbol)

    def get_class(self, coder: RangeDecoder) -> int:
        """Its inverse. Raises PayloadError."""
        return coder.get(self._class_cumulative)

    def put(self, coder: RangeEncoder, chosen: int, reference: Reference, y: Integers) -> None:
        """In a class."""
        told = self._told(reference, y)[chosen].tolist()
        for row, value in zip(self._rows(reference).tolist(), told, strict=True):
            put_integer(coder, self._cumulative[chosen][row], value)

    def get(self, coder: RangeDecoder, chosen: int, reference: Reference) -> Integers:
        """Its inverse. Raises PayloadError."""
        rows = self._rows(reference).tolist()
        told = [get_integer(coder, self._cumulative[chosen][row]) for row in rows]
        y: Integers = np.array(told, np.int32) * _turned(reference.y)
        y += self._follows[chosen] * reference.y
        if np.abs(y).max() > LATENT_LIMIT:
            raise coder.damaged()
        return y

    def _rows(self, reference: Reference) -> Integers:
        """[D] rows of a class's frequencies."""
        magnitudes = np.minimum(np.abs(reference.y), JOINT_MAGNITUDES - 1)
        rows: Integers = self._tables.buckets[reference.rows] * JOINT_MAGNITUDES + magnitudes
        return rows

    def _told(self, reference: Reference, y: Integers) -> Integers:
        """Integers y [..., D] as each class tells them, [C, ..., D]."""
        follows = self._follows.reshape(-1, *[1] * y.ndim)
        told: Integers = (y - follows * reference.y) * _turned(reference.y)
        return told

    def _bits_of(self, reference: Reference, told: Integers) -> Bits:
        """told [C, choices, D] -> bits of the same shape."""
        classes = np.arange(len(told))[:, None, None]
        bits: Bits = self._bits[classes, self._rows(reference), symbols_of(told)]
        return bits


class FirstChannel(NamedTuple):
    """Gain in steps above silence, at least 1, and latents, with the rows of their class."""

    gain: int
    latents: Reference


class JointCoder:
    """Rounds, writes and reads second channels under one model's tables. `waveform`: for their
    layer.
    """

    def __init__(self, tables: JointTables) -> None:
        self._latents, self.waveform = Follower(tables.latents), Follower(tables.waveform)
        self._gain_cumulative = [cumulative(row) for row in tables.gain_frequencies]
        self._gain_bits = bits_of(tables.gain_frequencies)
        self.own_bits = self._latents.own_bits

    def bits(self, first: FirstChannel, gain: int, y: Integers) -> Bits:
        """Of each class [C], for a channel of `gain` steps above silence, at least 1."""
        bits: Bits = self._latents.bits(first.latents, y) + self._of_gain(first, gain)
        return bits

    def rounded(
        self, first: FirstChannel, gain: int, mean: NDArray[np.float32], bit_worth: float
    ) -> tuple[Integers, float]:
        """As `Follower.rounded`, with the bits of class and gain."""
        return self._latents.rounded(first.latents, mean, bit_worth, self._of_gain(first, gain))

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
            self._latents.put_class(coder, ON_ITS_OWN)
            return False
        chosen = int(bits.argmin())
        self._latents.put_class(coder, 1 + chosen)
        put(coder, self._gain_cumulative[chosen], _difference(first, gain))
        self._latents.put(coder, chosen, first.latents, y)
        return True

    def get(self, coder: RangeDecoder, first: FirstChannel) -> tuple[int, Integers] | None:
        """-> gain and y [D] of a channel that is told by the first; None for one that follows on
        its own. Raises PayloadError.
        """
        symbol = self._latents.get_class(coder)
        if symbol == ON_ITS_OWN:
            return None
        gain = coder.get(self._gain_cumulative[symbol - 1]) - GAIN_COUNT + 1 + first.gain
        if not 0 < gain < GAIN_COUNT:
            raise coder.damaged()
        return gain, self._latents.get(coder, symbol - 1, first.latents)

    def _of_gain(self, first: FirstChannel, gain: int) -> Bits:
        """Its bits, [C]."""
        bits: Bits = self._gain_bits[:, _difference(first, gain)]
        return bits


def _difference(first: FirstChannel, gain: int) -> int:
    """The symbol of a gain."""
    return gain - first.gain + GAIN_COUNT - 1


def _turned(y: Integers) -> Integers:
    """-1 where below zero, else 1."""
    signs: Integers = np.where(y < 0, np.int32(-1), np.int32(1))
    return signs
