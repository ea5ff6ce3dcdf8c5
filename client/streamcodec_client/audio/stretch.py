"""Plays decoded packets a little faster or slower, as an adaptive playout buffer asks."""

from __future__ import annotations

import numpy as np
import samplerate

from streamcodec.live.speed import FINE_SPEED
from streamcodec.live.timescale import TimeScaler
from streamcodec.units import Pcm

# 1.2 ms late at 16 kHz; its ratio may change with every call, and glides
CONVERTER = "sinc_fastest"


class Stretcher:
    """Drift is made up by resampling, which never stops, so that nothing clicks when it begins;
    more than drift by cutting out or repeating pitch periods.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._channels = channels
        self._scaler = TimeScaler(sample_rate)
        self._resampler = samplerate.Resampler(CONVERTER, channels=channels)

    def play(self, pcm: Pcm, speed: float) -> Pcm:
        """pcm [T, C] -> [T / speed, C], a few samples more or less."""
        drifts = abs(speed - 1) <= FINE_SPEED
        scaled = self._scaler.scale(pcm, 1.0 if drifts else speed)
        out: Pcm = self._resampler.process(scaled, 1 / speed if drifts else 1.0)
        return np.asarray(out, np.float32).reshape(-1, self._channels)
