"""What each symbol costs, in bits: read by the encoder's choices only, so they may be floats."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ..tables import FREQUENCY_BITS, EntropyTables

Bits = NDArray[np.float64]
# Sums of so many prices as a packet has are then exact, in whatever order: of two classes that cost
# the same, the encoders in C and in Python take the same one.
PRICE_STEP = 2.0**-30


@dataclasses.dataclass(frozen=True)
class Prices:
    """rows [levels, classes, D]: which row of `symbols` prices each latent.

    symbols [scales, 2 * SYMBOL_LIMIT + 2], classes [levels, classes] (without silence) and gains
    [classes, GAIN_COUNT - 1] are in bits.
    """

    rows: NDArray[np.int32]
    symbols: Bits
    classes: Bits
    gains: Bits

    @classmethod
    def of(cls, tables: EntropyTables) -> Prices:
        levels, classes = len(tables.level_scale), len(tables.class_scale)
        rows = [[tables.scale_rows(level, c) for c in range(classes)] for level in range(levels)]
        return cls(
            np.array(rows, np.int32),
            bits_of(tables.frequencies),
            bits_of(tables.class_frequencies[:, :-1]),
            bits_of(tables.gain_frequencies),
        )


def bits_of(frequencies: NDArray[np.int32]) -> Bits:
    """Integer frequencies -> bits of each, in steps of PRICE_STEP."""
    bits = FREQUENCY_BITS - np.log2(frequencies.astype(np.float64))
    stepped: Bits = np.rint(bits / PRICE_STEP) * PRICE_STEP
    return stepped
