"""The integer tables that decide every code word, and the numbers that they are built from.

They stand below the codec and below the networks: training fits them, weights carry them, the
bitstream reads them. No float decides a code word at decode time (docs/bitstream.md).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

GAIN_STEPS_PER_OCTAVE = 4  # of amplitude: 1.5 dB a step
GAIN_MIN = -52  # 2^-13: a packet below it counts as silent
GAIN_COUNT = 64
FREQUENCY_BITS = 16
SCALE_STEPS_PER_OCTAVE = 8
SCALE_OCTAVE_MIN, SCALE_OCTAVE_MAX = -6, 6
SYMBOL_LIMIT = 31  # larger latents are escaped
# how much rarer each level is than its neighbour that is nearer to the stream's rate
LEVEL_STRAYS = 0.3
# Squared quantiser steps that a bit is worth. A fine uniform quantiser trades them at the slope of
# step^2 / 12 * 2^(-2 bits), which is 2 ln 2 / 12. Most of our latents are nearly always zero, and
# half as much again is better for those (decision 0010).
BIT_WORTH = 3 * math.log(2) / 12


@dataclasses.dataclass(frozen=True)
class EntropyTables:
    """Integer frequencies of everything that a payload can say. Every row adds up to
    2^FREQUENCY_BITS and holds no zero.

    level_frequencies [levels, levels]: of a packet's level, in a stream whose base level is the
    row. level_scale [levels, D] and class_scale [classes, D] add up to a row of `frequencies`
    [scales, 2 * SYMBOL_LIMIT + 2], whose columns are the symbols -SYMBOL_LIMIT..SYMBOL_LIMIT and
    the escape. class_frequencies [levels, classes + 1]: the last column is silence, a packet
    without gain and latents. gain_frequencies [classes, GAIN_COUNT - 1]: of the gains above
    silence.

    Raises ValueError for rows that are not frequencies, and for tables whose shapes do not fit.
    """

    level_frequencies: NDArray[np.int32]
    level_scale: NDArray[np.int32]
    class_scale: NDArray[np.int32]
    frequencies: NDArray[np.int32]
    class_frequencies: NDArray[np.int32]
    gain_frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.level_scale.ndim != 2:
            raise ValueError("entropy table level_scale must be of two dimensions")
        (levels, latents), classes = self.level_scale.shape, len(self.class_scale)
        shapes = {
            "level_frequencies": (levels, levels),
            "class_scale": (classes, latents),
            "frequencies": (len(self.frequencies), 2 * SYMBOL_LIMIT + 2),
            "class_frequencies": (levels, classes + 1),
            "gain_frequencies": (classes, GAIN_COUNT - 1),
        }
        for name, shape in shapes.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(f"entropy table {name} must be of shape {shape}, got {got}")
        for name in ("level_frequencies", "frequencies", "class_frequencies", "gain_frequencies"):
            rows = getattr(self, name)
            if rows.min() < 1 or np.any(rows.sum(1) != 1 << FREQUENCY_BITS):
                raise ValueError(
                    f"entropy table {name}: rows must hold positive counts "
                    f"that add up to {1 << FREQUENCY_BITS}"
                )

    def scale_rows(self, level: int, class_index: int) -> NDArray[np.int32]:
        """[D] rows of `frequencies` for one packet."""
        rows: NDArray[np.int32] = np.clip(
            self.level_scale[level] + self.class_scale[class_index], 0, len(self.frequencies) - 1
        )
        return rows


def integer_frequencies(mass: NDArray[np.float64]) -> NDArray[np.int32]:
    """mass [R, S] -> counts of at least one that add up to 2^FREQUENCY_BITS in each row."""
    total = 1 << FREQUENCY_BITS
    share = mass / mass.sum(1, keepdims=True)
    counts = np.maximum(1, np.floor(share * (total - mass.shape[1]))).astype(np.int32)
    counts[np.arange(len(counts)), share.argmax(1)] += (total - counts.sum(1)).astype(np.int32)
    result: NDArray[np.int32] = counts
    return result


def level_frequencies(levels: int) -> NDArray[np.int32]:
    """-> [base level, level]. A stream whose rate lies between two levels alternates between its
    base level and the one above; other levels are the rarer, the farther they lie.
    """
    above = np.arange(levels) - np.arange(levels)[:, None]
    return integer_frequencies(LEVEL_STRAYS ** np.maximum(above - 1.0, -above))
