"""The prior of the waveform layer in integers: a packet's latents -> which step and which row of
frequencies codes each coefficient. Every machine computes the same (docs/bitstream.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..tables import (
    LARGEST_PRIOR_ACTIVATION,
    LARGEST_PRIOR_WEIGHT,
    PRIOR_ACTIVATION_BITS,
    PRIOR_WEIGHT_BITS,
    SCALE_OCTAVE_MIN,
    SCALE_STEPS_PER_OCTAVE,
    STEP_BAND,
    WaveformTables,
)

SUM_BITS = PRIOR_WEIGHT_BITS + PRIOR_ACTIVATION_BITS  # of the fraction of a sum
LOWEST_STEP_ROW, HIGHEST_STEP_ROW = -128, 128


class CoefficientPrices(NamedTuple):
    """rows [F, bins]: row of `frequencies` for each coefficient that the level codes. step_rows
    [bands]: quantiser steps are 2^(row / SCALE_STEPS_PER_OCTAVE).
    """

    rows: NDArray[np.int32]
    step_rows: NDArray[np.int32]


class IntegerPrior:
    """Runs the network of `WaveformTables`."""

    def __init__(self, tables: WaveformTables) -> None:
        self.frames, self.bins = tables.shape.tolist()
        self._tables = tables
        self._first, self._second, self._last = (
            weight.astype(np.int64)
            for weight in (tables.first_weight, tables.second_weight, tables.last_weight)
        )

    def prices(self, level: int, rise: int, y: NDArray[np.int32]) -> CoefficientPrices:
        """y [D], and gain steps `rise` of the packet above the talker's loudness."""
        t = self._tables
        limit = LARGEST_PRIOR_WEIGHT
        inputs = np.append(y.clip(-limit, limit), (rise, t.level_base[level]))
        h = _activations(self._first @ inputs + t.first_bias, PRIOR_WEIGHT_BITS)
        h = _activations(self._second @ h + t.second_bias, SUM_BITS)
        shift = SUM_BITS - SCALE_STEPS_PER_OCTAVE.bit_length() + 1
        out = (self._last @ h + t.last_bias + (1 << shift - 1)) >> shift
        scales = out[: self.frames * self.bins].reshape(self.frames, self.bins)
        steps = out[self.frames * self.bins :] + t.level_step[level] - (13 * rise >> 3)
        steps = steps.clip(LOWEST_STEP_ROW, HIGHEST_STEP_ROW)
        rows = scales - np.repeat(steps, STEP_BAND)[: self.bins]
        rows = rows - SCALE_OCTAVE_MIN * SCALE_STEPS_PER_OCTAVE
        coded = rows[:, : t.level_bins[level]].clip(0, len(t.frequencies) - 1)
        return CoefficientPrices(coded.astype(np.int32), steps.astype(np.int32))


def _activations(sums: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Sums with so many bits of fraction -> rectified, PRIOR_ACTIVATION_BITS of fraction."""
    rectified: NDArray[np.int64] = (sums >> bits - PRIOR_ACTIVATION_BITS).clip(
        0, LARGEST_PRIOR_ACTIVATION
    )
    return rectified


def step_sizes(step_rows: NDArray[np.int32]) -> NDArray[np.float64]:
    """Quantiser steps of rows, at unit gain. Both ends compute them from eight constants and powers
    of two, so that they round alike.
    """
    part = step_rows % SCALE_STEPS_PER_OCTAVE
    sizes: NDArray[np.float64] = np.ldexp(EIGHTHS[part], step_rows // SCALE_STEPS_PER_OCTAVE)
    return sizes


EIGHTHS = 2.0 ** (np.arange(SCALE_STEPS_PER_OCTAVE) / SCALE_STEPS_PER_OCTAVE)
