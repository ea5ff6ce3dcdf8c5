"""Plays decoded packets faster or slower, as an adaptive playout buffer asks."""

from __future__ import annotations

import numpy as np
import samplerate

from streamcodec.live.speed import is_fine
from streamcodec.live.timescale import TimeScaler
from streamcodec.units import Pcm

# delays by 1.2 ms at 16 kHz; its ratio may change with every call and is interpolated
CONVERTER = "sinc_fastest"


class Stretcher:
    """Fine speeds, which make up for clock drift, are met by resampling; all others by time
    scaling. The resampler always runs, so that nothing clicks when a fine speed begins or ends.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._channels = channels
        self._scaler = TimeScaler(sample_rate)
        self._resampler = samplerate.Resampler(CONVERTER, channels=channels)

    def play(self, pcm: Pcm, speed: float) -> Pcm:
        """pcm [T, C] -> [T', C]; T' is T / speed on average over several packets."""
        fine = is_fine(speed)
        scaled = self._scaler.scale(pcm, 1.0 if fine else speed)
        out: Pcm = self._resampler.process(scaled, 1 / speed if fine else 1.0)
        return np.asarray(out, np.float32).reshape(-1, self._channels)
