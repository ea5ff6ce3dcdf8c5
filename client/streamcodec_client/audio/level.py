"""How loud sound is, for those who look at it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from streamcodec.units import Pcm

FLOOR_DB = -90.0
HALF_LIFE_S = 0.08  # of the level: fast enough for syllables
PEAK_HELD_S = 1.5
FULL_SCALE = 0.999


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """In dB of full scale: db of the last tenth of a second (RMS), peak_db of the highest sample
    lately. clipping: that was full scale. silent_s: for how long nothing was louder than SILENT_DB.
    """

    db: float = FLOOR_DB
    peak_db: float = FLOOR_DB
    clipping: bool = False
    silent_s: float = 0.0


SILENT_DB = -75.0  # a microphone that is switched on hears more than that
SILENCE = Level()


class LevelMeter:
    """level: of what was added so far; another thread may read it."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._power = 0.0
        self._peak, self._peak_age_s, self._silent_s = 0.0, 0.0, 0.0
        self.level = SILENCE

    def add(self, pcm: Pcm) -> None:
        """The next [T, C]."""
        if not pcm.size:
            return
        seconds = len(pcm) / self._rate
        power = float(np.mean(np.square(pcm, dtype=np.float32)))
        highest = float(np.max(np.abs(pcm)))
        kept = 0.5 ** (seconds / HALF_LIFE_S)
        self._power = kept * self._power + (1 - kept) * power
        self._peak_age_s += seconds
        if highest >= self._peak or self._peak_age_s > PEAK_HELD_S:
            self._peak, self._peak_age_s = highest, 0.0
        self._silent_s = self._silent_s + seconds if decibels(highest) < SILENT_DB else 0.0
        self.level = Level(
            decibels(math.sqrt(self._power)),
            decibels(self._peak),
            self._peak >= FULL_SCALE,
            self._silent_s,
        )


def decibels(amplitude: float) -> float:
    """Of full scale, at least FLOOR_DB."""
    return max(FLOOR_DB, 20 * math.log10(max(amplitude, 1e-9)))
